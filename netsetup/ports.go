package netsetup

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/config"
)

// Publish makes the ports of the host lead to the container's addresses, all of
// them or none, in one transaction, and returns them with the ports that it has
// chosen where the host's port is 0. A port without an address is published on the
// host's addresses of every family that the container has, one of 0.0.0.0 or :: on
// those of one. Ports that lead there already are left as
// they are, so it can be called again after somebody has flushed the ruleset. It
// fails with ErrPortTaken, and who has the port, or with ErrNotUp.
//
// The host reaches a port without an address at 127.0.0.1, but not at ::1: see errLoopback6.
func Publish(container string, lease Lease, ports []config.Port) (published []config.Port, err error) {
	if len(ports) == 0 {
		return nil, nil
	}
	if err := checkPorts(lease, ports); err != nil {
		return nil, err
	}
	elements, err := openElements()
	if err != nil {
		return nil, err
	}
	defer elements.Close()
	for range attempts {
		published, err = elements.choose(container, lease, ports)
		if err != nil {
			return nil, err
		}
		err = elements.publish(container, elements.bindings(lease, published))
		if !errors.Is(err, ErrPortTaken) || !anyRandom(ports) {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	return published, nil
}

func (e *elements) publish(container string, all []binding) error {
	if err := errors.Join(freeOnHost(all), e.free(container, all)); err != nil {
		return err
	}
	if err := e.add(container, all); err != nil {
		return err
	}
	// The kernel refuses a second owner of one key, but 0.0.0.0:80 and
	// 127.0.0.1:80 are two keys. Of two containers that add them at once, at
	// least the later one sees the other now, and gives way.
	err := e.free(container, all)
	if err == nil {
		err = forgetFlows(all)
	}
	if err != nil {
		return errors.Join(err, e.remove(container, all))
	}
	return nil
}

// Unpublish takes the container's ports back. Ports that are not published, or
// are published for another container, are left alone. Where the host's port is 0,
// what was chosen is not known, since the start was killed before it could write that
// down: all that leads to the container's port is taken back.
func Unpublish(container string, ports []config.Port) error {
	if len(ports) == 0 {
		return nil
	}
	elements, err := openElements()
	if err != nil {
		return err
	}
	defer elements.Close()
	chosen, err := elements.chosen(container, ports)
	return errors.Join(err, elements.remove(container, elements.bindings(Lease{}, chosen)))
}

// errLoopback6: what the host sends to ::1 has the source ::1, and the answer, its
// destination rewritten to that, comes from a bridge. The kernel drops it, and has
// nothing like route_localnet for IPv6 (measured on 6.18: counted as Ip6InHdrErrors
// after the prerouting hook, with and without a local route for ::1 on the bridge).
var errLoopback6 = errors.New("the kernel takes no answer for ::1 from another link; publish it on 127.0.0.1")

func checkPorts(lease Lease, ports []config.Port) error {
	for _, port := range ports {
		if protocolNumber(port.Protocol) == 0 || port.ContainerPort == 0 {
			return fmt.Errorf("publish %s: want tcp, udp or sctp and a port of the container from 1 to 65535", describe(port))
		}
		address := port.HostAddress
		switch {
		case address.IsValid() && address.IsLoopback() && address.Is6():
			return fmt.Errorf("publish %s: %w", describe(port), errLoopback6)
		case address.Is4In6() || address.Zone() != "":
			return fmt.Errorf("publish %s: want an address without a zone, of IPv4 or IPv6", describe(port))
		case address.Is4() && !lease.V4.IsValid():
			return fmt.Errorf("publish %s: the container has no IPv4 address in %s", describe(port), lease.Network)
		case address.Is6() && !lease.V6.IsValid():
			return fmt.Errorf("publish %s: the container has no IPv6 address in %s", describe(port), lease.Network)
		case !lease.V4.IsValid() && !lease.V6.IsValid():
			return fmt.Errorf("publish %s: the container has no address", describe(port))
		}
	}
	return nil
}

// describe is the port as a user knows it: 127.0.0.1:8080/tcp, or 8080/tcp.
func describe(port config.Port) string {
	if wildcard(port) {
		return fmt.Sprintf("%d/%s", port.HostPort, port.Protocol)
	}
	return fmt.Sprintf("%s/%s", netip.AddrPortFrom(port.HostAddress, port.HostPort), port.Protocol)
}

// wildcard tells whether the port is published on every address of the host.
func wildcard(port config.Port) bool {
	return !port.HostAddress.IsValid() || port.HostAddress.IsUnspecified()
}

func protocolNumber(protocol config.Protocol) byte {
	switch protocol {
	case config.TCP:
		return unix.IPPROTO_TCP
	case config.UDP:
		return unix.IPPROTO_UDP
	case config.SCTP:
		return unix.IPPROTO_SCTP
	}
	return 0
}

// binding is a port in one family.
type binding struct {
	config.Port
	familySets
	target netip.Addr // of the container; zero if that does not matter
}

// bindings are the ports in the families of the lease; those of a lease without any
// address are all that they could have.
func (t table) bindings(lease Lease, ports []config.Port) (all []binding) {
	empty := lease == Lease{}
	for _, port := range ports {
		if !port.HostAddress.Is6() && (empty || lease.V4.IsValid()) {
			all = append(all, binding{port, t.v4, lease.V4.Addr()})
		}
		if !port.HostAddress.Is4() && (empty || lease.V6.IsValid()) {
			all = append(all, binding{port, t.v6, lease.V6.Addr()})
		}
	}
	return all
}

// portKey is protocol . port, each filled up to a register of 4 bytes.
func portKey(port config.Port) []byte {
	return append([]byte{protocolNumber(port.Protocol), 0, 0, 0}, padded(port.HostPort)...)
}

func padded(port uint16) []byte { return append(networkOrder(port), 0, 0) }

// place is the map a port is published in, and its key there.
func (b binding) place() (*nftables.Set, []byte) {
	if wildcard(b.Port) {
		return b.ports, portKey(b.Port)
	}
	return b.addressPorts, append(b.HostAddress.AsSlice(), portKey(b.Port)...)
}

// element is a published port; its comment is the owner, for us and for whoever
// reads the output of nft.
func (b binding) element(container string) (*nftables.Set, nftables.SetElement) {
	set, key := b.place()
	return set, nftables.SetElement{
		Key:     key,
		Val:     append(b.target.AsSlice(), padded(b.ContainerPort)...),
		Comment: container,
	}
}
