package netsetup

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"net"
	"net/netip"
	"strings"
	"unicode"
)

// ContainerLink is the name of the link in the container.
const ContainerLink = "eth0"

const (
	maxInterfaceName = 15 // IFNAMSIZ less the NUL, linux/if.h
	linkPrefix       = "ck-"
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

// hostLinks are the names that the host's end of a container's veth pair can
// have, in order of preference. The second one is for a container that starts
// again while the kernel still cleans up the namespace of its previous run: to
// wait for the first name takes 20 ms and more.
func hostLinks(container string) [2]string {
	if len(linkPrefix)+len(container) <= maxInterfaceName {
		return [2]string{linkPrefix + container, hashedLink(container)}
	}
	return [2]string{hashedLink(container), hashedLink(container + "/again")} // no container name has a slash
}

func hashedLink(text string) string {
	sum := fnv.New64a()
	sum.Write([]byte(text))
	return fmt.Sprintf("%s%012x", hashedPrefix, sum.Sum64()&(1<<48-1))
}

// linkAlias tells a person, and withLinks, whose link it is: a name may be hashed.
func linkAlias(container string) string { return aliasPrefix + container }

// containerMAC and hostMAC are stable for an address, so that a container that
// restarts is known to the neighbour tables of the host and its siblings. Both are
// locally administered; 0xfe is the highest first byte such an address can have.
func containerMAC(address netip.Addr) net.HardwareAddr { return mac(0x02, address) }
func hostMAC(address netip.Addr) net.HardwareAddr      { return mac(0xfe, address) }

func mac(first byte, address netip.Addr) net.HardwareAddr {
	bytes := address.As4()
	return append(net.HardwareAddr{first, 'c'}, bytes[:]...)
}

func toUint32(address netip.Addr) uint32 {
	bytes := address.As4()
	return binary.BigEndian.Uint32(bytes[:])
}

func fromUint32(number uint32) netip.Addr {
	var bytes [4]byte
	binary.BigEndian.PutUint32(bytes[:], number)
	return netip.AddrFrom4(bytes)
}

func fromMAC(mac net.HardwareAddr) netip.Addr { return netip.AddrFrom4([4]byte(mac[2:6])) }
