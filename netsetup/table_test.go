package netsetup

import (
	"flag"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/cocker/cocker/config"
)

var update = flag.Bool("update", false, "write the golden files")

func TestTableLooksAsDocumented(t *testing.T) {
	requireTool(t, "nft")
	requireHost(t)
	setSysctl("net/bridge/bridge-nf-call-ip6tables", "0") // fails where it cannot be 1 either
	up(t)
	ports := []config.Port{
		{HostPort: 8080, ContainerPort: 80, Protocol: config.TCP},
		{HostAddress: netip.MustParseAddr("127.0.0.1"), HostPort: 5353, ContainerPort: 53, Protocol: config.UDP},
	}
	if _, err := Publish("web", leaseOf("10.88.0.5"), ports); err != nil {
		t.Fatal(err)
	}
	got := output(t, "nft", "-s", "list", "table", "inet", "cocker")
	got = strings.Replace(got, "output priority dstnat;", "output priority -100;", 1) // nft 1.0.7 and later
	const golden = "testdata/table.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestUpRepairs(t *testing.T) {
	requireTool(t, "nft")
	requireTool(t, "ip")
	for _, test := range []struct{ name, damage string }{
		{"nothing", "true"},
		{"table flushed", "nft flush table inet cocker"},
		{"table deleted", "nft delete table inet cocker"},
		{"set emptied", "nft flush set inet cocker bridges"},
		{"rule added", "nft add rule inet cocker forward drop"},
		{"bridge down", "ip link set cocker0 down"},
		{"bridge deleted", "ip link del cocker0"},
		{"address gone", "ip -4 addr flush dev cocker0"},
		{"route_localnet off", "echo 0 > /proc/sys/net/ipv4/conf/cocker0/route_localnet"},
		{"forwarding off", "echo 0 > /proc/sys/net/ipv4/ip_forward"},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := up(t)
			web := attach(t, n, "web")
			serve(t, web.netns, config.TCP, ":80")
			want := state(t)
			output(t, "sh", "-c", test.damage)
			if err := Up(n); err != nil {
				t.Fatal(err)
			}
			if got := state(t); got != want {
				t.Errorf("after Up:\n%s\nwant:\n%s", got, want)
			}
			address := netip.AddrPortFrom(web.address(), 80)
			if _, err := ask(own(t), config.TCP, address.String(), patience); err != nil {
				t.Error("a running container is not reachable:", err)
			}
		})
	}
}

// state is all that Up answers for, as the host's own tools show it: of the bridge
// that it is set up, not its operational state, which follows a port's carrier in
// the kernel's own time (Documentation/networking/operstates.rst).
func state(t *testing.T) string {
	t.Helper()
	return output(t, "nft", "-s", "list", "ruleset") +
		output(t, "sh", "-c", `ip -o link show dev cocker0 up | cut -d: -f2; ip -4 -o addr show dev cocker0 | tr -s ' ' | cut -d' ' -f2-4;
			ip -br link show master cocker0 | cut -d' ' -f1;
			cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/conf/cocker0/route_localnet`)
}

func TestEnsureTellsWhatItChanged(t *testing.T) {
	requireHost(t)
	if err := setSysctl("net/ipv4/ip_forward", "0"); err != nil {
		t.Fatal(err)
	}
	n := Default()
	t.Cleanup(func() { Down(n) })
	changes, err := Ensure(n)
	if err != nil || !strings.Contains(strings.Join(changes, "\n"), "ip_forward") {
		t.Errorf("first Ensure = %q, %v; want a word about ip_forward", changes, err)
	}
	if changes, err := Ensure(n); err != nil || len(changes) != 0 {
		t.Errorf("second Ensure = %q, %v; want no change", changes, err)
	}
}

func TestDownKeepsOtherNetworks(t *testing.T) {
	n := up(t)
	other := testNetwork("back.end", "10.89.0.0/24")
	if err := Up(other); err != nil {
		t.Fatal(err)
	}
	for range 2 { // twice: what is gone is gone
		if err := Down(other); err != nil {
			t.Fatal(err)
		}
	}
	if up, err := IsUp(n); !up || err != nil {
		t.Errorf("IsUp of the network that stays = %v, %v", up, err)
	}
	if up, err := IsUp(other); up || err != nil {
		t.Errorf("IsUp of the network that went = %v, %v", up, err)
	}
}

func TestNetworkCheck(t *testing.T) {
	good := Default()
	for _, test := range []struct {
		name   string
		change func(*Network)
		ok     bool
	}{
		{"default", func(*Network) {}, true},
		{"no name", func(n *Network) { n.Name = "" }, false},
		{"16 bytes", func(n *Network) { n.Link = "abcdefghijklmnop" }, false},
		{"15 bytes", func(n *Network) { n.Link = "abcdefghijklmno" }, true},
		{"slash", func(n *Network) { n.Link = "a/b" }, false},
		{"dots", func(n *Network) { n.Link = ".." }, false},
		{"space", func(n *Network) { n.Link = "a b" }, false},
		{"unmasked", func(n *Network) { n.V4.Prefix = netip.MustParsePrefix("10.88.0.1/16") }, false},
		{"IPv6", func(n *Network) { n.V4.Prefix = netip.MustParsePrefix("fd00::/64") }, false},
		{"too small", func(n *Network) { n.V4.Prefix = netip.MustParsePrefix("10.88.0.0/31") }, false},
		{"gateway outside", func(n *Network) { n.V4.Gateway = netip.MustParseAddr("10.89.0.1") }, false},
		{"gateway broadcast", func(n *Network) { n.V4.Gateway = netip.MustParseAddr("10.88.255.255") }, false},
	} {
		n := good
		test.change(&n)
		if err := n.check(); (err == nil) != test.ok {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

// IsUp compares numbers instead of making the rules.
func TestChainSizes(t *testing.T) {
	chains, sizes := newTable().chains(), chainSizes()
	if len(chains) != len(sizes) {
		t.Fatalf("%d chains, %d sizes", len(chains), len(sizes))
	}
	for i, c := range chains {
		if want := (chainSize{c.name, len(c.rules)}); sizes[i] != want {
			t.Errorf("size %v, want %v", sizes[i], want)
		}
	}
}
