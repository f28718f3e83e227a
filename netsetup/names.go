package netsetup

import (
	"fmt"
	"hash/fnv"
	"net"
	"net/netip"
	"strings"
	"unicode"

	"github.com/cocker/cocker/config"
)

// ContainerLink is the name of the first link in the container.
const ContainerLink = "eth0"

// containerLink is the name of a link in the container.
func containerLink(join config.Join, index int) string {
	if join.Interface != "" {
		return join.Interface
	}
	return fmt.Sprintf("eth%d", index)
}

const (
	maxInterfaceName = 15 // IFNAMSIZ less the NUL, linux/if.h
	linkPrefix       = "ck-"
	bridgePrefix     = "ckn-"
	// hashedPrefix has a byte that no container name has, so that a hashed
	// name never equals the plain one of another container.
	hashedPrefix = "ck_"
	aliasPrefix  = "cocker:"
)

// validInterface is dev_valid_name of net/core/dev.c, and no wider.
func validInterface(name string) bool {
	return name != "" && len(name) <= maxInterfaceName && name != "." && name != ".." &&
		!strings.ContainsFunc(name, func(r rune) bool { return r == '/' || r == ':' || unicode.IsSpace(r) })
}

// bridgeLink is the network's bridge. The names of all have one of few prefixes, by which
// networkd, NetworkManager and firewalld know them as ours: see units/network,
// units/NetworkManager and units/firewalld.
func bridgeLink(network string) string {
	switch {
	case network == config.DefaultNetwork:
		return network
	case len(bridgePrefix)+len(network) <= maxInterfaceName:
		return bridgePrefix + network
	}
	return hashedLink(network + "/bridge")
}

// vlanLink is the link of the network's VLAN, named as by ip-link(8) in its examples.
func vlanLink(n Network) string {
	if name := fmt.Sprintf("%s.%d", n.Parent, n.VLAN); len(name) <= maxInterfaceName {
		return name
	}
	return hashedLink(fmt.Sprintf("%s/%d/vlan", n.Parent, n.VLAN))
}

// hostLinks are the names that the host's end of a container's veth pair can
// have, in order of preference. The second one is for a container that starts
// again while the kernel still cleans up the namespace of its previous run: to
// wait for the first name takes 20 ms and more. Only the container's first link
// has a name that people can read.
func hostLinks(network, container string, index int) [2]string {
	again := hashedLink(network + "/" + container + "/again") // no container name has a slash
	if index == 0 && len(linkPrefix)+len(container) <= maxInterfaceName {
		return [2]string{linkPrefix + container, again}
	}
	return [2]string{hashedLink(network + "/" + container), again}
}

// allHostLinks are the names of the container's links in that network, whichever of
// its links they are.
func allHostLinks(network, container string) []string {
	first, other := hostLinks(network, container, 0), hostLinks(network, container, 1)
	if first[0] == other[0] {
		return first[:]
	}
	return append(first[:], other[0])
}

func hashedLink(text string) string {
	sum := fnv.New64a()
	sum.Write([]byte(text))
	return fmt.Sprintf("%s%012x", hashedPrefix, sum.Sum64()&(1<<48-1))
}

// linkAlias tells a person, and withLinks, whose link it is: a name may be hashed.
// Neither of the two names has a slash.
func linkAlias(network, container string) string { return networkAlias(network) + "/" + container }

// networkAlias is that of the bridge, and of a VLAN's link.
func networkAlias(network string) string { return aliasPrefix + network }

// containerMAC and hostMAC are stable for an address, so that a container that
// restarts is known to the neighbour tables of the host and its siblings. Both are
// locally administered; 0xfe is the highest first byte such an address can have.
func containerMAC(address netip.Addr) net.HardwareAddr { return mac(0x02, address) }
func hostMAC(address netip.Addr) net.HardwareAddr      { return mac(0xfe, address) }

// mac has the last four bytes of the address.
func mac(first byte, address netip.Addr) net.HardwareAddr {
	bytes := address.AsSlice()
	return append(net.HardwareAddr{first, 'c'}, bytes[len(bytes)-4:]...)
}
