package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// checkNetworkFile makes the checks that need more than one key.
func (b *networkBuilder) checkNetworkFile(entries []*entry) {
	d := b.d
	if cni := find(entries, "", "cni"); cni != nil && find(entries, "", "kind") == nil {
		d.Kind = KindCNI
	}
	// The built-in network has its addresses whatever else a file changes.
	if d.Name == DefaultNetwork && d.Kind == KindBridge && !d.onHostsNetwork() && find(entries, "", "subnets") == nil {
		d.Subnets = append(d.Subnets, Subnet{Prefix: DefaultSubnet()})
	}
	before := len(b.problems)
	badSubnets := slices.ContainsFunc(b.problems, func(p *Problem) bool { return strings.HasPrefix(p.Key, "subnets") })
	b.checkKind(entries)
	if len(b.problems) > before { // what a kind does not have needs no second word
		return
	}
	b.checkLinks(entries)
	if !badSubnets && len(b.problems) == before {
		b.checkSubnets(entries)
		b.completeSubnets(entries)
	}
}

// notOf are the keys that a kind does not have, and why.
func notOf(kind NetworkKind) (keys []string, why string) {
	switch kind {
	case KindMacvlan, KindIPvlan:
		return []string{"bridge", "internal", "isolated", "cni"},
			fmt.Sprintf("a network of the kind %s has no bridge: its containers are on the network of the parent itself, past the host's firewall; leave it out", kind)
	case KindCNI:
		return []string{"subnets", "gateway", "gateway6", "range", "ipv6", "mtu", "internal", "isolated", "bridge", "parent", "vlan", "mode"},
			`in a network of the kind "cni" this is for its own file in /etc/cni/net.d to say; leave it out`
	}
	return []string{"mode", "cni"}, `only the kinds "macvlan" and "ipvlan" have modes, and only "cni" has plugins; leave it out`
}

// checkKind refuses the keys of other kinds, and asks for those that this one needs.
func (b *networkBuilder) checkKind(entries []*entry) {
	d := b.d
	keys, why := notOf(d.Kind)
	for _, e := range entries {
		if e.table == "" && slices.Contains(keys, e.key) && e.value != false {
			b.fail(e, nil, "%s", why)
		}
	}
	switch d.Kind {
	case KindMacvlan:
		b.checkMode(entries, "bridge", "private", "vepa", "passthru")
	case KindIPvlan:
		b.checkMode(entries, "l2", "l3", "l3s")
	case KindCNI:
		if find(entries, "", "cni") == nil {
			b.fail(find(entries, "", "kind"), nil, `the name of the CNI network is missing; set cni = "NAME"`)
		}
		return
	}
	if d.Kind != KindBridge && find(entries, "", "parent") == nil {
		b.fail(find(entries, "", "kind"), nil, `the host's interface is missing; set parent, such as parent = "eth0"`)
	}
}

func (b *networkBuilder) checkMode(entries []*entry, modes ...string) {
	if e := find(entries, "", "mode"); e != nil && !slices.Contains(modes, b.d.Mode) {
		b.fail(e, nil, "%q is no mode of %s; use one of %q", b.d.Mode, b.d.Kind, modes)
	}
}

// checkLinks checks the host's interfaces that a network uses.
func (b *networkBuilder) checkLinks(entries []*entry) {
	d := b.d
	bridge, parent, vlan := find(entries, "", "bridge"), find(entries, "", "parent"), find(entries, "", "vlan")
	link := fmt.Sprintf("%s.%d", d.Parent, d.VLAN)
	switch {
	case bridge != nil && (parent != nil || vlan != nil):
		b.fail(bridge, nil, "an existing bridge has the ports that it has; leave out this, or parent and vlan")
	case bridge != nil && d.Internal:
		b.fail(find(entries, "", "internal"), nil, "the way out of an existing bridge is not cocker's; leave out this or bridge")
	case d.Isolated && d.onHostsNetwork():
		b.fail(find(entries, "", "isolated"), nil, "the host's rules do not see what a network of the host itself carries; leave out this, or bridge, parent and vlan")
	case vlan != nil && parent == nil:
		b.fail(vlan, nil, `which interface the VLAN is on is missing; set parent, such as parent = "eth0"`)
	case parent != nil && vlan == nil && d.Kind == KindBridge:
		b.fail(parent, nil, `a bridge uses the parent for a VLAN only; set vlan, or name the bridge that the interface is in with bridge = "NAME"`)
	case parent != nil && d.Internal:
		b.fail(find(entries, "", "internal"), nil, "the VLAN of parent is a way out; leave out this, or parent and vlan")
	case vlan != nil && d.VLAN != 0 && d.Parent != "" && len(link) > maxInterface:
		b.fail(vlan, nil, "the interface of the VLAN would be %q, longer than %d bytes; rename the parent", link, maxInterface)
	case bridge != nil && d.Bridge == d.Name && d.Name == DefaultNetwork:
		b.fail(bridge, nil, "%s is the bridge that cocker makes; leave this out", d.Name)
	}
}

