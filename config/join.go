package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// maxAliases and maxJoins keep a mistake from becoming hundreds of links and names.
const (
	maxAliases = 64
	maxJoins   = 32
)

// joinKeys are the keys of a join: of [network] and of each [[network.join]].
var joinKeys = [...]struct { //nolint:gochecknoglobals // a table, never written
	key string
	set func(b *builder, e *entry, rest []any, v any, j *Join)
}{
	{"name", func(b *builder, e *entry, rest []any, v any, j *Join) { j.Name = b.networkName(e, rest, v) }},
	{"address", func(b *builder, e *entry, rest []any, v any, j *Join) { j.Address = b.address(e, rest, v, true) }},
	{"address6", func(b *builder, e *entry, rest []any, v any, j *Join) { j.Address6 = b.address(e, rest, v, false) }},
	{"mac", func(b *builder, e *entry, rest []any, v any, j *Join) { j.MAC = b.mac(e, rest, v) }},
	{"aliases", func(b *builder, e *entry, rest []any, v any, j *Join) { j.Aliases = b.aliases(e, rest, v) }},
	{"interface", func(b *builder, e *entry, rest []any, v any, j *Join) { j.Interface = b.interfaceName(e, rest, v) }},
}

// primary sets a key of [network] that is one of the first join.
func primary(b *builder, e *entry) {
	for _, k := range joinKeys {
		if k.key == e.key {
			k.set(b, e, nil, e.value, &b.c.Network.Joins[0])
		}
	}
}

// joins reads the [[network.join]] tables.
func (b *builder) joins(e *entry) {
	b.eachTable(e, func(e *entry, i int, table map[string]any) {
		j, known := Join{}, make([]string, len(joinKeys))
		for n, k := range joinKeys {
			known[n] = k.key
			if v, ok := table[k.key]; ok {
				k.set(b, e, []any{i, k.key}, v, &j)
			}
		}
		for _, key := range sortedKeys(table) {
			if !slices.Contains(known, key) {
				b.unknown(e, e.path(i, key), known)
			}
		}
		if _, ok := table["name"]; !ok {
			b.fail(e, []any{i}, "name is missing; name the network to join")
		}
		b.c.Network.Joins = append(b.c.Network.Joins, j)
	})
}

func (b *builder) networkName(e *entry, rest []any, v any) string {
	s, ok := b.plain(e, v, rest...)
	if !ok {
		return ""
	}
	if err := ValidNetwork(s); err != nil {
		b.fail(e, rest, "%v", err)
		return ""
	}
	return s
}

// address reads a fixed address. Whether the network has it is for checkAddresses to
// say, which knows the network.
func (b *builder) address(e *entry, rest []any, v any, v4 bool) netip.Addr {
	s, ok := b.plain(e, v, rest...)
	if !ok {
		return netip.Addr{}
	}
	example, other := "10.88.0.10", "address6"
	if !v4 {
		example, other = "fd00::10", "address"
	}
	a, err := netip.ParseAddr(s)
	switch {
	case err != nil || a.Zone() != "":
		b.fail(e, rest, "%q is no IP address; write one as %q", s, example)
	case a.Is4() != v4:
		b.fail(e, rest, "%s is for the key %s; here write an address such as %q", a, other, example)
	case special(a) != "":
		b.fail(e, rest, "%s is %s, which no container can have; use another", a, special(a))
	default:
		return a
	}
	return netip.Addr{}
}

// special says what an address is that is of no use as that of an interface which
// others shall reach, or "".
func special(a netip.Addr) string {
	switch {
	case a.IsUnspecified():
		return "the unspecified address"
	case a.IsLoopback():
		return "a loopback address"
	case a.IsMulticast():
		return "a multicast address"
	case a.IsLinkLocalUnicast():
		return "a link-local address"
	case a.Is4In6():
		return "an IPv4 address in IPv6 notation"
	case a.Is4() && a.As4()[0] == 0, a.Is4() && a.As4()[0] >= 240, a.Is6() && a.As16()[0] == 0:
		return "a reserved address" // RFC 1122 3.2.1.3, RFC 1112 4, RFC 4291 2.4
	}
	return ""
}

