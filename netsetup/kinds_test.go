package netsetup

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/config"
)

// foreignBridge is a bridge of the host's own.
func foreignBridge(t *testing.T, address string) netlink.Link {
	t.Helper()
	requireHost(t)
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br-host", HardwareAddr: hostMAC(netip.MustParseAddr("198.51.100.9"))}}
	if err := netlink.LinkAdd(bridge); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { netlink.LinkDel(bridge) })
	if err := errors.Join(addAddress(bridge.Index, netip.MustParsePrefix(address)), setUp(bridge.Index)); err != nil {
		t.Fatal(err)
	}
	return bridge
}

// A bridge of the host's is used and otherwise left alone.
func TestForeignBridge(t *testing.T) {
	requireTool(t, "nft")
	requireTool(t, "ip")
	foreignBridge(t, "198.51.100.1/24")
	n, err := Resolve(t.TempDir(), config.NetworkDefinition{Name: "lan", File: "/etc/cocker/networks/lan.toml", Bridge: "br-host"})
	if err != nil {
		t.Fatal(err)
	}
	if n.V4.Prefix.String() != "198.51.100.0/24" || n.V4.Gateway.String() != "198.51.100.1" || n.Routed() {
		t.Errorf("resolved as %+v", n)
	}
	look := func() string {
		return output(t, "sh", "-c", "ip -4 -o addr show dev br-host; ip link show dev br-host | grep -o 'mtu.*qdisc\\|link/.*'; nft list ruleset; sysctl -a 2>/dev/null | grep -F br-host")
	}
	before := look()
	if changes, err := Ensure(n); err != nil || len(changes) != 0 {
		t.Errorf("Ensure = %q, %v", changes, err)
	}
	if up, err := IsUp(n); !up || err != nil {
		t.Errorf("IsUp = %v, %v", up, err)
	}
	web := attach(t, n, "web")
	serve(t, web.netns, config.TCP, ":80")
	if _, err := ask(own(t), config.TCP, netip.AddrPortFrom(web.address(), 80).String(), patience); err != nil {
		t.Error(err)
	}
	if err := Detach(n, "web", nil); err != nil {
		t.Error(err)
	}
	if err := Down(n); err != nil {
		t.Error(err)
	}
	if after := look(); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	if _, err := netlink.LinkByName("br-host"); err != nil {
		t.Error("the bridge is gone:", err)
	}
	n.Link = "br-none"
	if _, err := Ensure(n); err == nil || !strings.Contains(err.Error(), "br-none") {
		t.Errorf("a bridge that is not there: %v", err)
	}
}

// The name of a network happens to be that of a bridge of the host's.
func TestBridgeOfTheHostIsNotTakenOver(t *testing.T) {
	bridge := foreignBridge(t, "198.51.100.1/24")
	n := testNetwork("br-host", "10.89.1.0/24")
	if _, err := Ensure(n); err == nil || !strings.Contains(err.Error(), `bridge = "br-host"`) {
		t.Errorf("Ensure = %v", err)
	}
	if err := Down(n); err != nil {
		t.Error(err)
	}
	if addresses, err := addressesOf(bridge); err != nil || strings.Contains(fmt.Sprint(addresses), "10.89") {
		t.Errorf("%v, %v", addresses, err)
	}
}

func TestMacvlan(t *testing.T) {
	testShared(t, config.KindMacvlan, []string{"", "private", "vepa", "bridge"})
}

func TestIPvlan(t *testing.T) { testShared(t, config.KindIPvlan, []string{"", "l2", "l3", "l3s"}) }

