package config

import (
	"net/netip"
	"slices"
	"strings"
)

// networkBuilder fills a definition from entries. The container of the builder that it
// uses has nothing but its sources, which give the order of the problems.
type networkBuilder struct {
	builder
	d *NetworkDefinition

	gateways [2]netip.Addr // as the keys gateway and gateway6 have them
	ranges   []addressRange
}

// addressRange is one range of the key range, and where it stands.
type addressRange struct {
	first, last netip.Addr
	rest        []any
}

// networkKeys are the keys of a network's file, and what each sets.
var networkKeys = [...]struct { //nolint:gochecknoglobals // a table, never written
	key string
	set func(*networkBuilder, *entry)
}{
	{"description", func(b *networkBuilder, e *entry) { b.d.Description = b.line(e) }},
	{"kind", func(b *networkBuilder, e *entry) {
		b.d.Kind = oneOf(&b.builder, e, KindBridge, KindMacvlan, KindIPvlan, KindCNI)
	}},
	{"subnets", (*networkBuilder).subnets},
	{"gateway", func(b *networkBuilder, e *entry) { b.gateways[0] = b.address(e, nil, e.value, true) }},
	{"gateway6", func(b *networkBuilder, e *entry) { b.gateways[1] = b.address(e, nil, e.value, false) }},
	{"range", (*networkBuilder).leased},
	{"ipv6", func(b *networkBuilder, e *entry) { b.d.IPv6 = b.boolean(e) }},
	{"mtu", func(b *networkBuilder, e *entry) { b.d.MTU = int(b.integer(e, minMTU, maxMTU)) }}, //nolint:gosec // bounded
	{"internal", func(b *networkBuilder, e *entry) { b.d.Internal = b.boolean(e) }},
	{"isolated", func(b *networkBuilder, e *entry) { b.d.Isolated = b.boolean(e) }},
	{"bridge", func(b *networkBuilder, e *entry) { b.d.Bridge = b.interfaceName(e, nil, e.value) }},
	{"parent", func(b *networkBuilder, e *entry) { b.d.Parent = b.interfaceName(e, nil, e.value) }},
	{"vlan", func(b *networkBuilder, e *entry) { b.d.VLAN = uint16(b.integer(e, 1, maxVLAN)) }}, //nolint:gosec // bounded
	{"mode", func(b *networkBuilder, e *entry) { b.d.Mode, _ = b.plain(e, e.value) }},
	{"dns", func(b *networkBuilder, e *entry) { b.d.NoDNS = !b.boolean(e) }},
	{"keep", func(b *networkBuilder, e *entry) { b.d.Temporary = !b.boolean(e) }},
	{"cni", (*networkBuilder).cni},
}

// Bounds of numbers: ETH_MIN_MTU of linux/if_ether.h, the largest an IP packet can be,
// and IEEE 802.1Q, which keeps 0 and 4095. RFC 8200 section 5: IPv6 needs 1280.
const (
	minMTU  = 68
	minMTU6 = 1280
	maxMTU  = 65535
	maxVLAN = 4094
)

func newNetworkBuilder(l Location) *networkBuilder {
	b := &networkBuilder{d: &NetworkDefinition{Name: l.Name, File: l.File, Kind: KindBridge}}
	b.file, b.c = l.File, &Container{}
	if err := ValidNetwork(l.Name); err != nil {
		b.problems = append(b.problems, &Problem{File: l.File, Text: err.Error() + "; rename the file"})
	}
	return b
}

func (b *networkBuilder) set(e *entry) {
	known := make([]string, len(networkKeys))
	for i, k := range networkKeys {
		if known[i] = k.key; e.table == "" && k.key == e.key {
			k.set(b, e)
			return
		}
	}
	if e.table != "" {
		b.fail(e, nil, "a network's file has no tables; write its keys without [%s]", e.table)
		return
	}
	b.unknown(e, e.path(), known)
}

