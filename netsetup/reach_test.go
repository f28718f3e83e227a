package netsetup

import (
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/cocker/cocker/config"
)

const (
	patience = time.Minute // on a busy machine; nothing takes that long
	// impatience is for packets that are dropped without an answer, a few
	// microseconds away: nothing but waiting tells.
	impatience = 300 * time.Millisecond
)

func TestReachability(t *testing.T) {
	const bridgeFilter = "/proc/sys/net/bridge/bridge-nf-call-iptables"
	if _, err := os.Stat(bridgeFilter); err != nil {
		t.Run("plain bridge", testReachability)
		return
	}
	// With br_netfilter a frame between two containers meets the table as well.
	for _, value := range []string{"0", "1"} {
		t.Run("bridge-nf-call-iptables="+value, func(t *testing.T) {
			requireHost(t)
			if err := setSysctl("net/bridge/bridge-nf-call-iptables", value); err != nil {
				t.Skip(err)
			}
			testReachability(t)
		})
	}
}

func testReachability(t *testing.T) {
	n := up(t)
	outside := neighbour(t)
	web := attach(t, n, "web", publishedBoth(port("", 8080), port("127.0.0.1", 9090), port("192.0.2.1", 7070))...)
	app := attach(t, n, "app")
	for _, protocol := range []config.Protocol{config.TCP, config.UDP} {
		serve(t, web.netns, protocol, ":80")
		serve(t, outside, protocol, ":80")
		serve(t, own(t), protocol, "127.0.0.1:1234")
	}
	direct := netip.AddrPortFrom(web.address(), 80).String()
	gateway, host := n.V4.Gateway.String(), own(t)
	for _, test := range []struct {
		name string
		from int
		to   string
		seen string // the client's address as the server sees it; "": not reachable
	}{
		{"container to outside", web.netns, "192.0.2.2:80", "192.0.2.1"},
		{"outside to published", outside, "192.0.2.1:8080", "192.0.2.2"},
		{"host's address to published", host, "192.0.2.1:8080", "192.0.2.1"},
		{"localhost to published", host, "127.0.0.1:8080", gateway},
		{"sibling to host's address", app.netns, "192.0.2.1:8080", gateway},
		{"sibling to gateway", app.netns, gateway + ":8080", gateway},
		{"sibling to container", app.netns, direct, app.address().String()},
		{"host to container", host, direct, gateway},
		{"container to its own published port", web.netns, "192.0.2.1:8080", gateway},
		{"container to itself by the gateway", web.netns, gateway + ":8080", gateway},

		{"localhost to port on localhost", host, "127.0.0.1:9090", gateway},
		{"outside to port on localhost", outside, "192.0.2.1:9090", ""},
		{"sibling to port on localhost", app.netns, gateway + ":9090", ""},
		{"outside to port on an address", outside, "192.0.2.1:7070", "192.0.2.2"},
		{"localhost to port on an address", host, "127.0.0.1:7070", ""},
		{"host's loopback is not the container's", web.netns, "127.0.0.1:1234", ""},
	} {
		for _, protocol := range []config.Protocol{config.TCP, config.UDP} {
			t.Run(test.name+" "+string(protocol), func(t *testing.T) { checkReach(t, test.from, protocol, test.to, test.seen) })
		}
	}
}

func checkReach(t *testing.T, from int, protocol config.Protocol, to, want string) {
	t.Helper()
	wait := patience
	if want == "" {
		wait = impatience
	}
	seen, err := ask(from, protocol, to, wait)
	switch {
	case want == "" && err == nil:
		t.Errorf("%s is reachable, seen as %s", to, seen)
	case want != "" && err != nil:
		t.Error(err)
	case seen != want:
		t.Errorf("seen as %q, want %q", seen, want)
	}
}

// A client that sent before the container ran, and goes on from the same port,
// reaches it; flows that have nothing to do with it are left alone.
func TestUDPClientFromBefore(t *testing.T) {
	n := up(t)
	outside := neighbour(t)
	other := attach(t, n, "other")
	remote := receive(t, outside, ":8080")
	sender := func(netns int, to string) func(text string) {
		var conn net.Conn
		err := inNamespace(netns, func() (err error) {
			conn, err = net.Dial("udp4", to)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return func(text string) {
			if _, err := conn.Write([]byte(text)); err != nil { // the ICMP answer to the one before
				conn.Write([]byte(text))
			}
		}
	}
	toHost, through := sender(outside, "192.0.2.1:8080"), sender(other.netns, "192.0.2.2:8080")
	toHost("too early")
	through("one")
	before := 0
	eventually(t, "the flow to outside", func() bool { before = flows(t, "192.0.2.2"); return before != 0 })

	web := attach(t, n, "web", publishedBoth(port("", 8080))...)
	got := receive(t, web.netns, ":80")
	toHost("now")
	through("two")
	for _, want := range []struct {
		from <-chan string
		text string
	}{{got, "now"}, {remote, "one"}, {remote, "two"}} {
		select {
		case text := <-want.from:
			if text != want.text {
				t.Errorf("got %q, want %q", text, want.text)
			}
		case <-time.After(patience):
			t.Errorf("%q never arrived", want.text)
		}
	}
	if after := flows(t, "192.0.2.2"); after != before || after == 0 {
		t.Errorf("%d flows to outside, were %d", after, before)
	}
}

// flows counts the connections to an address that the kernel knows.
func flows(t *testing.T, to string) (count int) {
	t.Helper()
	all, err := netlink.ConntrackTableList(netlink.ConntrackTable, netlink.FAMILY_V4)
	if err != nil {
		t.Fatal(err)
	}
	for _, flow := range all {
		if flow.Forward.DstIP.String() == to {
			count++
		}
	}
	return count
}

// port is a published port of the host that leads to port 80.
func port(address string, number uint16) config.Port {
	p := config.Port{HostPort: number, ContainerPort: 80, Protocol: config.TCP}
	if address != "" {
		p.HostAddress = netip.MustParseAddr(address)
	}
	return p
}

func publishedBoth(ports ...config.Port) []config.Port {
	for _, p := range ports {
		p.Protocol = config.UDP
		ports = append(ports, p)
	}
	return ports
}
