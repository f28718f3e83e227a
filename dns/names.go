package dns

import (
	"net/netip"
	"strings"
)

// member is a container in the network.
type member struct {
	container string
	leader    int // its PID 1
	addresses []netip.Addr
}

// Names is who is in a network. It is never changed once it is made.
type Names struct {
	network   string
	names     map[string][]member // in lower case
	aliases   map[string][]member
	addresses map[netip.Addr]member
	alive     func(leader int) bool
}

// newNames makes the tables. alive is asked at each answer: a container that has ended
// has a state until it is cleaned up.
func newNames(network string, members []join, alive func(leader int) bool) *Names {
	n := &Names{network: canonical(network), names: map[string][]member{}, aliases: map[string][]member{}, addresses: map[netip.Addr]member{}, alive: alive}
	for _, j := range members {
		name := canonical(j.container)
		n.names[name] = append(n.names[name], j.member)
		for _, alias := range j.aliases {
			alias = canonical(alias)
			n.aliases[alias] = append(n.aliases[alias], j.member)
		}
		for _, address := range j.addresses {
			if _, taken := n.addresses[address]; !taken {
				n.addresses[address] = j.member
			}
		}
	}
	return n
}

// join is a member and the further names that it has in the network.
type join struct {
	member
	aliases []string
}

// canonical is a name without its final dot, in lower case. Only ASCII has cases in the
// DNS (RFC 4343), and names with other characters are nobody's here.
func canonical(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// find returns those who have the name and run.
func (n *Names) find(name string) []member {
	if found := n.running(n.names[name]); len(found) > 0 {
		return found
	}
	return n.running(n.aliases[name])
}

// findHere is find for a name that may have the network's own behind it.
func (n *Names) findHere(name string) []member {
	return n.find(strings.TrimSuffix(name, "."+n.network))
}

func (n *Names) running(all []member) (found []member) {
	for _, m := range all {
		if n.alive(m.leader) {
			found = append(found, m)
		}
	}
	return found
}

// at returns who has the address and runs.
func (n *Names) at(address netip.Addr) (member, bool) {
	m, ok := n.addresses[address]
	return m, ok && n.alive(m.leader)
}
