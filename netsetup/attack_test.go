package netsetup

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/config"
)

// An attacker has all rights in a namespace, and gives it whatever routes it
// likes. No datagram of its may arrive; whether an answer comes back is no
// matter. The victim gets an honest one afterwards, which has to be the first.
func TestAttackers(t *testing.T) {
	n := up(t)
	outside := neighbour(t)
	local := port("127.0.0.1", 9090)
	local.Protocol = config.UDP
	web, app := attach(t, n, "web", local), attach(t, n, "app")
	inContainer := receive(t, web.netns, ":80")
	onLoopback := receive(t, own(t), "127.0.0.1:1234")
	onHost := receive(t, own(t), ":1235")
	loopback := netip.MustParsePrefix("127.0.0.0/8")
	for _, route := range []struct {
		netns int
		to    netip.Prefix
		via   string
	}{
		{outside, loopback, "192.0.2.1"}, {outside, n.V4.Prefix, "192.0.2.1"}, {app.netns, loopback, n.V4.Gateway.String()},
	} {
		if err := misroute(route.netns, route.to, netip.MustParseAddr(route.via)); err != nil {
			t.Fatal(err)
		}
	}
	direct := netip.AddrPortFrom(web.address(), 80).String()
	for _, test := range []struct {
		name     string
		attacker int
		from, to string
		victim   <-chan string
		honestly string // where the host reaches the victim
	}{
		{"neighbour sends to 127.0.0.1, published", outside, "192.0.2.2", "127.0.0.1:9090", inContainer, direct},
		{"neighbour sends to 127.0.0.1", outside, "192.0.2.2", "127.0.0.1:1234", onLoopback, "127.0.0.1:1234"},
		{"neighbour routes the subnet to us", outside, "192.0.2.2", direct, inContainer, direct},
		{"container sends to 127.0.0.1, published", app.netns, app.address().String(), "127.0.0.1:9090", inContainer, direct},
		{"container sends to 127.0.0.1", app.netns, app.address().String(), "127.0.0.1:1234", onLoopback, "127.0.0.1:1234"},
		{"container sends as 127.0.0.1", app.netns, "127.0.0.1", n.V4.Gateway.String() + ":1235", onHost, "127.0.0.1:1235"},
	} {
		t.Run(test.name, func(t *testing.T) {
			for range 3 {
				if err := inNamespace(test.attacker, func() error { return send(test.from, test.to, "attack") }); err != nil {
					t.Fatal(err)
				}
			}
			if err := send("", test.honestly, "honest"); err != nil {
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
		for len(test.victim) > 0 {
			<-test.victim
		}
	}
}

// receive passes on what datagrams to the address say.
func receive(t *testing.T, netns int, address string) <-chan string {
	t.Helper()
	got := make(chan string, 16)
	err := inNamespace(netns, func() error {
		conn, err := net.ListenPacket("udp4", address)
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

func send(from, to, text string) error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	if from != "" {
		if err := unix.SetsockoptInt(socket, unix.SOL_IP, unix.IP_FREEBIND, 1); err != nil {
			return err
		}
		if err := unix.Bind(socket, &unix.SockaddrInet4{Addr: netip.MustParseAddr(from).As4()}); err != nil {
			return fmt.Errorf("bind %s: %w", from, err)
		}
	}
	target := netip.MustParseAddrPort(to)
	return unix.Sendto(socket, []byte(text), 0, &unix.SockaddrInet4{Addr: target.Addr().As4(), Port: int(target.Port())})
}

// misroute makes a namespace send a subnet out of eth0, 127.0.0.0/8 if need be
// (CVE-2020-8558).
func misroute(netns int, subnet netip.Prefix, via netip.Addr) error {
	return inNamespace(netns, func() error {
		if err := setSysctl("net/ipv4/conf/eth0/route_localnet", "1"); err != nil {
			return err
		}
		if err := forgetLoopback(); err != nil {
			return err
		}
		index, err := linkIndex("eth0")
		if err != nil {
			return err
		}
		return netlink.RouteAdd(&netlink.Route{LinkIndex: index, Gw: via.AsSlice(), Dst: ipNet(subnet)})
	})
}

// forgetLoopback removes the routes that keep 127.0.0.0/8 in the namespace.
func forgetLoopback() error {
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_V4,
		&netlink.Route{Table: unix.RT_TABLE_LOCAL}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return err
	}
	for _, route := range routes {
		if route.Dst == nil || !route.Dst.IP.IsLoopback() {
			continue
		}
		if err := netlink.RouteDel(&route); err != nil {
			return err
		}
	}
	return nil
}