// testShared: the containers are in the network that the parent is in, beside the neighbour.
func testShared(t *testing.T, kind config.NetworkKind, modes []string) {
	requireIPv6(t)
	requireHost(t)
	for _, mode := range modes {
		t.Run("mode "+mode, func(t *testing.T) {
			outside := neighbour6(t)
			serve(t, outside, config.TCP, ":80")
			n, err := Resolve(t.TempDir(), config.NetworkDefinition{Name: "lan", File: "lan.toml", Kind: kind, Parent: "out0", Mode: mode, MTU: 1400,
				Subnets: []config.Subnet{
					{Prefix: netip.MustParsePrefix("192.0.2.0/24"), Gateway: netip.MustParseAddr("192.0.2.2"), First: netip.MustParseAddr("192.0.2.100")},
					{Prefix: netip.MustParsePrefix("2001:db8::/64"), Gateway: netip.MustParseAddr("2001:db8::2")},
				}})
			if err != nil {
				t.Fatal(err)
			}
			if changes, err := Ensure(n); err != nil || len(changes) != 0 {
				t.Fatal(changes, err)
			}
			box := newBox(t, "web")
			lease, err := Acquire(t.TempDir(), n, "web", config.Join{})
			if err != nil {
				t.Fatal(err)
			}
			mark := NewMark([]Network{n})
			if err := mark.Set(box.netns); err != nil {
				t.Fatal(err)
			}
			endpoint, err := Attach(n, "web", lease, config.Join{}, 0, box.netns)
			if errors.Is(err, unix.EOPNOTSUPP) {
				t.Skip(err)
			}
			if err != nil || endpoint != (Endpoint{}) {
				t.Fatal(endpoint, err)
			}
			if kind == config.KindIPvlan && strings.HasPrefix(mode, "l3") {
				routeBack(t, outside, lease)
			}
			for to, from := range map[string]netip.Addr{"192.0.2.2:80": lease.V4.Addr(), "[2001:db8::2]:80": lease.V6.Addr()} {
				checkReach(t, box.netns, config.TCP, to, from.String())
			}
			if err := n.CheckPorts([]config.Port{port("", 8080)}); err == nil || n.CheckPorts(nil) != nil {
				t.Errorf("ports: %v", err)
			}
			if err := errors.Join(mark.Cut(), Detach(n, "web", nil)); err != nil {
				t.Error(err)
			}
			// This process keeps the namespace, and the link is gone nevertheless.
			if left := output(t, "nsenter", fmt.Sprintf("--net=/proc/%d/fd/%d", os.Getpid(), box.netns), "ip", "-o", "link"); strings.Contains(left, "eth0") || !strings.Contains(left, "lo:") {
				t.Errorf("left in the namespace: %s", left)
			}
			if err := mark.Cut(); err != nil {
				t.Errorf("again: %v", err)
			}
			if err := Down(n); err != nil {
				t.Error(err)
			}
			if _, err := linkIndex("out0"); err != nil {
				t.Error("the parent is gone:", err)
			}
		})
	}
}

// routeBack tells the neighbour the way to a container that answers no question for its
// hardware address: ipvlan in mode l3 leaves routes to the administrator (ipvlan.rst).
func routeBack(t *testing.T, netns int, lease Lease) {
	t.Helper()
	in := fmt.Sprintf("--net=/proc/%d/fd/%d", os.Getpid(), netns)
	output(t, "nsenter", in, "ip", "-4", "route", "add", lease.V4.Addr().String(), "via", "192.0.2.1")
	output(t, "nsenter", in, "ip", "-6", "route", "add", lease.V6.Addr().String(), "via", "2001:db8::1")
}

func TestVLAN(t *testing.T) {
	requireHost(t)
	neighbour(t)
	for _, kind := range []config.NetworkKind{config.KindBridge, config.KindMacvlan} {
		n, err := Resolve(t.TempDir(), config.NetworkDefinition{Name: "lan", File: "lan.toml", Kind: kind, Parent: "out0", VLAN: 7,
			Subnets: []config.Subnet{{Prefix: netip.MustParsePrefix("198.51.100.0/24")}}})
		if err != nil {
			t.Fatal(err)
		}
		before := links(t)
		changes, err := Ensure(n)
		if errors.Is(err, unix.EOPNOTSUPP) {
			if !strings.Contains(err.Error(), "this kernel has no VLANs") {
				t.Error(err)
			}
			t.Skip(err)
		}
		if err != nil || !strings.Contains(fmt.Sprint(changes), "created VLAN out0.7") {
			t.Errorf("Ensure = %q, %v", changes, err)
		}
		if link, err := netlink.LinkByName("out0.7"); err != nil || link.(*netlink.Vlan).VlanId != 7 || kind == config.KindBridge && link.Attrs().MasterIndex == 0 {
			t.Errorf("VLAN link %+v, %v", link, err)
		}
		if changes, err := Ensure(n); err != nil || len(changes) != 0 {
			t.Errorf("again: %q, %v", changes, err)
		}
		if err := Down(n); err != nil {
			t.Error(err)
		}
		if after := links(t); after != before {
			t.Errorf("links before: %s, left: %s", before, after)
		}
	}
}

