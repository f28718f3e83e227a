package netsetup

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/config"
)

// upWith brings a network up until the end of the test.
func upWith(t testing.TB, n Network) Network {
	t.Helper()
	requireHost(t)
	if err := Up(n); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := Down(n); err != nil {
			t.Error(err)
		}
		if up, err := IsUp(n); up || err != nil {
			t.Errorf("IsUp after Down = %v, %v", up, err)
		}
	})
	return n
}

func dual(name string) Network { return testNetwork(name, "10.89.1.0/24", "fd00:1::/64") }

// neighbour6 is neighbour with the addresses 2001:db8::1 (ours) and 2001:db8::2 (its).
func neighbour6(t testing.TB) int {
	t.Helper()
	netns := neighbour(t)
	add := func(link, address string) error {
		index, err := linkIndex(link)
		if err != nil {
			return err
		}
		return addAddress(index, netip.MustParsePrefix(address))
	}
	if err := errors.Join(add("out0", "2001:db8::1/64"), inNamespace(netns, func() error { return add("eth0", "2001:db8::2/64") })); err != nil {
		t.Fatal(err)
	}
	return netns
}

func TestReachability6(t *testing.T) {
	requireIPv6(t)
	for _, value := range []string{"0", "1"} {
		t.Run("bridge-nf-call-ip6tables="+value, func(t *testing.T) {
			requireHost(t)
			if err := setSysctl("net/bridge/bridge-nf-call-ip6tables", value); err != nil {
				if value == "1" {
					t.Skip(err)
				}
			}
			testReachability6(t)
		})
	}
}

func testReachability6(t *testing.T) {
	n := upWith(t, dual("dual"))
	outside := neighbour6(t)
	web := attach(t, n, "web", publishedBoth(port("", 8080), port("2001:db8::1", 7070), port("::", 6060), port("0.0.0.0", 5050))...)
	app := attach(t, n, "app")
	for _, protocol := range []config.Protocol{config.TCP, config.UDP} {
		serve(t, web.netns, protocol, ":80")
		serve(t, outside, protocol, ":80")
	}
	at := func(address netip.Addr, port uint16) string { return netip.AddrPortFrom(address, port).String() }
	web6, app6 := web.lease.V6.Addr(), app.lease.V6.Addr()
	gateway, host := n.V6.Gateway, own(t)
	for _, test := range []struct {
		name string
		from int
		to   string
		seen string
	}{
		{"container to outside", web.netns, "[2001:db8::2]:80", "2001:db8::1"},
		{"outside to published", outside, "[2001:db8::1]:8080", "2001:db8::2"},
		{"outside to published, IPv4", outside, "192.0.2.1:8080", "192.0.2.2"},
		{"host's address to published", host, "[2001:db8::1]:8080", "2001:db8::1"},
		{"localhost, IPv4", host, "127.0.0.1:8080", n.V4.Gateway.String()},
		{"localhost, IPv6", host, "[::1]:8080", ""},
		{"sibling to host's address", app.netns, "[2001:db8::1]:8080", gateway.String()},
		{"sibling to gateway", app.netns, at(gateway, 8080), gateway.String()},
		{"sibling to container", app.netns, at(web6, 80), app6.String()},
		{"host to container", host, at(web6, 80), gateway.String()},
		{"container to its own published port", web.netns, "[2001:db8::1]:8080", gateway.String()},
		{"outside to port on an address", outside, "[2001:db8::1]:7070", "2001:db8::2"},
		{"sibling to port on another address", app.netns, at(gateway, 7070), ""},
		{"outside to port on ::", outside, "[2001:db8::1]:6060", "2001:db8::2"},
		{"outside to port on ::, IPv4", outside, "192.0.2.1:6060", ""},
		{"outside to port on 0.0.0.0, IPv6", outside, "[2001:db8::1]:5050", ""},
		{"outside to port on 0.0.0.0", outside, "192.0.2.1:5050", "192.0.2.2"},
	} {
		for _, protocol := range []config.Protocol{config.TCP, config.UDP} {
			t.Run(test.name+" "+string(protocol), func(t *testing.T) { checkReach(t, test.from, protocol, test.to, test.seen) })
		}
	}
}

