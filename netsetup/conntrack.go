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
	var stale staleFlows
	for _, b := range all {
		if b.Protocol == config.UDP {
			stale.bindings = append(stale.bindings, b)
		}
	}
	if len(stale.bindings) == 0 {
		return nil
	}
	own, err := net.InterfaceAddrs()
	if err != nil {
		return fmt.Errorf("list the host's addresses: %w", err)
	}
	for _, address := range own {
		if prefix, err := netip.ParsePrefix(address.String()); err == nil {
			stale.host = append(stale.host, prefix.Addr())
		}
	}
	for _, kind := range []netlink.InetFamily{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		if !slices.ContainsFunc(stale.bindings, func(b binding) bool { return b.target.Is4() == (kind == netlink.FAMILY_V4) }) {
			continue
		}
		_, err = netlink.ConntrackDeleteFilters(netlink.ConntrackTable, kind, stale)
		// ENOENT: the flow ended meanwhile. EINVAL: a kernel without ctnetlink.
		gone := errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL)
		if err != nil && !gone {
			return fmt.Errorf("forget UDP flows: %w", err)
		}
	}
	return nil
}

// staleFlows matches flows to the ports on the host that lead elsewhere than to
// the container.
type staleFlows struct {
	bindings []binding
	host     []netip.Addr // its own addresses
}

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (s staleFlows) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	to, okTo := netip.AddrFromSlice(flow.Forward.DstIP)
	from, okFrom := netip.AddrFromSlice(flow.Reverse.SrcIP)
	if !okTo || !okFrom || flow.Forward.Protocol != unix.IPPROTO_UDP {
		return false
	}
	to, from = to.Unmap(), from.Unmap()
	return slices.ContainsFunc(s.bindings, func(b binding) bool {
		return b.target.Is4() == to.Is4() && from != b.target && flow.Forward.DstPort == b.HostPort && s.published(b.Port, to)
	})
}

// published tells whether the port is published on that address of the host.
func (s staleFlows) published(port config.Port, to netip.Addr) bool {
	if !wildcard(port) {
		return to == port.HostAddress
	}
	return to.IsLoopback() || slices.Contains(s.host, to)
}
