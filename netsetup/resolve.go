package netsetup

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"

	"github.com/cocker/cocker/config"
)

// Resolve is the network of a definition, with what its file leaves out filled in.
//
// A subnet that is not given is one that overlaps no address or route of the host and no
// subnet that was picked before. Which one is remembered in DIR/NETWORK/subnets, and if
// that has been removed, by the bridge; it depends on the network's name, so that the
// same is picked after a boot, unless the host has come to use it. A bridge of the host's
// own tells its subnet by its address.
func Resolve(dir string, d config.NetworkDefinition) (Network, error) {
	n, err := resolve(dir, d)
	if err == nil {
		err = n.check()
	}
	if err != nil && d.File != "" {
		err = fmt.Errorf("%s: %w", d.File, err)
	}
	if err != nil {
		return Network{}, err
	}
	return n, nil
}

func resolve(dir string, d config.NetworkDefinition) (Network, error) {
	if d.Name == config.DefaultNetwork && d.File == "" {
		return Default(), nil
	}
	n := Network{Name: d.Name, Kind: d.Kind, MTU: d.MTU, Internal: d.Internal, Isolated: d.Isolated,
		Foreign: d.Bridge != "", Parent: d.Parent, VLAN: d.VLAN, Mode: d.Mode, NoDNS: d.NoDNS}
	if n.Kind == "" {
		n.Kind = config.KindBridge
	}
	n.Link = linkOf(n, d.Bridge)
	given := config.Subnet{}
	for _, s := range d.Subnets {
		switch {
		case !s.Prefix.IsValid():
			given = s // a gateway or a range for what is picked
		case s.Prefix.Addr().Is4():
			n.V4 = completed(s)
		default:
			n.V6 = completed(s)
		}
	}
	if given != (config.Subnet{}) {
		return n, fmt.Errorf("a gateway or a range needs a subnet")
	}
	want4, want6 := !n.V4.valid() && !n.V6.valid(), d.IPv6 && !n.V6.valid()
	if d.Name == config.DefaultNetwork && want4 {
		n.V4, want4 = Default().V4, false
	}
	if !want4 && !want6 {
		return n, nil
	}
	if n.Foreign {
		return n, n.readBridge(want4, want6)
	}
	if !n.Routed() {
		return n, fmt.Errorf("network %s: needs subnets: its addresses are those of the network that %s is in", n.Name, n.Link)
	}
	return n, n.pick(dir, want4, want6)
}

// linkOf is the name of the network's link on the host.
func linkOf(n Network, bridge string) string {
	switch {
	case bridge != "":
		return bridge
	case !n.bridged() && n.VLAN != 0:
		return vlanLink(n)
	case !n.bridged():
		return n.Parent
	}
	return bridgeLink(n.Name)
}

// readBridge takes the subnets from the addresses of a bridge, each with the first
// address that it has there as its gateway.
func (n *Network) readBridge(want4, want6 bool) error {
	link, err := netlink.LinkByName(n.Link)
	if notFound(err) {
		return fmt.Errorf("network %s: the host has no bridge %s, which its file names", n.Name, n.Link)
	}
	var addresses []netip.Prefix
	if err == nil {
		addresses, err = addressesOf(link)
	}
	if err != nil {
		return fmt.Errorf("network %s: %w", n.Name, err)
	}
	for _, a := range addresses {
		s := completed(config.Subnet{Prefix: a, Gateway: a.Addr()})
		if want4 && a.Addr().Is4() {
			n.V4, want4 = s, false
		}
		if want6 && a.Addr().Is6() && !a.Addr().IsLinkLocalUnicast() {
			n.V6, want6 = s, false
		}
	}
	if want4 || want6 {
		return fmt.Errorf("network %s: bridge %s has no address that tells a subnet; give subnets", n.Name, n.Link)
	}
	return nil
}

