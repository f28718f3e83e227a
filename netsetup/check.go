package netsetup

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/config"
)

// Finding is one thing that keeps a network from working.
type Finding struct {
	Problem string
	Advice  string // "": Ensure makes it right
}

// Check tells what is wrong with a network that should be up: what Ensure would make
// again, and what rules of others do to it. It changes nothing.
func Check(n Network) ([]Finding, error) {
	if err := n.check(); err != nil {
		return nil, err
	}
	found, err := checkLink(n)
	if err != nil || !n.Routed() {
		return found, err
	}
	overlapping, err := checkRoutes(n)
	if err != nil {
		return found, err
	}
	found = append(append(found, overlapping...), checkForwarding(n)...)
	rules, err := checkTable(n)
	found = append(found, rules...)
	if err != nil {
		return found, err
	}
	foreign, err := checkForeign(n)
	if err != nil {
		return append(found, foreign...), err
	}
	legacy, err := checkLegacy(n)
	return append(append(found, foreign...), legacy...), err
}

// checkLink looks at the link, and at the gateway's addresses if they are cocker's.
func checkLink(n Network) ([]Finding, error) {
	link, err := netlink.LinkByName(n.Link)
	switch {
	case notFound(err) && n.Foreign:
		return []Finding{{"the bridge " + n.Link + " of the host is missing", "make it, or name another in the network's file"}}, nil
	case notFound(err):
		return []Finding{{Problem: "the interface " + n.Link + " is missing"}}, nil
	case err != nil:
		return nil, fmt.Errorf("look up link %s: %w", n.Link, err)
	}
	var found []Finding
	if !isUp(link.Attrs()) {
		found = append(found, Finding{Problem: "the interface " + n.Link + " is down", Advice: adviceIf(!n.Routed(), "set it up: ip link set "+n.Link+" up")})
	}
	if !n.Routed() {
		return found, nil
	}
	if link.Type() != "bridge" {
		return append(found, Finding{n.Link + " is no bridge but " + link.Type(), "rename that, or the network"}), nil
	}
	addresses, err := netlink.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		return found, fmt.Errorf("list addresses of %s: %w", n.Link, err)
	}
	for _, subnet := range n.subnets() {
		want := subnet.prefix(subnet.Gateway).String()
		if !hasAddress(addresses, want) {
			found = append(found, Finding{Problem: n.Link + " lacks the gateway's address " + want})
		}
	}
	return found, nil
}

// checkRoutes looks for routes of the host to a part of the network, over other links.
func checkRoutes(n Network) (found []Finding, err error) {
	routes, err := whole(func() ([]netlink.Route, error) { return netlink.RouteList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	own, err := linkIndex(n.Link)
	if err != nil && !errors.Is(err, unix.ENODEV) {
		return nil, err
	}
	for _, route := range routes {
		to, ok := prefixOf(route.Dst)
		for _, s := range n.subnets() {
			if ok && to.Bits() > 0 && to.Overlaps(s.Prefix) && route.LinkIndex != own {
				found = append(found, Finding{fmt.Sprintf("the subnet %s overlaps a route of the host to %s", s.Prefix, to), "give the network another subnet"})
			}
		}
	}
	return found, nil
}

func adviceIf(given bool, advice string) string {
	if given {
		return advice
	}
	return ""
}

func hasAddress(addresses []netlink.Addr, want string) bool {
	for _, a := range addresses {
		if a.IPNet.String() == want {
			return true
		}
	}
	return false
}

// checkForwarding: somebody may have turned it off again since.
func checkForwarding(n Network) (found []Finding) {
	if n.Internal {
		return nil
	}
	for _, f := range []struct {
		wanted bool
		family string
		key    string
	}{
		{n.V4.valid(), "IPv4", "net/ipv4/ip_forward"},
		{n.V6.valid(), "IPv6", "net/ipv6/conf/all/forwarding"},
	} {
		value, err := os.ReadFile(filepath.Join("/proc/sys", f.key))
		if f.wanted && err == nil && strings.TrimSpace(string(value)) == "0" {
			found = append(found, Finding{Problem: fmt.Sprintf("%s forwarding is off (%s=0): the containers reach nothing outside, and no published port reaches them",
				f.family, strings.ReplaceAll(f.key, "/", "."))})
		}
	}
	return found
}

// checkTable compares the table with what it has to be.
func checkTable(n Network) ([]Finding, error) {
	get, err := openGetter()
	if err != nil {
		return nil, err
	}
	defer get.Close()
	t := newTable()
	missing, err := get.missing(t, n)
	if missing == "" && err == nil {
		missing, err = fewerRules(t)
	}
	if err != nil {
		return nil, err
	}
	if missing == "" {
		return checkLoopback(get)
	}
	return []Finding{{Problem: fmt.Sprintf("the rules are missing, or some of them (%s of the nft table inet %s): somebody has flushed them", missing, tableName)}}, nil
}

// fewerRules names a chain that has not all of its rules. It lists them, which missing is
// too quick for: that takes jumps to a chain for rules in it.
func fewerRules(t table) (chain string, err error) {
	conn, err := nftables.New()
	if err != nil {
		return "", fmt.Errorf("open nftables: %w", err)
	}
	for _, c := range t.chains() {
		rules, err := conn.GetRules(t.Table, &nftables.Chain{Name: c.name, Table: t.Table})
		if err != nil {
			return "", fmt.Errorf("list rules of chain %s: %w", c.name, err)
		}
		if len(rules) != len(c.rules) {
			return "chain " + c.name, nil
		}
	}
	return "", nil
}

// checkLoopback: br_netfilter may have been loaded since the table was made, as Docker does.
func checkLoopback(get getter) ([]Finding, error) {
	element, err := get.one(newTable().loopback, netip.IPv6Loopback().AsSlice())
	if err != nil || element.key == nil || loopback6() == nil {
		return nil, err
	}
	return []Finding{{Problem: "published ports are not reached at ::1, and do not say so: " + loopback6().Error()}}, nil
}

// Unpublished are the ports of a container that do not lead to it, though they should.
func Unpublished(container string, lease Lease, ports []config.Port) (missing []config.Port, err error) {
	elements, err := openElements()
	if err != nil {
		return nil, err
	}
	defer elements.Close()
	for _, p := range ports {
		for _, b := range elements.bindings(lease, []config.Port{p}) {
			set, wanted := b.element(container)
			found, err := elements.one(set, wanted.Key)
			if err != nil && !errors.Is(err, unix.ENOENT) {
				return missing, err
			}
			if found.owner != container || !bytes.Equal(found.value, wanted.Val) {
				missing = append(missing, p)
				break
			}
		}
	}
	return missing, nil
}
