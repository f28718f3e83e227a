package netsetup

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// hostsAddress is an ErrAddressTaken: the host itself has the address.
type hostsAddress struct {
	address netip.Addr
	link    string
}

func (e hostsAddress) Error() string {
	return fmt.Sprintf("address %s is the host's own, on %s; take it away there, or give the container another", e.address, e.link)
}

func (hostsAddress) Is(target error) bool { return target == ErrAddressTaken }

// CheckHost fails if the host has the address on one of its links, as a keepalived or an
// administrator gives it: what is sent to the container would end on the host. To bind a
// socket to an address that is not local fails, and costs three system calls. That it
// works says nothing where net.ipv4.ip_nonlocal_bind is on, so the links are asked then.
func CheckHost(address netip.Addr) error {
	if !address.IsValid() || !canBind(address) {
		return nil
	}
	list, err := whole(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range list {
		if own, ok := prefixOf(a.IPNet); ok && own.Addr() == address {
			return hostsAddress{address, linkName(a.LinkIndex)}
		}
	}
	return nil
}

func linkName(index int) string {
	link, err := net.InterfaceByIndex(index)
	if err != nil {
		return fmt.Sprintf("link %d", index)
	}
	return link.Name
}

func canBind(address netip.Addr) bool {
	family, to := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Addr: address.As16()})
	if address.Is4() {
		family, to = unix.AF_INET, &unix.SockaddrInet4{Addr: address.As4()}
	}
	socket, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(socket)
	return unix.Bind(socket, to) == nil
}

// Neighbours are the hardware addresses that answer for addresses on the network's link, as
// far as the host has asked for them.
func Neighbours(n Network) (map[netip.Addr]string, error) {
	index, err := linkIndex(n.Link)
	if err != nil {
		return nil, err
	}
	list, err := whole(func() ([]netlink.Neigh, error) { return netlink.NeighList(index, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("list neighbours on %s: %w", n.Link, err)
	}
	found := map[netip.Addr]string{}
	for _, neighbour := range list {
		address, ok := netip.AddrFromSlice(neighbour.IP)
		if ok && neighbour.State&(netlink.NUD_REACHABLE|netlink.NUD_STALE|netlink.NUD_DELAY|netlink.NUD_PROBE|netlink.NUD_PERMANENT) != 0 {
			found[address.Unmap()] = neighbour.HardwareAddr.String()
		}
	}
	return found, nil
}