// What a neighbour routes to us, or a container sends to or from ::1, arrives nowhere.
func TestAttackers6(t *testing.T) {
	requireIPv6(t)
	n := upWith(t, dual("dual"))
	outside := neighbour6(t)
	web, app := attach(t, n, "web"), attach(t, n, "app")
	inContainer := receive6(t, web.netns, "[::]:80")
	onHost := receive6(t, own(t), "[::]:1235")
	direct := netip.AddrPortFrom(web.lease.V6.Addr(), 80).String()
	route := func(netns int, to netip.Prefix, via string) {
		t.Helper()
		err := inNamespace(netns, func() error {
			index, err := linkIndex("eth0")
			if err != nil {
				return err
			}
			return netlink.RouteReplace(&netlink.Route{LinkIndex: index, Dst: ipNet(to), Gw: netip.MustParseAddr(via).AsSlice()})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	route(outside, n.V6.Prefix, "2001:db8::1")
	for _, test := range []struct {
		name           string
		attacker       int
		from, to       string
		victim         <-chan string
		honestly       string
		mayFailLocally bool
	}{
		{"neighbour routes the subnet to us", outside, "2001:db8::2", direct, inContainer, direct, false},
		{"container sends as ::1", app.netns, "::1", netip.AddrPortFrom(n.V6.Gateway, 1235).String(), onHost, "[::1]:1235", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			for range 3 {
				if err := inNamespace(test.attacker, func() error { return send6(test.from, test.to, "attack") }); err != nil && !test.mayFailLocally {
					t.Fatal(err)
				}
			}
			if err := send6("", test.honestly, "honest"); err != nil {
				t.Fatal(err)
			}
			select {
			case got := <-test.victim:
				if got != "honest" {
					t.Errorf("the victim got: %s", got)
				}
			case <-time.After(patience):
				t.Error("the victim is not reachable at all")
			}
		})
	}
}

func receive6(t *testing.T, netns int, address string) <-chan string {
	t.Helper()
	got := make(chan string, 16)
	err := inNamespace(netns, func() error {
		conn, err := net.ListenPacket("udp6", address)
		if err != nil {
			return err
		}
		t.Cleanup(func() { conn.Close() })
		go func() {
			var buffer [16]byte
			for {
				n, _, err := conn.ReadFrom(buffer[:])
				if err != nil {
					return
				}
				got <- string(buffer[:n])
			}
		}()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func send6(from, to, text string) error {
	socket, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	if from != "" {
		if err := unix.Bind(socket, &unix.SockaddrInet6{Addr: netip.MustParseAddr(from).As16()}); err != nil {
			return fmt.Errorf("bind %s: %w", from, err)
		}
	}
	target := netip.MustParseAddrPort(to)
	return unix.Sendto(socket, []byte(text), 0, &unix.SockaddrInet6{Addr: target.Addr().As16(), Port: int(target.Port())})
}

// Networks reach each other, but for isolated ones; an internal one reaches nothing.
func TestIsolation(t *testing.T) {
	requireIPv6(t)
	front, back := testNetwork("front", "10.89.1.0/24", "fd00:1::/64"), testNetwork("back", "10.89.2.0/24", "fd00:2::/64")
	alone, inner := testNetwork("alone", "10.89.3.0/24", "fd00:3::/64"), testNetwork("inner", "10.89.4.0/24", "fd00:4::/64")
	alone.Isolated, inner.Internal = true, true
	outside := neighbour6(t)
	boxes := map[string]*box{}
	for _, n := range []Network{front, back, alone, inner} {
		upWith(t, n)
		boxes[n.Name] = attach(t, n, n.Name, port("", 8000+uint16(n.V4.Prefix.Addr().As4()[2])))
		boxes[n.Name+"2"] = attach(t, n, n.Name+"2")
	}
	for _, b := range boxes {
		serve(t, b.netns, config.TCP, ":80")
	}
	serve(t, outside, config.TCP, ":80")
	// The internal network's containers have no default route; an attacker gives himself one.
	err := inNamespace(boxes["inner"].netns, func() error {
		index, err := linkIndex("eth0")
		if err != nil {
			return err
		}
		for _, gateway := range []netip.Addr{inner.V4.Gateway, inner.V6.Gateway} {
			if err := netlink.RouteAdd(&netlink.Route{LinkIndex: index, Gw: gateway.AsSlice()}); err != nil {
				return fmt.Errorf("there was a default route: %w", err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		from, to string
		reaches  bool
	}{
		{"front", "back", true}, {"front", "front2", true}, {"alone", "alone2", true}, {"inner", "inner2", true},
		{"front", "alone", false}, {"alone", "front", false}, {"front", "inner", false}, {"inner", "front", false},
		{"alone", "inner", false}, {"inner", "alone", false},
		{"front", "outside", true}, {"alone", "outside", true}, {"inner", "outside", false},
		{"host", "inner", true}, {"host", "alone", true},
		{"outside", "port 8003", true}, {"outside", "port 8001", true}, {"outside", "port 8004", false},
		{"front", "port 8003", false}, {"inner", "port 8001", false}, {"alone2", "port 8003", true}, {"host", "port 8004", true},
	} {
		from := outside
		if b := boxes[test.from]; b != nil {
			from = b.netns
		} else if test.from == "host" {
			from = own(t)
		}
		to := []string{"192.0.2.2:80", "[2001:db8::2]:80"}
		if b := boxes[test.to]; b != nil {
			to = []string{netip.AddrPortFrom(b.lease.V4.Addr(), 80).String(), netip.AddrPortFrom(b.lease.V6.Addr(), 80).String()}
		} else if number, ok := strings.CutPrefix(test.to, "port "); ok {
			to = []string{"192.0.2.1:" + number, "[2001:db8::1]:" + number}
		}
		for _, address := range to {
			t.Run(test.from+" to "+test.to+" at "+address, func(t *testing.T) {
				wait := patience
				if !test.reaches {
					wait = impatience
				}
				if _, err := ask(from, config.TCP, address, wait); (err == nil) != test.reaches {
					t.Errorf("reaches %v, want %v: %v", err == nil, test.reaches, err)
				}
			})
		}
	}
}

// A host that has its default route from a router keeps it when it becomes one itself.
func TestForwardingKeepsTheHostsRoute(t *testing.T) {
	requireIPv6(t)
	requireHost(t)
	if err := setSysctl("net/ipv6/conf/all/forwarding", "0"); err != nil {
		t.Fatal(err)
	}
	internal := testNetwork("inner", "10.89.4.0/24", "fd00:4::/64")
	internal.Internal = true
	outside := neighbour6(t)
	upWith(t, internal)
	if got := readSysctl(t, "net/ipv6/conf/all/forwarding"); got != "0" {
		t.Errorf("an internal network turned forwarding on")
	}
	var router int
	err := inNamespace(outside, func() (err error) {
		router, err = linkIndex("eth0")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	learned := func() (found bool) {
		routes, err := netlink.RouteList(nil, netlink.FAMILY_V6)
		if err != nil {
			t.Fatal(err)
		}
		for _, route := range routes {
			found = found || route.Protocol == unix.RTPROT_RA && (route.Dst == nil || route.Dst.IP.IsUnspecified())
		}
		return found
	}
	eventually(t, "a default route from the router", func() bool {
		if err := inNamespace(outside, func() error { return advertise(router) }); err != nil {
			time.Sleep(10 * time.Millisecond) // its link-local address is being checked
		}
		return learned()
	})
	n := dual("dual")
	t.Cleanup(func() { Down(n) })
	changes, err := Ensure(n)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"net.ipv6.conf.all.forwarding=1", "net.ipv6.conf.out0.accept_ra=2"} {
		if !strings.Contains(strings.Join(changes, "\n"), want) {
			t.Errorf("Ensure said %q, nothing of %s", changes, want)
		}
	}
	if got := readSysctl(t, "net/ipv6/conf/all/forwarding"); got != "1" {
		t.Errorf("forwarding is %s", got)
	}
	if !learned() {
		t.Error("the host has lost its default route")
	}
	if got := readSysctl(t, "net/ipv6/conf/"+n.Link+"/accept_ra"); got != "0" {
		t.Errorf("the bridge has accept_ra %s", got)
	}
	if changes, err := Ensure(n); err != nil || len(changes) != 0 {
		t.Errorf("second Ensure = %q, %v; want no change", changes, err)
	}
}

func TestTakenInEitherFamily(t *testing.T) {
	requireIPv6(t)
	n := upWith(t, dual("dual"))
	lease := n.lease(netip.MustParseAddr("10.89.1.5"), netip.MustParseAddr("fd00:1::5"))
	for _, listen := range []string{"[::]:8081", "0.0.0.0:8082", "[::1]:8083", "127.0.0.1:8084"} {
		listener, err := net.Listen("tcp", listen)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { listener.Close() })
		number := netip.MustParseAddrPort(listen).Port()
		_, err = Publish("web", lease, []config.Port{port("", number)})
		if !errors.Is(err, ErrPortTaken) || strings.Count(err.Error(), fmt.Sprintf("process %d of the host", os.Getpid())) != 1 {
			t.Errorf("%s: %v", listen, err)
		}
	}
	if _, err := Publish("holder", lease, []config.Port{port("fd00:1::1", 9000)}); err != nil {
		t.Fatal(err)
	}
	if _, err := Publish("web", lease, []config.Port{port("", 9000)}); !errors.Is(err, ErrPortTaken) || !strings.Contains(err.Error(), "holder") {
		t.Errorf("one address of IPv6 taken: %v", err)
	}
	if _, err := Publish("web", lease, []config.Port{port("0.0.0.0", 9000)}); err != nil {
		t.Errorf("the other family: %v", err)
	}
	for _, bad := range []config.Port{port("::1", 1), port("fe80::1%eth0", 1)} {
		if _, err := Publish("web", lease, []config.Port{bad}); err == nil {
			t.Errorf("%s is published", describe(bad))
		}
	}
	if _, err := Publish("web", n.lease(netip.MustParseAddr("10.89.1.5"), netip.Addr{}), []config.Port{port("2001:db8::1", 1)}); err == nil {
		t.Error("a port of IPv6 for a container without")
	}
}

func TestRandomPorts(t *testing.T) {
	n := upWith(t, dual("dual"))
	lease := n.lease(netip.MustParseAddr("10.89.1.5"), netip.MustParseAddr("fd00:1::5"))
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", []byte("40000 40003"), 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", []byte("32768 60999"), 0) })
	serve(t, own(t), config.TCP, "127.0.0.1:40001")
	if _, err := Publish("other", lease, []config.Port{port("", 40002)}); err != nil {
		t.Fatal(err)
	}
	random := []config.Port{port("", 0), port("", 0)}
	got, err := Publish("web", lease, random)
	if err != nil {
		t.Fatal(err)
	}
	if int(got[0].HostPort)+int(got[1].HostPort) != 40000+40003 {
		t.Errorf("chose %v", got)
	}
	if _, err := Publish("late", lease, []config.Port{port("", 0)}); !errors.Is(err, ErrPortTaken) {
		t.Errorf("none is free: %v", err)
	}
	if again, err := Publish("web", lease, got); err != nil || again[0] != got[0] {
		t.Errorf("again: %v, %v", again, err)
	}
	// A start that was killed before it could write down what was chosen.
	if err := Unpublish("web", random); err != nil {
		t.Fatal(err)
	}
	if _, err := Publish("late", lease, got); err != nil {
		t.Errorf("the ports are not free again: %v", err)
	}
}

func TestRandomPortsAtOnce(t *testing.T) {
	n := upWith(t, dual("dual"))
	lease := n.lease(netip.MustParseAddr("10.89.1.5"), netip.MustParseAddr("fd00:1::5"))
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", []byte("40000 40039"), 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", []byte("32768 60999"), 0) })
	results := make(chan uint16, 30)
	for i := range 30 {
		go func() {
			got, err := Publish(fmt.Sprint("c", i), lease, []config.Port{port("", 0)})
			if err != nil {
				t.Error(err)
				results <- 0
				return
			}
			results <- got[0].HostPort
		}()
	}
	seen := map[uint16]bool{}
	for range 30 {
		number := <-results
		if seen[number] {
			t.Errorf("port %d has two owners", number)
		}
		seen[number] = true
	}
}