// subnets reads one subnet of IPv4 and one of IPv6 at most.
func (b *networkBuilder) subnets(e *entry) {
	for i, v := range b.array(e, `subnets, such as ["10.1.0.0/24", "fd00:1::/64"]`) {
		s, ok := b.plain(e, v, i)
		if !ok {
			continue
		}
		p, err := netip.ParsePrefix(s)
		switch {
		case err != nil:
			b.fail(e, []any{i}, `%q is no subnet; write one as "10.1.0.0/24" or "fd00:1::/64"`, s)
			continue
		case p != p.Masked():
			b.fail(e, []any{i}, "%s is an address in a subnet; write the subnet, %q", s, p.Masked())
			continue
		}
		if problem := badSubnet(p); problem != "" {
			b.fail(e, []any{i}, "%s %s", p, problem)
			continue
		}
		if _, twice := b.d.Subnet(p.Addr().Is4()); twice {
			b.fail(e, []any{i}, "there is a subnet of %s already; a network has one of IPv4 and one of IPv6 at most", family(p.Addr()))
			continue
		}
		b.d.Subnets = append(b.d.Subnets, Subnet{Prefix: p})
	}
}

func family(a netip.Addr) string {
	if a.Is4() {
		return "IPv4"
	}
	return "IPv6"
}

// badSubnet says why no containers can be in a subnet, or "".
func badSubnet(p netip.Prefix) string {
	const largest4, smallest4, largest6, smallest6 = 8, 30, 16, 126
	a := p.Addr()
	switch bits := p.Bits(); {
	case a.Is4() && bits < largest4 || a.Is6() && bits < largest6:
		return "is too large; it would take the way to everything else"
	case a.Is4() && bits > smallest4 || a.Is6() && bits > smallest6:
		return "has no room for a gateway and a container"
	}
	for _, reserved := range reservedPrefixes() {
		if p.Overlaps(reserved.prefix) {
			return "holds " + reserved.what + " (" + reserved.prefix.String() + "), which containers can't have"
		}
	}
	return ""
}

type reservedPrefix struct {
	prefix netip.Prefix
	what   string
}

// reservedPrefixes are those of RFC 6890 that are of no use between hosts.
func reservedPrefixes() []reservedPrefix {
	return []reservedPrefix{
		{netip.MustParsePrefix("0.0.0.0/8"), "the addresses of \"this network\""},
		{netip.MustParsePrefix("127.0.0.0/8"), "loopback addresses"},
		{netip.MustParsePrefix("169.254.0.0/16"), "link-local addresses"},
		{netip.MustParsePrefix("224.0.0.0/4"), "multicast addresses"},
		{netip.MustParsePrefix("240.0.0.0/4"), "reserved addresses"},
		{netip.MustParsePrefix("::/8"), "reserved addresses, among them loopback"},
		{netip.MustParsePrefix("fe80::/10"), "link-local addresses"},
		{netip.MustParsePrefix("ff00::/8"), "multicast addresses"},
	}
}

// leased reads "FIRST-LAST", or a list of one for each of IPv4 and IPv6.
func (b *networkBuilder) leased(e *entry) {
	list, isList := e.value.([]any)
	if !isList {
		b.leasedRange(e, nil, e.value)
	}
	for i, v := range list {
		b.leasedRange(e, []any{i}, v)
	}
}

func (b *networkBuilder) leasedRange(e *entry, rest []any, v any) {
	s, ok := b.plain(e, v, rest...)
	if !ok {
		return
	}
	from, to, found := strings.Cut(s, "-")
	first, err := netip.ParseAddr(strings.TrimSpace(from))
	last, err2 := netip.ParseAddr(strings.TrimSpace(to))
	switch {
	case !found || err != nil || err2 != nil || first.Zone()+last.Zone() != "" || first.Is4() != last.Is4():
		b.fail(e, rest, `%q is no range of addresses; write "10.1.0.100-10.1.0.200"`, s)
	case last.Less(first):
		b.fail(e, rest, "%q ends before it begins", s)
	case slices.ContainsFunc(b.ranges, func(r addressRange) bool { return r.first.Is4() == first.Is4() }):
		b.fail(e, rest, "there is a range of %s already; keep one of them", family(first))
	default:
		b.ranges = append(b.ranges, addressRange{first, last, rest})
	}
}

// cni reads the name of a CNI network: CNI specification 1.0, "Section 1", name.
func (b *networkBuilder) cni(e *entry) {
	s, ok := b.plain(e, e.value)
	bad := strings.IndexFunc(s, func(r rune) bool { return !isAlphanumeric(r) && !strings.ContainsRune("_.-", r) })
	switch {
	case !ok:
	case s == "" || len(s) > maxName || bad >= 0 || !isAlphanumeric(rune(s[0])):
		b.fail(e, nil, `%q is no name of a CNI network; use what stands as "name" in its file in /etc/cni/net.d`, s)
	default:
		b.d.CNI = s
	}
}
