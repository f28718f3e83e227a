package netsetup

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/config"
)

// forgetFlows makes the kernel forget where UDP datagrams for the ports went until
// now. It asks the table for the first datagram of a flow only, and a client that
// goes on sending keeps a flow alive for ever: one that began before the container
// ran would never reach it.
func forgetFlows(all []binding) error {
	var udp []binding
	for _, b := range all {
		if b.Protocol == config.UDP {
			udp = append(udp, b)
		}
	}
	if err := deleteFlows(udp, leadsElsewhere); err != nil {
		return fmt.Errorf("forget UDP flows: %w", err)
	}
	return nil
}

// Disconnect ends what goes through ports that lead to the container of the lease no
// more. Unpublish takes them from new connections only: for those that are there, the
// kernel does not ask the table again.
func Disconnect(lease Lease, ports []config.Port) error {
	if err := deleteFlows(newTable().bindings(lease, ports), leadsThere); err != nil {
		return fmt.Errorf("end connections through ports: %w", err)
	}
	return nil
}

// deleteFlows deletes the flows to the ports on the host that lead as wanted.
func deleteFlows(all []binding, leads func(b binding, from netip.AddrPort) bool) error {
	if len(all) == 0 {
		return nil
	}
	match := portFlows{bindings: all, leads: leads}
	own, err := net.InterfaceAddrs()
	if err != nil {
		return fmt.Errorf("list the host's addresses: %w", err)
	}
	for _, address := range own {
		if prefix, err := netip.ParsePrefix(address.String()); err == nil {
			match.host = append(match.host, prefix.Addr())
		}
	}
	for _, kind := range []netlink.InetFamily{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		if !slices.ContainsFunc(all, func(b binding) bool { return b.target.Is4() == (kind == netlink.FAMILY_V4) }) {
			continue
		}
		_, err = netlink.ConntrackDeleteFilters(netlink.ConntrackTable, kind, match)
		// ENOENT: the flow ended meanwhile. EINVAL: a kernel without ctnetlink.
		gone := errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL)
		if err != nil && !gone {
			return err
		}
	}
	return nil
}

// portFlows matches flows to the ports on the host, whose answers come from where leads
// says.
type portFlows struct {
	bindings []binding
	host     []netip.Addr // its own addresses
	leads    func(b binding, from netip.AddrPort) bool
}

func leadsElsewhere(b binding, from netip.AddrPort) bool { return from.Addr() != b.target }

func leadsThere(b binding, from netip.AddrPort) bool {
	return from == netip.AddrPortFrom(b.target, b.ContainerPort)
}

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (f portFlows) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	to, okTo := netip.AddrFromSlice(flow.Forward.DstIP)
	from, okFrom := netip.AddrFromSlice(flow.Reverse.SrcIP)
	if !okTo || !okFrom {
		return false
	}
	to, source := to.Unmap(), netip.AddrPortFrom(from.Unmap(), flow.Reverse.SrcPort)
	return slices.ContainsFunc(f.bindings, func(b binding) bool {
		return b.target.Is4() == to.Is4() && flow.Forward.Protocol == protocolNumber(b.Protocol) && flow.Forward.DstPort == b.HostPort &&
			f.leads(b, source) && f.published(b.Port, to)
	})
}

// published tells whether the port is published on that address of the host.
func (f portFlows) published(port config.Port, to netip.Addr) bool {
	if !wildcard(port) {
		return to == port.HostAddress
	}
	return to.IsLoopback() || slices.Contains(f.host, to)
}