// mac reads six bytes as net.ParseMAC does; package net is large, and every start
// would pay for it.
func (b *builder) mac(e *entry, rest []any, v any) string {
	s, ok := b.plain(e, v, rest...)
	if !ok {
		return ""
	}
	s = strings.ToLower(s)
	parts, sum, first := strings.Split(s, ":"), uint64(0), uint64(0)
	for i, part := range parts {
		n, err := strconv.ParseUint(part, 16, 8)
		if err != nil || len(part) != 2 || len(parts) != 6 {
			b.fail(e, rest, `%q is no MAC address; write six bytes as "02:00:5e:00:53:01"`, s)
			return ""
		}
		if i == 0 {
			first = n
		}
		sum += n
	}
	switch {
	case sum == 0:
		b.fail(e, rest, "%q is no address that an interface can have; leave it out to get one", s)
	case first&1 != 0: // IEEE 802: the I/G bit; the kernel refuses it (is_valid_ether_addr)
		b.fail(e, rest, `%q is a multicast address: the first byte must be even, such as "02"`, s)
	default:
		return s
	}
	return ""
}

func (b *builder) aliases(e *entry, rest []any, v any) (aliases []string) {
	list, ok := v.([]any)
	if !ok {
		b.fail(e, rest, `must be an array of host names, ["db"], not %s`, kind(v))
	}
	if len(list) > maxAliases {
		b.fail(e, rest, "has %d names; a container may have %d in a network", len(list), maxAliases)
		return nil
	}
	for i, v := range list {
		at := append(rest[:len(rest):len(rest)], i)
		s, ok := b.plain(e, v, at...)
		if !ok {
			continue
		}
		s = strings.ToLower(s) // RFC 4343: names are the same in either case
		_, notAddress := netip.ParseAddr(s)
		switch err := ValidName(s); {
		case err != nil:
			b.fail(e, at, "%s", strings.Replace(err.Error(), "container", "host", 1))
		case notAddress == nil, s == "localhost":
			b.fail(e, at, "%q has a meaning of its own and is no name for a container; use another", s)
		case slices.Contains(aliases, s):
			b.fail(e, at, "%q is there twice; leave one out", s)
		default:
			aliases = append(aliases, s)
		}
	}
	return aliases
}

func (b *builder) interfaceName(e *entry, rest []any, v any) string {
	s, ok := b.plain(e, v, rest...)
	if !ok {
		return ""
	}
	if err := ValidInterface(s); err != nil {
		b.fail(e, rest, "%v", err)
		return ""
	}
	return s
}

// InterfaceOf is the name in the container of the interface of its join number i.
func (n Network) InterfaceOf(i int) string {
	if name := n.Joins[i].Interface; name != "" {
		return name
	}
	return "eth" + strconv.Itoa(i)
}

// checkJoins finds what two joins can't have both.
func (b *builder) checkJoins(entries []*entry) {
	n := b.c.Network
	e := find(entries, "network", "join")
	if len(n.Joins) > maxJoins {
		b.fail(e, nil, "there are %d; a container may join %d networks", len(n.Joins), maxJoins)
		return
	}
	for i := 1; i < len(n.Joins); i++ {
		for k, earlier := range n.Joins[:i] {
			switch j := n.Joins[i]; {
			case j.Name != "" && j.Name == earlier.Name:
				b.fail(e, []any{i - 1, "name"}, "the container is in %s already%s", j.Name, joinedBy(k))
			case n.InterfaceOf(i) == n.InterfaceOf(k):
				b.fail(e, []any{i - 1, "interface"}, "the interface of %s is named %s, too; give one of them another name", earlier.Name, n.InterfaceOf(i))
			case j.MAC != "" && j.MAC == earlier.MAC:
				b.fail(e, []any{i - 1, "mac"}, "%s has the address %s, too; give one of them another", earlier.Name, j.MAC)
			}
		}
	}
}

func joinedBy(earlier int) string {
	if earlier == 0 {
		return ", the network of [network]; name another in one of them"
	}
	return fmt.Sprintf(" by join[%d]; leave one out", earlier-1)
}

// entryOf is where a key of join number i stands: what rest names in which entry.
// It is nil if the file does not say it.
func entryOf(entries []*entry, i int, key string) (e *entry, rest []any) {
	if i == 0 {
		return find(entries, "network", key), nil
	}
	return find(entries, "network", "join"), []any{i - 1, key}
}

// join writes the keys of a join; its name may be left out.
func (w *encoder) join(j Join, name string) {
	w.text("name", name)
	if j.Address.IsValid() {
		w.text("address", j.Address.String())
	}
	if j.Address6.IsValid() {
		w.text("address6", j.Address6.String())
	}
	w.text("mac", j.MAC)
	w.list("aliases", j.Aliases)
	w.text("interface", j.Interface)
}