// onHostsNetwork says that the addresses are those of a network which cocker does not
// make.
func (d *NetworkDefinition) onHostsNetwork() bool {
	return d.Kind == KindMacvlan || d.Kind == KindIPvlan || d.Bridge != "" || d.Parent != ""
}

// checkSubnets checks what the addresses and the other keys have to do with each other.
func (b *networkBuilder) checkSubnets(entries []*entry) {
	d := b.d
	e := find(entries, "", "subnets")
	v4, has4 := d.Subnet(true)
	v6, has6 := d.Subnet(false)
	if d.onHostsNetwork() && !has4 && !has6 {
		at := find(entries, "", "bridge")
		if at == nil {
			at = find(entries, "", "parent")
		}
		if at != nil {
			b.fail(at, nil, `the addresses that the containers may have on that network are missing; set subnets, gateway and range`)
		}
	}
	if has4 && has6 && 128-v6.Prefix.Bits() < 32-v4.Prefix.Bits() {
		b.fail(e, nil, "%s has fewer addresses than %s: a container has the same number in both; use \"/64\"", v6.Prefix, v4.Prefix)
	}
	if ipv6 := find(entries, "", "ipv6"); ipv6 != nil && !d.IPv6 && has6 {
		b.fail(ipv6, nil, "there is a subnet of IPv6, %s; leave out one of them", v6.Prefix)
	}
	if mtu := find(entries, "", "mtu"); mtu != nil && d.MTU != 0 && d.MTU < minMTU6 && (has6 || d.IPv6) {
		b.fail(mtu, nil, "%d is too small for IPv6; use %d or more, or leave out IPv6", d.MTU, minMTU6)
	}
	if len(d.Subnets) == 0 {
		for _, key := range []string{"gateway", "gateway6", "range"} {
			if at := find(entries, "", key); at != nil {
				b.fail(at, nil, "there are no subnets that it could be in; set subnets, too")
			}
		}
		b.gateways, b.ranges = [2]netip.Addr{}, nil
	}
}

// completeSubnets puts gateways and ranges into the subnets.
func (b *networkBuilder) completeSubnets(entries []*entry) {
	for i, key := range []string{"gateway", "gateway6"} {
		if a := b.gateways[i]; a.IsValid() {
			e := find(entries, "", key)
			s := b.subnetFor(e, nil, a)
			if s == nil {
				continue
			}
			if problem := s.unusable(a); problem != "" {
				b.fail(e, nil, "%s is %s; use another of it", a, problem)
				continue
			}
			s.Gateway = a
		}
	}
	for _, r := range b.ranges {
		b.completeRange(find(entries, "", "range"), r)
	}
}

func (b *networkBuilder) completeRange(e *entry, r addressRange) {
	s := b.subnetFor(e, r.rest, r.first)
	if s == nil {
		return
	}
	first, last := s.unusable(r.first), s.unusable(r.last)
	_, has4 := b.d.Subnet(true)
	switch {
	case !s.Prefix.Contains(r.last):
		b.fail(e, r.rest, "%s is outside of the subnet %s", r.last, s.Prefix)
	case first != "":
		b.fail(e, r.rest, "%s is %s; begin with another", r.first, first)
	case last != "":
		b.fail(e, r.rest, "%s is %s; end with another", r.last, last)
	case r.first == r.last && r.first == s.gateway():
		b.fail(e, r.rest, "there is nothing in it but the gateway, %s", r.first)
	case r.first.Is6() && has4:
		b.fail(e, r.rest, "with IPv4, a container's IPv6 address has the number of its IPv4 address; set the range of IPv4 only")
	default:
		s.First, s.Last = r.first, r.last
	}
}

// subnetFor is the subnet that an address of a key must be in.
func (b *networkBuilder) subnetFor(e *entry, rest []any, a netip.Addr) *Subnet {
	for i := range b.d.Subnets {
		s := &b.d.Subnets[i]
		if s.Prefix.Addr().Is4() != a.Is4() {
			continue
		}
		if !s.Prefix.Contains(a) {
			b.fail(e, rest, "%s is outside of the subnet %s", a, s.Prefix)
			return nil
		}
		return s
	}
	b.fail(e, rest, "%s is %s, but there is no subnet of that in subnets", a, family(a))
	return nil
}

// unusable says what an address in a subnet is that no host has, or "".
func (s Subnet) unusable(a netip.Addr) string {
	switch {
	case a == s.Prefix.Addr() && a.Is4():
		return "the address of the subnet itself"
	case a == s.Prefix.Addr(): // RFC 4291 section 2.6.1
		return "the address of all routers of the subnet"
	case a.Is4() && a == Broadcast(s.Prefix):
		return "the broadcast address"
	}
	return ""
}
