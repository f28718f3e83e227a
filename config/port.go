package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// maxPorts is how many ports a container may publish. Each is an element of a map of
// the firewall and, for one without a fixed number, a socket while it is chosen.
const maxPorts = 1024

const portForm = `write "[HOST-ADDRESS:][HOST-PORT[-END]]:CONTAINER-PORT[-END][/tcp|/udp|/sctp]"`

func (b *builder) ports(e *entry) {
	for i, v := range b.array(e, `strings such as "8080:80"`) {
		if n, ok := v.(int64); ok {
			b.fail(e, []any{i}, `must be a string with the host's port too: "%d:%d", or ":%d" for any that is free`, n, n, n)
			continue
		}
		s, ok := b.plain(e, v, i)
		if !ok {
			continue
		}
		list, problem := parsePorts(s)
		if problem != "" {
			b.fail(e, []any{i}, "%q: %s; %s", s, problem, portForm)
			continue
		}
		b.addPorts(e, i, s, list)
	}
}

func (b *builder) addPorts(e *entry, i int, s string, list []Port) {
	n := &b.c.Network
	if len(n.Ports)+len(list) > maxPorts {
		b.fail(e, []any{i}, "%q: with it the container would publish %d ports; it may publish %d", s, len(n.Ports)+len(list), maxPorts)
		return
	}
	for _, p := range list {
		if p.HostPort != 0 && slices.ContainsFunc(n.Ports, p.samePlace) {
			b.fail(e, []any{i}, "%q: %s is published already by this container", s, p.place())
			return
		}
	}
	n.Ports = append(n.Ports, list...)
}

// portOrigins gives for each port of a good container the index in network.ports.
func portOrigins(e *entry) (origins []int) {
	list, _ := valueOf(e).([]any)
	for i, v := range list {
		s, _ := v.(string)
		ports, _ := parsePorts(s)
		for range ports {
			origins = append(origins, i)
		}
	}
	return origins
}

func valueOf(e *entry) any {
	if e == nil {
		return nil
	}
	return e.value
}

// ParsePorts reads "[HOST-ADDRESS:][HOST-PORT[-END]]:CONTAINER-PORT[-END][/tcp|/udp|/sctp]".
// A range gives a Port for each of its ports.
func ParsePorts(s string) ([]Port, error) {
	list, problem := parsePorts(s)
	if problem != "" {
		return nil, &Problem{File: "port " + strconv.Quote(s), Text: problem}
	}
	return list, nil
}

// ParsePort reads a single port as ParsePorts does, as Port.String writes it.
func ParsePort(s string) (Port, error) {
	list, err := ParsePorts(s)
	switch {
	case err != nil:
		return Port{}, err
	case len(list) != 1:
		return Port{}, &Problem{File: "port " + strconv.Quote(s), Text: "is a range of ports, not one"}
	}
	return list[0], nil
}

func parsePorts(s string) (list []Port, problem string) {
	var p Port
	rest, protocol, found := strings.Cut(s, "/")
	p.Protocol = TCP
	if found {
		p.Protocol = Protocol(protocol)
	}
	if p.Protocol != TCP && p.Protocol != UDP && p.Protocol != SCTP {
		return nil, "the protocol is not tcp, udp or sctp"
	}
	address, host, container, problem := splitPort(rest)
	if problem != "" {
		return nil, problem
	}
	if address != "" {
		if p.HostAddress, problem = hostAddress(address); problem != "" {
			return nil, problem
		}
	}
	hosts, containers := portRange{}, portRange{}
	if containers, problem = parsePortRange(container); problem != "" {
		return nil, "the container's port " + problem
	}
	if host != "" {
		if hosts, problem = parsePortRange(host); problem != "" {
			return nil, "the host's port " + problem
		}
		if hosts.size() != containers.size() {
			return nil, fmt.Sprintf("the host's ports are %d and the container's %d; use as many of both", hosts.size(), containers.size())
		}
	}
	if containers.size() > maxPorts {
		return nil, fmt.Sprintf("these are %d ports; a container may publish %d", containers.size(), maxPorts)
	}
	for i := range containers.size() {
		p.ContainerPort = containers.first + uint16(i) //nolint:gosec // within the range
		if host != "" {
			p.HostPort = hosts.first + uint16(i) //nolint:gosec // within the range
		}
		list = append(list, p)
	}
	return list, ""
}

