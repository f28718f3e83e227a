package config

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// DefaultNetwork is the network of every container with mode "bridge"; it
// exists without a file.
const DefaultNetwork = "cocker0"

// DefaultSubnet is the subnet of DefaultNetwork.
func DefaultSubnet() netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 88, 0, 0}), 16)
}

// Gateway is the bridge's own address in a subnet: the first one.
func Gateway(subnet netip.Prefix) netip.Addr { return subnet.Masked().Addr().Next() }

// Broadcast is the last address of an IPv4 subnet.
func Broadcast(subnet netip.Prefix) netip.Addr {
	a := subnet.Masked().Addr().As4()
	for bit := subnet.Bits(); bit < 32; bit++ {
		a[bit/8] |= 1 << (7 - bit%8)
	}
	return netip.AddrFrom4(a)
}

func (b *builder) networkMode(e *entry) {
	switch s, ok := b.plain(e, e.value); {
	case !ok:
	case s == string(NetworkBridge), s == string(NetworkHost), s == string(NetworkNone):
		b.c.Network.Mode = NetworkMode(s)
	default:
		b.fail(e, nil, `%q is not one of "bridge" (own network, NAT), "host" (the host's network) and "none" (loopback only)`, s)
	}
}

func (b *builder) address(e *entry) {
	s, ok := b.plain(e, e.value)
	if !ok {
		return
	}
	a, err := netip.ParseAddr(s)
	subnet := DefaultSubnet()
	switch {
	case err != nil:
		b.fail(e, nil, `%q is no IP address; write one as "10.88.0.10"`, s)
	case !a.Is4():
		b.fail(e, nil, "%s is IPv6, which is not supported yet; use an address of %s", a, subnet)
	case !subnet.Contains(a):
		b.fail(e, nil, "%s is not in the subnet of %s, %s", a, DefaultNetwork, subnet)
	case a == subnet.Addr():
		b.fail(e, nil, "%s is the address of the subnet itself; use another of %s", a, subnet)
	case a == Gateway(subnet):
		b.fail(e, nil, "%s is the bridge's own address, the gateway; use another of %s", a, subnet)
	case a == Broadcast(subnet):
		b.fail(e, nil, "%s is the broadcast address; use another of %s", a, subnet)
	default:
		b.c.Network.Joins[0].Address = a
	}
}

func (b *builder) ports(e *entry) {
	for i, v := range b.array(e, `strings such as "8080:80"`) {
		if n, ok := v.(int64); ok {
			b.fail(e, []any{i}, `must be a string with the host's port too: "%d:%d"`, n, n)
			continue
		}
		s, ok := b.plain(e, v, i)
		if !ok {
			continue
		}
		p, problem := parsePort(s)
		switch {
		case problem != "":
			b.fail(e, []any{i}, `%q: %s; write "[HOST-ADDRESS:]HOST-PORT:CONTAINER-PORT[/tcp|/udp]"`, s, problem)
		case slices.ContainsFunc(b.c.Network.Ports, p.samePlace):
			b.fail(e, []any{i}, "%q: %s is published already by this container", s, p.place())
		default:
			b.c.Network.Ports = append(b.c.Network.Ports, p)
		}
	}
}

// ParsePort reads "[HOST-ADDRESS:]HOST-PORT:CONTAINER-PORT[/tcp|/udp]".
func ParsePort(s string) (Port, error) {
	p, problem := parsePort(s)
	if problem != "" {
		return Port{}, &Problem{File: "port " + strconv.Quote(s), Text: problem}
	}
	return p, nil
}

func parsePort(s string) (p Port, problem string) {
	rest, protocol, found := strings.Cut(s, "/")
	p.Protocol = TCP
	if found {
		p.Protocol = Protocol(protocol)
	}
	if p.Protocol != TCP && p.Protocol != UDP {
		return p, "the protocol is not tcp or udp"
	}
	if strings.ContainsAny(rest, "[]") || strings.Count(rest, ":") > 2 {
		return p, "an IPv6 host address is not supported yet"
	}
	parts := strings.Split(rest, ":")
	if len(parts) == 1 {
		return p, "the host's port is missing"
	}
	if len(parts) == 3 {
		if p.HostAddress, problem = hostAddress(parts[0]); problem != "" {
			return p, problem
		}
		parts = parts[1:]
	}
	if p.HostPort, problem = portNumber(parts[0]); problem != "" {
		return p, "the host's port " + problem
	}
	if p.ContainerPort, problem = portNumber(parts[1]); problem != "" {
		return p, "the container's port " + problem
	}
	return p, ""
}

// hostAddress reads an address that a port is published on; 0.0.0.0 is every one.
func hostAddress(s string) (netip.Addr, string) {
	a, err := netip.ParseAddr(s)
	switch {
	case err != nil:
		return a, strconv.Quote(s) + " is no IP address"
	case a.IsUnspecified():
		return netip.Addr{}, ""
	case a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return a, a.String() + " is no address that a host can have"
	}
	return a, ""
}

func portNumber(s string) (uint16, string) {
	if strings.Contains(s, "-") {
		return 0, strconv.Quote(s) + " is a range, which is not supported yet; list each port"
	}
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 || strconv.FormatUint(n, 10) != s {
		return 0, strconv.Quote(s) + " is no number from 1 to 65535"
	}
	return uint16(n), ""
}

// String gives the text that ParsePort reads.
func (p Port) String() string {
	s := strconv.Itoa(int(p.HostPort)) + ":" + strconv.Itoa(int(p.ContainerPort))
	if p.HostAddress.IsValid() {
		s = p.HostAddress.String() + ":" + s
	}
	if p.Protocol == UDP {
		s += "/udp"
	}
	return s
}

// samePlace says whether both take the same address, port and protocol of the host.
func (p Port) samePlace(q Port) bool {
	return p.HostAddress == q.HostAddress && p.HostPort == q.HostPort && p.Protocol == q.Protocol
}

// place names what a port takes of the host.
func (p Port) place() string {
	address := "every address"
	if p.HostAddress.IsValid() {
		address = p.HostAddress.String()
	}
	return string(p.Protocol) + " port " + strconv.Itoa(int(p.HostPort)) + " of " + address
}

// checkNetwork refuses what needs a bridge in another mode.
func (b *builder) checkNetwork(entries []*entry) {
	if b.c.Network.Mode == NetworkBridge {
		return
	}
	for _, key := range []string{"address", "ports"} {
		e := find(entries, "network", key)
		if list, ok := valueOf(e).([]any); e != nil && (!ok || len(list) > 0) {
			b.fail(e, nil, `needs mode = "bridge", but mode is %q; leave one of them out`, b.c.Network.Mode)
		}
	}
}

func valueOf(e *entry) any {
	if e == nil {
		return nil
	}
	return e.value
}