// addressesOf are those of a link, nil for all of the host.
func addressesOf(link netlink.Link) (found []netip.Prefix, err error) {
	list, err := whole(func() ([]netlink.Addr, error) { return netlink.AddrList(link, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range list {
		if prefix, ok := prefixOf(a.IPNet); ok {
			found = append(found, prefix)
		}
	}
	return found, nil
}

// pick fills in the subnets that are wanted, under the lock: two networks must not pick
// the same one.
func (n *Network) pick(dir string, want4, want6 bool) error {
	if n.remember(dir, want4, want6) {
		return nil
	}
	unlock, err := lock()
	if err != nil {
		return err
	}
	defer unlock()
	if n.remember(dir, want4, want6) {
		return nil
	}
	if err := n.choose(dir, want4, want6); err != nil {
		return fmt.Errorf("network %s: %w", n.Name, err)
	}
	var lines []string
	for _, s := range n.subnets() {
		lines = append(lines, s.Prefix.String())
	}
	path := pickedPath(dir, n.Name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func pickedPath(dir, network string) string { return filepath.Join(dir, network, "subnets") }

// remember takes the subnets that were picked before, and tells whether that is all.
func (n *Network) remember(dir string, want4, want6 bool) bool {
	for _, prefix := range picked(dir, n.Name) {
		if want4 && prefix.Addr().Is4() {
			n.V4, want4 = completed(config.Subnet{Prefix: prefix}), false
		}
		if want6 && prefix.Addr().Is6() {
			n.V6, want6 = completed(config.Subnet{Prefix: prefix}), false
		}
	}
	return !want4 && !want6
}

func picked(dir, network string) (found []netip.Prefix) {
	text, _ := os.ReadFile(pickedPath(dir, network))
	for _, word := range strings.Fields(string(text)) {
		if prefix, err := netip.ParsePrefix(word); err == nil {
			found = append(found, prefix.Masked())
		}
	}
	return found
}

func (n *Network) choose(dir string, want4, want6 bool) error {
	if link, err := netlink.LinkByName(n.Link); err == nil && link.Attrs().Alias == networkAlias(n.Name) {
		if n.readBridge(want4, want6) == nil {
			return nil // the bridge is up, and only what was remembered is gone
		}
	}
	used, err := usedPrefixes(dir, n.Name)
	if err != nil {
		return err
	}
	if want4 && !n.V4.valid() {
		if n.V4, err = pickIPv4(n.Name, used); err != nil {
			return err
		}
	}
	if want6 && !n.V6.valid() && hasIPv6() {
		n.V6, err = pickIPv6(n.Name, used)
	}
	return err
}

// pickIPv4 goes through 10.89.0.0/24 to 10.127.255.0/24.
func pickIPv4(name string, used []netip.Prefix) (Subnet, error) {
	const first, count = 89, (128 - 89) * 256
	start := hash(name) % count
	for i := range uint64(count) {
		number := (start + i) % count
		address := netip.AddrFrom4([4]byte{10, byte(first + number/256), byte(number), 0})
		if prefix := netip.PrefixFrom(address, 24); !overlaps(prefix, used) {
			return completed(config.Subnet{Prefix: prefix}), nil
		}
	}
	return Subnet{}, errors.New("10.89.0.0 to 10.127.255.255 have no free /24 left; give subnets")
}

// pickIPv6 makes a unique local prefix of the host and the name: fd, 40 bits that are
// the host's own, and 16 of the subnet (RFC 4193, 3.1).
func pickIPv6(name string, used []netip.Prefix) (Subnet, error) {
	id, err := os.ReadFile("/etc/machine-id")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Subnet{}, fmt.Errorf("pick an IPv6 subnet: %w", err)
	}
	global, start := hash("cocker/"+string(id)), hash(name)
	for i := range uint64(1 << 16) {
		bytes := [16]byte{0xfd, byte(global >> 32), byte(global >> 24), byte(global >> 16), byte(global >> 8), byte(global),
			byte((start + i) >> 8), byte(start + i)}
		if prefix := netip.PrefixFrom(netip.AddrFrom16(bytes), 64); !overlaps(prefix, used) {
			return completed(config.Subnet{Prefix: prefix}), nil
		}
	}
	return Subnet{}, errors.New("no free IPv6 subnet is left; give subnets")
}

func hash(text string) uint64 {
	sum := fnv.New64a()
	sum.Write([]byte(text))
	return sum.Sum64()
}

func overlaps(prefix netip.Prefix, used []netip.Prefix) bool {
	for _, u := range used {
		if u.Overlaps(prefix) {
			return true
		}
	}
	return false
}

// usedPrefixes are the host's addresses and routes, but for default ones, what other
// networks have picked, and that of the default network.
func usedPrefixes(dir, network string) ([]netip.Prefix, error) {
	used := []netip.Prefix{config.DefaultSubnet()}
	addresses, err := addressesOf(nil)
	if err != nil {
		return nil, err
	}
	for _, prefix := range addresses {
		used = append(used, prefix.Masked())
	}
	routes, err := whole(func() ([]netlink.Route, error) { return netlink.RouteList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	for _, r := range routes {
		if prefix, ok := prefixOf(r.Dst); ok && prefix.Bits() > 0 {
			used = append(used, prefix)
		}
	}
	networks, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, other := range networks {
		if other.Name() != network {
			used = append(used, picked(dir, other.Name())...)
		}
	}
	return used, nil
}

func hasIPv6() bool {
	_, err := os.Stat("/proc/sys/net/ipv6")
	return err == nil
}