// splitPort finds the three parts; an IPv6 address stands in brackets.
func splitPort(s string) (address, host, container, problem string) {
	if rest, bracketed := strings.CutPrefix(s, "["); bracketed {
		address, rest, bracketed = strings.Cut(rest, "]:")
		if !bracketed || !strings.Contains(address, ":") {
			return "", "", "", "in brackets there is no IPv6 address followed by \":\""
		}
		if s = rest; strings.Count(s, ":") != 1 {
			return "", "", "", "after the address, the host's port or the container's is missing"
		}
	}
	parts := strings.Split(s, ":")
	switch {
	case len(parts) > 3 || strings.ContainsAny(s, "[]"):
		return "", "", "", "an IPv6 address must stand in brackets, as in \"[::1]:8080:80\""
	case len(parts) == 1:
		return "", "", "", fmt.Sprintf("the host's port is missing; for any that is free write \":%s\"", s)
	case len(parts) == 3:
		if parts[0] == "" {
			return "", "", "", "the host's address is empty; leave out the first \":\""
		}
		address, parts = parts[0], parts[1:]
	}
	return address, parts[0], parts[1], ""
}

// hostAddress reads an address that a port is published on; 0.0.0.0 and :: are every
// one.
func hostAddress(s string) (netip.Addr, string) {
	a, err := netip.ParseAddr(s)
	switch {
	case err != nil:
		return a, strconv.Quote(s) + " is no IP address"
	case a.IsUnspecified():
		return netip.Addr{}, ""
	case a.Zone() != "" || a.Is6() && a.IsLinkLocalUnicast():
		return a, a.String() + " is good on one link only; use another address of the host"
	case a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return a, a.String() + " is no address that a host can have"
	}
	return a.Unmap(), ""
}

type portRange struct{ first, last uint16 }

func (r portRange) size() int { return int(r.last) - int(r.first) + 1 }

func parsePortRange(s string) (r portRange, problem string) {
	first, last, isRange := strings.Cut(s, "-")
	if r.first, problem = portNumber(first); problem != "" {
		return r, problem
	}
	r.last = r.first
	if isRange {
		if r.last, problem = portNumber(last); problem != "" {
			return r, problem
		}
	}
	if r.last < r.first {
		return r, strconv.Quote(s) + " ends before it begins"
	}
	return r, ""
}

func portNumber(s string) (uint16, string) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 || strconv.FormatUint(n, 10) != s {
		return 0, strconv.Quote(s) + " is no number from 1 to 65535"
	}
	return uint16(n), ""
}

// String gives the text that ParsePort reads.
func (p Port) String() string { return formatPorts(p, p) }

// formatPorts writes the ports from first to last, which follow each other.
func formatPorts(first, last Port) string {
	span := func(from, to uint16) string {
		switch from {
		case 0:
			return ""
		case to:
			return strconv.Itoa(int(from))
		}
		return strconv.Itoa(int(from)) + "-" + strconv.Itoa(int(to))
	}
	s := span(first.HostPort, last.HostPort) + ":" + span(first.ContainerPort, last.ContainerPort)
	switch a := first.HostAddress; {
	case a.Is4():
		s = a.String() + ":" + s
	case a.IsValid():
		s = "[" + a.String() + "]:" + s
	}
	if first.Protocol != TCP {
		s += "/" + string(first.Protocol)
	}
	return s
}

// FormatPorts writes ports as a file has them: three and more that follow each other
// are a range.
func FormatPorts(ports []Port) []string {
	const few = 2
	var list []string
	for len(ports) > 0 {
		n := 1
		for n < len(ports) && ports[n-1].precedes(ports[n]) {
			n++
		}
		if n <= few {
			n = 1
		}
		list = append(list, formatPorts(ports[0], ports[n-1]))
		ports = ports[n:]
	}
	return list
}

// precedes tells whether q may follow p in a range.
func (p Port) precedes(q Port) bool {
	if p.ContainerPort == 65535 || p.HostPort == 65535 {
		return false
	}
	p.ContainerPort++
	if p.HostPort != 0 {
		p.HostPort++
	}
	return p == q
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
