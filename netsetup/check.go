package netsetup

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	vishvananda "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Check tells in sentences what keeps the network, which should be up, from working:
// what is missing of it, and what of the host's own stands in its way. Nothing is
// changed.
func Check(n Network) (findings []string) {
	if err := n.check(); err != nil {
		return []string{err.Error()}
	}
	link, err := vishvananda.LinkByName(n.Link)
	if notFound(err) {
		return []string{fmt.Sprintf("link %s is missing", n.Link)}
	}
	if err != nil {
		return []string{fmt.Sprintf("look up link %s: %v", n.Link, err)}
	}
	if !isUp(link.Attrs()) {
		findings = append(findings, fmt.Sprintf("link %s is down", n.Link))
	}
	if n.bridged() && link.Type() != "bridge" {
		findings = append(findings, fmt.Sprintf("link %s is no bridge but %s", n.Link, link.Type()))
	}
	if !n.Routed() {
		return findings
	}
	return slices.Concat(findings, checkAddresses(n, link), checkTable(n), checkForwarding(n), checkOthersTables(n))
}

// checkAddresses looks for the gateways, and for links that lead to the same addresses.
func checkAddresses(n Network, link vishvananda.Link) (findings []string) {
	own, err := addressesOf(link)
	if err != nil {
		return []string{err.Error()}
	}
	routes, err := whole(func() ([]vishvananda.Route, error) { return vishvananda.RouteList(nil, vishvananda.FAMILY_ALL) })
	if err != nil {
		return []string{fmt.Sprintf("list routes: %v", err)}
	}
	for _, s := range n.subnets() {
		if gateway := s.prefix(s.Gateway); !slices.Contains(own, gateway) {
			findings = append(findings, fmt.Sprintf("bridge %s does not have the address %s", n.Link, gateway))
		}
		for _, route := range routes {
			to, ok := prefixOf(route.Dst)
			if ok && to.Bits() > 0 && to.Overlaps(s.Prefix) && route.LinkIndex != link.Attrs().Index {
				findings = append(findings, fmt.Sprintf("subnet %s overlaps a route of the host to %s; choose another", s.Prefix, to))
			}
		}
	}
	return findings
}

func checkTable(n Network) []string {
	get, err := openGetter()
	if err != nil {
		return []string{err.Error()}
	}
	defer get.Close()
	missing, err := get.missing(newTable(), n)
	switch {
	case err != nil:
		return []string{err.Error()}
	case missing != "":
		return []string{fmt.Sprintf("nft table inet %s is not complete: %s", tableName, missing)}
	}
	return nil
}

func checkForwarding(n Network) (findings []string) {
	if n.Internal {
		return nil
	}
	for _, family := range []struct {
		subnet   Subnet
		key, say string
	}{
		{n.V4, "net/ipv4/ip_forward", "net.ipv4.ip_forward"},
		{n.V6, "net/ipv6/conf/all/forwarding", "net.ipv6.conf.all.forwarding"},
	} {
		if !family.subnet.valid() {
			continue
		}
		if value, err := getSysctl(family.key); err != nil || value == "0" {
			findings = append(findings, fmt.Sprintf("%s is not 1: packets of containers are not forwarded", family.say))
		}
	}
	return findings
}

// checkOthersTables looks for chains of other programs that drop forwarded packets
// unless one of their rules accepts them, as those of Docker and ufw do. What one table
// drops no other one can bring back (nft(8), "accept"), and their rules are not ours to
// change. A chain that has a rule about the bridge is taken for one that knows it.
func checkOthersTables(n Network) (findings []string) {
	if n.Internal {
		return nil
	}
	conn, err := nftables.New()
	if err != nil {
		return []string{fmt.Sprintf("open nftables: %v", err)}
	}
	chains, err := conn.ListChains()
	if err != nil {
		return []string{fmt.Sprintf("list chains: %v", err)}
	}
	for _, chain := range chains {
		if chain.Hooknum == nil || *chain.Hooknum != *nftables.ChainHookForward || chain.Table.Name == tableName ||
			chain.Policy == nil || *chain.Policy != nftables.ChainPolicyDrop || !forwards(n, chain.Table.Family) {
			continue
		}
		known, err := mentions(chain.Table, n.Link)
		switch {
		case err != nil:
			findings = append(findings, err.Error())
		case !known:
			findings = append(findings, fmt.Sprintf("chain %s of the nft table %s %s drops what is forwarded, and has no rule for %s; %s",
				chain.Name, familyName(chain.Table.Family), chain.Table.Name, n.Link, remedy(n, chain)))
		}
	}
	return findings
}

// forwards tells whether packets of the network pass chains of the family.
func forwards(n Network, family nftables.TableFamily) bool {
	switch family {
	case nftables.TableFamilyIPv4:
		return n.V4.valid()
	case nftables.TableFamilyIPv6:
		return n.V6.valid()
	}
	return family == nftables.TableFamilyINet
}

func familyName(family nftables.TableFamily) string {
	switch family {
	case nftables.TableFamilyIPv4:
		return "ip"
	case nftables.TableFamilyIPv6:
		return "ip6"
	}
	return "inet"
}

// remedy is what to do: the chain's own program knows best.
func remedy(n Network, chain *nftables.Chain) string {
	if chain.Name != "FORWARD" { // not iptables-nft
		return fmt.Sprintf("let it accept iifname %[1]s and oifname %[1]s", n.Link)
	}
	program := "iptables"
	if chain.Table.Family == nftables.TableFamilyIPv6 {
		program = "ip6tables"
	}
	return fmt.Sprintf(`with Docker: "%[1]s -I DOCKER-USER -i %[2]s -j ACCEPT" and the same with -o; with ufw: "ufw route allow in on %[2]s" and the same with "out on"`,
		program, n.Link)
}

// mentions tells whether a rule or set of the table has the name of the link in it.
func mentions(t *nftables.Table, link string) (bool, error) {
	get, err := openGetter()
	if err != nil {
		return false, err
	}
	defer get.Close()
	reply, err := get.ask(t, unix.NFT_MSG_GETRULE, netlink.Dump, func(attributes *netlink.AttributeEncoder) {
		attributes.String(unix.NFTA_RULE_TABLE, t.Name)
	})
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return false, fmt.Errorf("list rules of table %s: %w", t.Name, err)
	}
	// A name that is compared in whole has its NUL; one that ends in a wildcard has none.
	for _, message := range reply {
		if bytes.Contains(message.Data, append([]byte(link), 0)) {
			return true, nil
		}
	}
	return false, nil
}
