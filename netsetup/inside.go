package netsetup

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// loopbackIndex is LOOPBACK_IFINDEX of net/flow.h: the same in every namespace.
const loopbackIndex = 1

// Loopback sets lo up in the network namespace of the descriptor.
func Loopback(netns int) error {
	return inNamespace(netns, loopbackUp)
}

// configureInside gives the container's namespace its loopback, the address and
// the default route.
func configureInside(netns int, lease Lease) error {
	return inNamespace(netns, func() error {
		if err := loopbackUp(); err != nil {
			return err
		}
		index, err := linkIndex(ContainerLink)
		if err != nil {
			return err
		}
		if err := addAddress(index, lease.Address); err != nil {
			return err
		}
		if err := withoutLinkLocal(); err != nil {
			return err
		}
		if err := setUp(index); err != nil {
			return fmt.Errorf("set %s up: %w", ContainerLink, err)
		}
		return addDefaultRoute(index, lease.Gateway)
	})
}

// withoutLinkLocal keeps the link from making itself an IPv6 link-local address
// (addr_gen_mode 1, ip-sysctl.rst). The network is an IPv4 one, and on the host
// `getent hosts NAME` would prefer that address, which is of no use without a
// scope: nss-mymachines of systemd 252 gives it.
func withoutLinkLocal() error {
	err := setSysctl("net/ipv6/conf/"+ContainerLink+"/addr_gen_mode", "1")
	if errors.Is(err, fs.ErrNotExist) {
		return nil // no IPv6 in this kernel
	}
	return err
}

func loopbackUp() error {
	if err := setUp(loopbackIndex); err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	return nil
}

func setUp(index int) error {
	return netlink.LinkSetUp(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: index}})
}

// addAddress gives the link an address; that it has it already is success.
func addAddress(index int, address netip.Prefix) error {
	link := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: index}}
	if err := netlink.AddrReplace(link, &netlink.Addr{IPNet: ipNet(address)}); err != nil {
		return fmt.Errorf("add address %s: %w", address, err)
	}
	return nil
}

func addDefaultRoute(index int, gateway netip.Addr) error {
	route := &netlink.Route{LinkIndex: index, Gw: gateway.AsSlice(), Protocol: unix.RTPROT_STATIC}
	if err := netlink.RouteReplace(route); err != nil {
		return fmt.Errorf("add default route via %s: %w", gateway, err)
	}
	return nil
}

func ipNet(prefix netip.Prefix) *net.IPNet {
	address := prefix.Addr()
	return &net.IPNet{IP: address.AsSlice(), Mask: net.CIDRMask(prefix.Bits(), address.BitLen())}
}
