package netsetup

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
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
	return append(found, foreign...), err
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
	missing, err := get.missing(newTable(), n)
	if missing == "" || err != nil {
		return nil, err
	}
	return []Finding{{Problem: fmt.Sprintf("the rules are missing, or some of them (%s of the nft table inet %s): somebody has flushed them", missing, tableName)}}, nil
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

// checkForeign finds chains of others that drop what is forwarded unless a rule accepts
// it, and have none for the network. A packet has to pass the chains of all tables
// (nft(8), "verdict statement": accept ends one base chain only), so that no rule of
// ours can let it through.
func checkForeign(n Network) (found []Finding, err error) {
	conn, err := nftables.New()
	if err != nil {
		return nil, fmt.Errorf("open nftables: %w", err)
	}
	chains, err := conn.ListChains()
	if err != nil {
		return nil, fmt.Errorf("list chains: %w", err)
	}
	for _, c := range chains {
		dropping := c.Policy != nil && *c.Policy == nftables.ChainPolicyDrop
		if c.Hooknum == nil || *c.Hooknum != *nftables.ChainHookForward || !dropping || c.Table.Name == tableName || !concerns(c.Table, n) {
			continue
		}
		accepted, err := accepts(conn, chains, c.Table, n.Link)
		if err != nil {
			return found, err
		}
		if !accepted {
			found = append(found, droppedBy(c, n))
		}
	}
	return found, nil
}

func concerns(t *nftables.Table, n Network) bool {
	switch t.Family {
	case nftables.TableFamilyINet:
		return true
	case nftables.TableFamilyIPv4:
		return n.V4.valid()
	case nftables.TableFamilyIPv6:
		return n.V6.valid()
	}
	return false
}

// accepts tells whether some rule of the table names the interface and accepts.
func accepts(conn *nftables.Conn, chains []*nftables.Chain, t *nftables.Table, link string) (bool, error) {
	for _, c := range chains {
		if c.Table.Name != t.Name || c.Table.Family != t.Family {
			continue
		}
		rules, err := conn.GetRules(t, c)
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return false, fmt.Errorf("list rules of table %s: %w", t.Name, err)
		}
		for _, r := range rules {
			if acceptsLink(r.Exprs, link) {
				return true, nil
			}
		}
	}
	return false, nil
}

// acceptsLink looks for a comparison with the name, or with what it begins with
// ("cocker*"), and for the verdict.
func acceptsLink(exprs []expr.Any, link string) bool {
	named, accepted, isName := false, false, false
	for _, e := range exprs {
		switch e := e.(type) {
		case *expr.Meta:
			isName = e.Key == expr.MetaKeyIIFNAME || e.Key == expr.MetaKeyOIFNAME
		case *expr.Cmp:
			prefix := len(e.Data) <= len(link) && len(e.Data) > 0 && strings.HasPrefix(link, string(e.Data))
			if isName && e.Op == expr.CmpOpEq && (prefix || bytes.Equal(e.Data, interfaceName(link))) {
				named = true
			}
		case *expr.Verdict:
			accepted = e.Kind == expr.VerdictAccept
		}
	}
	return named && accepted
}

// droppedBy says how the firewall that a chain is of can be told. Docker has a chain for
// this, and leaves alone what is in it.
func droppedBy(c *nftables.Chain, n Network) Finding {
	families := map[nftables.TableFamily]string{nftables.TableFamilyINet: "inet", nftables.TableFamilyIPv4: "ip", nftables.TableFamilyIPv6: "ip6"}
	family := families[c.Table.Family]
	finding := Finding{Problem: fmt.Sprintf("the chain %s of the nft table %s %s, which is not cocker's, drops what is forwarded and no rule of it accepts: the containers reach nothing outside",
		c.Name, family, c.Table.Name)}
	finding.Advice = fmt.Sprintf("let the firewall that it is of accept what comes from and goes to %s, such as: nft insert rule %s %s %s iifname %[1]s accept, and the same with oifname; with Docker in the chain DOCKER-USER, with ufw by \"ufw route allow in on %[1]s\"",
		n.Link, family, c.Table.Name, c.Name)
	return finding
}
