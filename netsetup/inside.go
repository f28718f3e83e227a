package netsetup

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// loopbackIndex is LOOPBACK_IFINDEX of net/flow.h: the same in every namespace.
const loopbackIndex = 1

// Loopback sets lo up in the network namespace of the descriptor.
func Loopback(netns int) error {
	return inNamespace(netns, loopbackUp)
}

// insideLink is a link in the container's namespace.
type insideLink struct {
	name   string
	lease  Lease
	routes bool // has the default routes
	netns  int  // descriptor
	// noNeighbours: the link finds its way without asking for addresses: ipvlan in the
	// modes l3 and l3s (Documentation/networking/ipvlan.rst).
	noNeighbours bool
}

// check keeps names away that are directories of their own below
// /proc/sys/net/ipv6/conf, and the one that is there already.
func (l insideLink) check() error {
	if !validInterface(l.name) || slices.Contains([]string{"all", "default", "lo"}, l.name) {
		return fmt.Errorf("%q is no name for an interface of a container", l.name)
	}
	return nil
}

// configure gives the container's namespace its loopback, and the link its addresses
// and the default routes.
func (l insideLink) configure() error {
	return inNamespace(l.netns, func() error {
		// One socket for all requests: to open and close one for each takes longer than
		// what they ask for.
		handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return fmt.Errorf("open rtnetlink: %w", err)
		}
		defer handle.Close()
		if err := setLinkUp(handle, loopbackIndex); err != nil {
			return fmt.Errorf("set lo up: %w", err)
		}
		index, err := linkIndex(l.name)
		if err != nil {
			return err
		}
		if err := l.prepareIPv6(); err != nil {
			return err
		}
		for _, address := range []netip.Prefix{l.lease.V4, l.lease.V6} {
			if !address.IsValid() {
				continue
			}
			if err := giveAddress(handle, index, address); err != nil {
				return err
			}
		}
		if err := setLinkUp(handle, index); err != nil {
			return fmt.Errorf("set %s up: %w", l.name, err)
		}
		return l.addRoutes(handle, index)
	})
}

func (l insideLink) addRoutes(handle *netlink.Handle, index int) error {
	if !l.routes {
		return nil
	}
	for _, gateway := range []netip.Addr{l.lease.Gateway4, l.lease.Gateway6} {
		if !gateway.IsValid() {
			continue
		}
		route := &netlink.Route{LinkIndex: index, Gw: gateway.AsSlice(), Protocol: unix.RTPROT_STATIC}
		if l.noNeighbours {
			everything := netip.PrefixFrom(gateway, 0).Masked()
			route.Gw, route.Dst, route.Scope = nil, ipNet(everything), netlink.SCOPE_LINK
		}
		if err := handle.RouteReplace(route); err != nil {
			return fmt.Errorf("add default route via %s: %w", gateway, err)
		}
	}
	return nil
}

// prepareIPv6 keeps the link from making itself an IPv6 link-local address
// (addr_gen_mode 1, ip-sysctl.rst): on the host `getent hosts NAME` would prefer that
// address, which is of no use without a scope (nss-mymachines of systemd 252 gives
// it). All addresses and routes are ours, so no sibling's advertisements are believed
// (the class of CVE-2020-13401).
func (l insideLink) prepareIPv6() error {
	settings := [][2]string{{"addr_gen_mode", "1"}}
	if l.lease.V6.IsValid() {
		settings = append(settings, [2]string{"disable_ipv6", "0"}, [2]string{"accept_ra", "0"}, [2]string{"autoconf", "0"})
	}
	for _, setting := range settings {
		err := setSysctl("net/ipv6/conf/"+l.name+"/"+setting[0], setting[1])
		if errors.Is(err, fs.ErrNotExist) && !l.lease.V6.IsValid() {
			return nil // no IPv6 in this kernel
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// remove deletes the link from the container's side.
func (l insideLink) remove() error {
	return inNamespace(l.netns, func() error {
		link, err := netlink.LinkByName(l.name)
		if err == nil {
			err = netlink.LinkDel(link)
		}
		if err != nil && !notFound(err) {
			return fmt.Errorf("delete link %s: %w", l.name, err)
		}
		return nil
	})
}

func loopbackUp() error {
	if err := setUp(loopbackIndex); err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	return nil
}

func setUp(index int) error { return setLinkUp(&netlink.Handle{}, index) }

func setLinkUp(handle *netlink.Handle, index int) error {
	return handle.LinkSetUp(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: index}})
}

// addAddress gives the link an address; that it has it already is success.
func addAddress(index int, address netip.Prefix) error {
	return giveAddress(&netlink.Handle{}, index, address)
}

func giveAddress(handle *netlink.Handle, index int, address netip.Prefix) error {
	link := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: index}}
	wanted := &netlink.Addr{IPNet: ipNet(address)}
	if address.Addr().Is6() {
		wanted.Flags = unix.IFA_F_NODAD // the leases see to it that it is unique
	}
	if err := handle.AddrReplace(link, wanted); err != nil {
		return fmt.Errorf("add address %s: %w", address, err)
	}
	return nil
}

// prefixOf is the other way round of ipNet.
func prefixOf(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	address, ok := netip.AddrFromSlice(n.IP)
	bits, _ := n.Mask.Size()
	return netip.PrefixFrom(address.Unmap(), bits), ok
}

func ipNet(prefix netip.Prefix) *net.IPNet {
	address := prefix.Addr()
	return &net.IPNet{IP: address.AsSlice(), Mask: net.CIDRMask(prefix.Bits(), address.BitLen())}
}
