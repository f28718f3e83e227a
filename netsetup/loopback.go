package netsetup

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// loopbackMetric is that of the routes of answerLoopback6. The kernel's own has 0.
const loopbackMetric = 4096

// loopback6 tells why ports are not reached at ::1, nil if they are.
//
// What the host sends to ::1 has the source ::1, which the table masquerades. The answer
// has its destination rewritten to ::1 before it is routed. IPv6 has no route_localnet,
// but a local route for ::1 on the bridge does the same (measured on 6.18; routing looks
// for one on the link that a packet came from, RT6_LOOKUP_F_IFACE). But ip6_rcv drops
// packets to ::1 of any link but lo, and with br_netfilter the table rewrites the
// answer before that. That is also why the route lets nobody else in.
func loopback6() error {
	const key = "net/bridge/bridge-nf-call-ip6tables"
	if value, err := getSysctl(key); err == nil && value != "0" {
		return errLoopback6
	}
	return nil
}

var errLoopback6 = errors.New("the kernel drops the answers to ::1 while net.bridge.bridge-nf-call-ip6tables is 1 (br_netfilter is loaded); " +
	"set that to 0 and repair the network, or use 127.0.0.1")

// answerLoopback6 adds the bridge's route for ::1, which goes with the bridge.
func answerLoopback6(index int) error {
	loopback := netip.IPv6Loopback()
	route := &netlink.Route{LinkIndex: index, Dst: ipNet(netip.PrefixFrom(loopback, 128)), Table: unix.RT_TABLE_LOCAL,
		Type: unix.RTN_LOCAL, Priority: loopbackMetric, Protocol: unix.RTPROT_STATIC}
	if err := netlink.RouteAppend(route); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("add local route for %s: %w", loopback, err)
	}
	return nil
}