func TestAttachFollowsTheJoin(t *testing.T) {
	requireIPv6(t)
	n := dual("dual")
	n.MTU = 1400
	upWith(t, n)
	netns := namespace(t)
	lease, err := Acquire(t.TempDir(), n, "web", config.Join{Address6: netip.MustParseAddr("fd00:1::beef")})
	if err != nil {
		t.Fatal(err)
	}
	for i, join := range []config.Join{{MAC: "02:00:00:00:00:07", Interface: "front0"}, {}} {
		network := n
		if i == 1 { // a second network
			network = testNetwork("other", "10.89.7.0/24")
			upWith(t, network)
			if lease, err = Acquire(t.TempDir(), network, "web", join); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := Attach(network, "web", lease, join, i, netns); err != nil {
			t.Fatal(err)
		}
	}
	in := fmt.Sprintf("--net=/proc/%d/fd/%d", os.Getpid(), netns)
	text := output(t, "nsenter", in, "sh", "-c", "ip link; ip addr; ip route; ip -6 route")
	for _, want := range []string{"front0@", "mtu 1400", "02:00:00:00:00:07", "fd00:1::beef/64", "eth1@", "default via 10.89.1.1 dev front0", "default via fd00:1::1 dev front0"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.Count(text, "default via") != 2 || strings.Contains(text, "inet6 fe80") {
		t.Errorf("more routes, or addresses, than wanted:\n%s", text)
	}
	for _, bad := range []config.Join{{MAC: "01:00:00:00:00:07"}, {MAC: "rubbish"}, {Interface: "all"}, {Interface: "../x"}, {Interface: "lo"}} {
		if _, err := Attach(n, "other", lease, bad, 0, namespace(t)); err == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
	if err := Detach(n, "web", nil); err != nil {
		t.Error(err)
	}
	// The link in the other network is still up.
	if text := output(t, "ip", "-br", "link", "show", "master", "other", "up"); text == "" {
		t.Error("Detach from one network has cut the link in the other")
	}
}

func TestResolvePicks(t *testing.T) {
	requireIPv6(t)
	requireHost(t)
	dir := t.TempDir()
	want := config.NetworkDefinition{Name: "shop", File: "shop.toml", IPv6: true}
	first, err := Resolve(dir, want)
	if err != nil {
		t.Fatal(err)
	}
	if first.V4.Prefix.Bits() != 24 || first.V6.Prefix.Bits() != 64 || !first.V6.Prefix.Addr().IsPrivate() || first.Link != "ckn-shop" {
		t.Errorf("picked %+v", first)
	}
	if again, err := Resolve(dir, want); err != nil || again != first {
		t.Errorf("again: %+v, %v", again, err)
	}
	// The same subnet is taken now: by a route of the host, and by another network.
	if other, err := Resolve(t.TempDir(), want); err != nil || other != first {
		t.Errorf("after a boot: %+v, %v", other, err)
	}
	if err := netlink.RouteAdd(&netlink.Route{LinkIndex: loopbackIndex, Dst: ipNet(first.V4.Prefix)}); err != nil {
		t.Fatal(err)
	}
	other, err := Resolve(t.TempDir(), want)
	if err != nil || other.V4.Prefix == first.V4.Prefix {
		t.Errorf("picked what the host has a route to: %v, %v", other.V4, err)
	}
	if err := netlink.RouteDel(&netlink.Route{LinkIndex: loopbackIndex, Dst: ipNet(first.V4.Prefix)}); err != nil {
		t.Fatal(err)
	}
	// DIR is removed while the network is up with another subnet than would be picked.
	moved := first
	moved.V4 = testNetwork("x", "10.120.7.0/24").V4
	upWith(t, moved)
	if found, err := Resolve(t.TempDir(), want); err != nil || found.V4 != moved.V4 || found.V6 != moved.V6 {
		t.Errorf("found %+v, %v", found, err)
	}
	for _, bad := range []config.NetworkDefinition{
		{Name: "lan", File: "lan.toml", Kind: config.KindMacvlan, Parent: "eth0"},
		{Name: "lan", File: "lan.toml", Kind: config.KindMacvlan, Subnets: []config.Subnet{{Prefix: netip.MustParsePrefix("192.0.2.0/24")}}},
		{Name: "lan", File: "lan.toml", Bridge: "br-none"},
		{Name: "lan", File: "lan.toml", Kind: config.KindMacvlan, Isolated: true, Parent: "lo", Subnets: []config.Subnet{{Prefix: netip.MustParsePrefix("192.0.2.0/24")}}},
		{Name: "lan", File: "lan.toml", VLAN: 4095, Parent: "lo", Subnets: []config.Subnet{{Prefix: netip.MustParsePrefix("192.0.2.0/24")}}},
		{Name: "lan", File: "lan.toml", Subnets: []config.Subnet{{Prefix: netip.MustParsePrefix("192.0.2.0/24")}, {Prefix: netip.MustParsePrefix("fd00::/121")}}},
	} {
		if n, err := Resolve(dir, bad); err == nil || !strings.Contains(err.Error(), "lan") {
			t.Errorf("%+v: %+v, %v", bad, n, err)
		}
	}
}
