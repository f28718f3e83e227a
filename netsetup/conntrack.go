package netsetup

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/config"
)

// forgetFlows makes the kernel forget where UDP datagrams for the ports went until
// now. It asks the table for the first datagram of a flow only, and a client that
// goes on sending keeps a flow alive for ever: one that began before the container
// ran would never reach it.
func forgetFlows(address netip.Addr, ports []config.Port) error {
	stale := staleFlows{address: address}
	for _, port := range ports {
		if port.Protocol == config.UDP {
			stale.ports = append(stale.ports, port)
		}
	}
	if len(stale.ports) == 0 {
		return nil
	}
	own, err := net.InterfaceAddrs()
	if err != nil {
		return fmt.Errorf("list the host's addresses: %w", err)
	}
	for _, address := range own {
		if prefix, err := netip.ParsePrefix(address.String()); err == nil {
			stale.host = append(stale.host, prefix)
		}
	}
	_, err = netlink.ConntrackDeleteFilters(netlink.ConntrackTable, netlink.FAMILY_V4, stale)
	// ENOENT: the flow ended meanwhile. EINVAL: a kernel without ctnetlink.
	gone := errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL)
	if err != nil && !gone {
		return fmt.Errorf("forget UDP flows: %w", err)
	}
	return nil
}

// staleFlows matches flows to the ports on the host that lead elsewhere than to
// the address.
type staleFlows struct {
	address netip.Addr
	ports   []config.Port
	host    []netip.Prefix // its own addresses
}

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (s staleFlows) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	to, okTo := netip.AddrFromSlice(flow.Forward.DstIP)
	from, okFrom := netip.AddrFromSlice(flow.Reverse.SrcIP)
	if !okTo || !okFrom || flow.Forward.Protocol != unix.IPPROTO_UDP || from.Unmap() == s.address {
		return false
	}
	for _, port := range s.ports {
		if flow.Forward.DstPort == port.HostPort && s.published(port, to.Unmap()) {
			return true
		}
	}
	return false
}

// published tells whether the port is published on that address of the host.
func (s staleFlows) published(port config.Port, to netip.Addr) bool {
	if !wildcard(port) {
		return to == port.HostAddress
	}
	for _, own := range s.host {
		if to == own.Addr() || to.IsLoopback() {
			return true
		}
	}
	return false
}
