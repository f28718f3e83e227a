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
// chosen. Ports that lead there already are left as
// they are, so it can be called again after somebody has flushed the ruleset. It
// fails with ErrPortTaken, and who has the port, or with ErrNotUp.
func Publish(container string, lease Lease, ports []config.Port) (published []config.Port, err error) {
	if len(ports) == 0 {
		return nil, nil
	}
	address := lease.Address()
	if err := checkPorts(ports); err != nil {
		return nil, err
	}
	elements, err := openElements()
	if err != nil {
		return nil, err
	}
	defer elements.Close()
	if err := errors.Join(freeOnHost(ports), elements.free(container, ports)); err != nil {
		return nil, err
	}
	if err := elements.add(container, address, ports); err != nil {
		return nil, err
	}
	// The kernel refuses a second owner of one key, but 0.0.0.0:80 and
	// 127.0.0.1:80 are two keys. Of two containers that add them at once, at
	// least the later one sees the other now, and gives way.
	if err := elements.free(container, ports); err != nil {
		return nil, errors.Join(err, elements.remove(container, ports))
	}
	if err := forgetFlows(address, ports); err != nil {
		return nil, errors.Join(err, elements.remove(container, ports))
	}
	return ports, nil
}

// Unpublish takes the container's ports back. Ports that are not published, or
// are published for another container, are left alone.
func Unpublish(container string, ports []config.Port) error {
	if len(ports) == 0 {
		return nil
	}
	elements, err := openElements()
	if err != nil {
		return err
	}
	defer elements.Close()
	return elements.remove(container, ports)
}

func checkPorts(ports []config.Port) error {
	for _, port := range ports {
		if port.HostAddress.IsValid() && !port.HostAddress.Is4() {
			return fmt.Errorf("publish %s: only IPv4 addresses can be published", describe(port))
		}
		if protocolNumber(port.Protocol) == 0 || port.HostPort == 0 || port.ContainerPort == 0 {
			return fmt.Errorf("publish %s: want tcp or udp and ports from 1 to 65535", describe(port))
		}
	}
	return nil
}

// describe is the port as a user knows it: 127.0.0.1:8080/tcp, or 8080/tcp.
func describe(port config.Port) string {
	if wildcard(port) {
		return fmt.Sprintf("%d/%s", port.HostPort, port.Protocol)
	}
	return fmt.Sprintf("%s:%d/%s", port.HostAddress, port.HostPort, port.Protocol)
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
	}
	return 0
}

// portKey is protocol . port, each filled up to a register of 4 bytes.
func portKey(port config.Port) []byte {
	return append([]byte{protocolNumber(port.Protocol), 0, 0, 0}, padded(port.HostPort)...)
}

func padded(port uint16) []byte { return append(networkOrder(port), 0, 0) }

// place is the map a port is published in, and its key there.
func (t table) place(port config.Port) (*nftables.Set, []byte) {
	if wildcard(port) {
		return t.ports, portKey(port)
	}
	return t.addressPorts, append(port.HostAddress.AsSlice(), portKey(port)...)
}

// element is a published port; its comment is the owner, for us and for whoever
// reads the output of nft.
func (t table) element(container string, address netip.Addr, port config.Port) (*nftables.Set, nftables.SetElement) {
	set, key := t.place(port)
	return set, nftables.SetElement{
		Key:     key,
		Val:     append(address.AsSlice(), padded(port.ContainerPort)...),
		Comment: container,
	}
}
