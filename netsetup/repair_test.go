package netsetup

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/cocker/cocker/config"
)

// check is what Check finds, as text.
func check(t *testing.T, n Network) string {
	t.Helper()
	findings, err := Check(n)
	if err != nil {
		t.Error(err)
	}
	var text []string
	for _, f := range findings {
		text = append(text, f.Problem+"; "+f.Advice)
	}
	return strings.Join(text, "\n")
}

// Whatever is damaged, IsUp says so, Check says what, and Ensure repairs it.
func TestDamageIsNoticedAndRepaired(t *testing.T) {
	requireTool(t, "nft")
	requireTool(t, "ip")
	requireIPv6(t)
	for _, test := range []struct{ name, damage, finding string }{
		{"ruleset flushed", "nft flush ruleset", "chain publish of the nft table inet cocker"},
		{"table deleted", "nft delete table inet cocker", "chain publish"},
		{"rules flushed", "nft flush table inet cocker", "chain publish"},
		{"chain flushed", "nft flush chain inet cocker guard", "chain guard"},
		{"chain deleted", "nft flush chain inet cocker forward; nft delete chain inet cocker forward", "chain forward"},
		{"set emptied", "nft flush set inet cocker subnets6", "set subnets6"},
		{"inside emptied", "nft flush set inet cocker inside", "set inside"},
		{"isolated emptied", "nft flush set inet cocker isolated", "set isolated"},
		{"bridge deleted", "ip link del dual", "dual is missing"},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := dual("dual")
			n.Isolated = true
			upWith(t, n)
			web := attach(t, n, "web", port("", 8080))
			serve(t, web.netns, config.TCP, ":80")
			if findings := check(t, n); findings != "" {
				t.Errorf("Check of what is whole: %q", findings)
			}
			look := func() string { // a chain that is made again is the last one
				lines := strings.Split(output(t, "nft", "-s", "list", "ruleset"), "\n")
				slices.Sort(lines)
				return strings.Join(lines, "\n")
			}
			want := look()
			output(t, "sh", "-c", test.damage)
			if up, err := IsUp(n); up || err != nil {
				t.Errorf("IsUp = %v, %v", up, err)
			}
			if findings := check(t, n); !strings.Contains(findings, test.finding) {
				t.Errorf("Check: %q, want %q", findings, test.finding)
			}
			if err := Up(n); err != nil {
				t.Fatal(err)
			}
			if _, err := Publish(web.name, web.lease, web.ports); err != nil {
				t.Fatal(err)
			}
			if up, err := IsUp(n); !up || err != nil {
				t.Errorf("after Ensure: IsUp = %v, %v", up, err)
			}
			if got := look(); got != want {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
			for _, address := range []string{"127.0.0.1:8080", "[" + n.V6.Gateway.String() + "]:8080"} {
				if _, err := ask(own(t), config.TCP, address, patience); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestCheckFinds(t *testing.T) {
	requireTool(t, "nft")
	requireTool(t, "ip")
	n := upWith(t, dual("dual"))
	for _, test := range []struct{ name, damage, undo, finding string }{
		{"down", "ip link set dual down", "", "dual is down"},
		{"address", "ip addr del 10.89.1.1/24 dev dual", "", "10.89.1.1/24"},
		{"forwarding", "sysctl -qw net.ipv4.ip_forward=0", "", "net.ipv4.ip_forward=0"},
		{"route", "ip route add 10.89.1.128/25 dev lo", "ip route del 10.89.1.128/25 dev lo", "overlaps a route of the host to 10.89.1.128/25"},
		{"policy", "nft add table ip filter; nft 'add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }'",
			"nft delete table ip filter", "DOCKER-USER"},
		{"firewall", "nft add table inet firewall; nft 'add chain inet firewall outward { type filter hook forward priority 0; policy drop; }'",
			"nft delete table inet firewall", "chain outward of the nft table inet firewall"},
		{"policy with a rule for us", `nft add table ip filter; nft 'add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }';
			nft 'add rule ip filter FORWARD iifname "dual" accept'; nft 'add rule ip filter FORWARD oifname "dual" accept'`, "nft delete table ip filter", ""},
		{"firewalld", firewalld(""), "nft delete table inet firewalld", "firewall-cmd --reload"},
		{"firewalld that trusts us", firewalld(`iifname "dual" goto filter_FWD_trusted`), "nft delete table inet firewalld", ""},
		{"firewalld that trusts another", firewalld(`iifname "dua" goto filter_FWD_trusted`), "nft delete table inet firewalld", "drops what is forwarded"},
		{"firewalld that trusts all of ours", firewalld(`iifname "du*" goto filter_FWD_trusted`), "nft delete table inet firewalld", ""},
		{"names", input(""), "nft delete table inet strict", "chain input of the nft table inet strict, which is not cocker's, drops queries"},
		{"names, a rule for TCP", input("tcp dport 53 accept"), "nft delete table inet strict", "resolve no names"},
		{"names, a rule for others", input(`iifname "eth7" udp dport 53 accept`), "nft delete table inet strict", "resolve no names"},
		{"names, a rule for the port", input("meta l4proto { tcp, udp } th dport 53 accept"), "nft delete table inet strict", ""},
		{"names, a rule for us", input(`fib daddr type local iifname "dual" udp dport { 53, 67 } accept`), "nft delete table inet strict", ""},
		{"names, ufw", ufw, "nft delete table ip filter", "ufw allow in on dual to any port 53"},
		{"names, ufw with a rule for us", ufw + "; iptables-nft -A ufw-user-input -i dual -p udp --dport 53 -j ACCEPT", "nft delete table ip filter", ""},
		{"policy with a rule for the subnet", `nft add table ip filter; nft 'add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }';
			nft 'add rule ip filter FORWARD ip saddr 10.89.0.0/16 ct state { new, established } accept'`, "nft delete table ip filter", ""},
		{"policy with a rule for another subnet", `nft add table ip filter; nft 'add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }';
			nft 'add rule ip filter FORWARD ip saddr 10.90.0.0/16 accept'`, "nft delete table ip filter", "chain FORWARD"},
		{"iptables-nft", `iptables-nft -P FORWARD DROP; iptables-nft -N user; iptables-nft -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT; iptables-nft -A FORWARD -j user; iptables-nft -A user -i docker0 -j ACCEPT`,
			"nft delete table ip filter", "chain FORWARD of the nft table ip filter"},
		{"iptables-nft with a rule for us", `iptables-nft -P FORWARD DROP; iptables-nft -N user; iptables-nft -A FORWARD -j user; iptables-nft -A user -i du+ -m comment --comment x -m conntrack --ctstate NEW -j ACCEPT`,
			"nft delete table ip filter", ""},
		{"iptables-legacy", `iptables-legacy -P FORWARD DROP; iptables-legacy -N user; iptables-legacy -A FORWARD -j user; iptables-legacy -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT;
			iptables-legacy -A user -i eth7 -m comment --comment "this or -j ACCEPT that" -j ACCEPT`, "iptables-legacy -P FORWARD ACCEPT; iptables-legacy -F; iptables-legacy -X user", "iptables-legacy -I FORWARD -i dual -j ACCEPT"},
		{"iptables-legacy, a rule at the end", `iptables-legacy -N end; iptables-legacy -A FORWARD -g end; iptables-legacy -A end -j REJECT`, "iptables-legacy -F; iptables-legacy -X end", "(chain end)"},
		{"iptables-legacy with a rule for us", `iptables-legacy -P FORWARD DROP; iptables-legacy -N user; iptables-legacy -A FORWARD -j user;
			iptables-legacy -A user ! -i eth7 -s 10.89.0.0/16 -m comment --comment "two words" -m conntrack --ctstate NEW -j ACCEPT`, "iptables-legacy -P FORWARD ACCEPT; iptables-legacy -F; iptables-legacy -X user", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			if strings.Contains(test.damage, "iptables-legacy") {
				requireTool(t, "iptables-legacy")
				if out, err := exec.Command("iptables-legacy", "-L").CombinedOutput(); err != nil {
					t.Skipf("%s", out)
				}
			}
			if strings.Contains(test.damage, "iptables-nft") {
				requireTool(t, "iptables-nft")
			}
			output(t, "sh", "-c", test.damage)
			findings := check(t, n)
			if test.finding == "" && findings != "" || !strings.Contains(findings, test.finding) {
				t.Errorf("Check: %q, want %q", findings, test.finding)
			}
			if test.undo != "" {
				output(t, "sh", "-c", test.undo)
			}
			if err := Up(n); err != nil {
				t.Fatal(err)
			}
			if findings := check(t, n); findings != "" {
				t.Errorf("after Ensure: %q", findings)
			}
		})
	}
}

// input is a firewall for the host itself.
func input(rule string) string {
	return "nft -f - <<END\ntable inet strict {\n chain input {\n type filter hook input priority 0; policy drop;\n iifname lo accept\n ct state established,related accept\n" + rule + "\n}\n}\nEND\n"
}

// ufw is what ufw has of the host's own traffic by default.
const ufw = `for c in before not-local user logging-deny; do iptables-nft -N ufw-$c-input; done; iptables-nft -P INPUT DROP
	iptables-nft -A INPUT -j ufw-before-input; iptables-nft -A ufw-before-input -i lo -j ACCEPT
	iptables-nft -A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
	iptables-nft -A ufw-before-input -m conntrack --ctstate INVALID -j DROP
	iptables-nft -A ufw-before-input -p udp --sport 67 --dport 68 -j ACCEPT; iptables-nft -A ufw-before-input -j ufw-not-local-input
	iptables-nft -A ufw-not-local-input -m addrtype --dst-type LOCAL -j RETURN; iptables-nft -A ufw-not-local-input -m addrtype --dst-type MULTICAST -j RETURN
	iptables-nft -A ufw-not-local-input -j DROP
	iptables-nft -A ufw-before-input -j ufw-user-input`

// firewalld is what firewalld has of forwarding, without zones but the default one.
func firewalld(zone string) string {
	return `nft -f - <<END
table inet firewalld {
	chain filter_FWD_public { meta l4proto { icmp, ipv6-icmp } accept; }
	chain filter_FWD_trusted { accept; }
	chain filter_FORWARD_ZONES { ` + zone + `
		goto filter_FWD_public; }
	chain filter_FORWARD {
		type filter hook forward priority 10; policy accept;
		ct state { established, related } accept
		ct status dnat accept
		iifname "lo" accept
		jump filter_FORWARD_ZONES
		ct state { invalid } drop
		reject with icmpx admin-prohibited
	}
}
END
`
}

// Docker starts after cocker, and loads br_netfilter.
func TestBridgeFilterComesLater(t *testing.T) {
	requireIPv6(t)
	requireHost(t)
	const key = "net/bridge/bridge-nf-call-ip6tables"
	if err := setSysctl(key, "0"); err != nil {
		t.Skip(err)
	}
	n := upWith(t, dual("dual"))
	if findings := check(t, n); findings != "" {
		t.Errorf("before: %s", findings)
	}
	if err := setSysctl(key, "1"); err != nil {
		t.Skip(err)
	}
	if findings := check(t, n); !strings.Contains(findings, "::1") {
		t.Errorf("after: %q", findings)
	}
	if err := Up(n); err != nil {
		t.Fatal(err)
	}
	if findings := check(t, n); findings != "" {
		t.Errorf("repaired: %s", findings)
	}
}

// What firewalld, ufw, Docker and libvirt have in the kernel is the same before and after.
func TestForeignTablesStay(t *testing.T) {
	requireTool(t, "nft")
	requireIPv6(t)
	requireHost(t)
	const rules = `
table inet firewalld {
	chain filter_FORWARD {
		type filter hook forward priority filter + 10; policy accept;
		ct state established,related accept
		iifname "lo" accept
		reject with icmpx admin-prohibited
	}
	chain nat_POSTROUTING {
		type nat hook postrouting priority srcnat + 10; policy accept;
		oifname "eth9" masquerade
	}
}
table ip filter {
	chain DOCKER-USER {
		return
	}
	chain FORWARD {
		type filter hook forward priority filter; policy drop;
		jump DOCKER-USER
		iifname "docker0" accept
	}
}
table ip nat {
	chain DOCKER {
		iifname "docker0" return
		tcp dport 8081 dnat to 172.17.0.2:80
	}
	chain PREROUTING {
		type nat hook prerouting priority -100; policy accept;
		fib daddr type local jump DOCKER
	}
}
table ip6 filter {
	chain ufw6-before-forward {
		accept
	}
	chain FORWARD {
		type filter hook forward priority filter; policy drop;
		jump ufw6-before-forward
	}
}
table ip libvirt_network {
	map ports4 {
		type inet_service : ipv4_addr . inet_service
		elements = { 2222 : 192.168.122.2 . 22 }
	}
	chain guest_nat {
		type nat hook postrouting priority srcnat; policy accept;
		ip saddr 192.168.122.0/24 masquerade
	}
}
table bridge cocker {
	chain forward {
		type filter hook forward priority 0; policy accept;
	}
}
table ip cocker {
	set bridges {
		type ifname
		elements = { "their0" }
	}
}
`
	output(t, "sh", "-c", "nft -f - <<'end'\n"+rules+"end")
	t.Cleanup(func() { output(t, "nft", "flush", "ruleset") })
	look := func() string {
		text := output(t, "nft", "-s", "list", "ruleset")
		if i := strings.Index(text, "table inet cocker"); i >= 0 { // ours is the newest, so the last
			text = text[:i]
		}
		return text
	}
	before := look()
	dir := t.TempDir()
	for range 2 {
		n := dual("dual")
		if _, err := Ensure(n); err != nil {
			t.Fatal(err)
		}
		if err := cycle(dir, n, "web", []config.Port{port("", 8080), port("", 0)}, namespace(t)); err != nil {
			t.Error(err)
		}
		check(t, n)
		if after := look(); after != before {
			t.Errorf("while up:\n%s\nbefore:\n%s", after, before)
		}
		if err := Down(n); err != nil {
			t.Error(err)
		}
		if after := output(t, "nft", "-s", "list", "ruleset"); after != before {
			t.Errorf("after Down:\n%s\nbefore:\n%s", after, before)
		}
	}
}

// The number of rules does not depend on how many networks and ports there are.
func TestRulesAreConstant(t *testing.T) {
	requireTool(t, "nft")
	requireHost(t)
	count := func() int {
		return len(strings.Split(output(t, "nft", "-s", "-t", "list", "table", "inet", "cocker"), "\n"))
	}
	n := upWith(t, dual("dual"))
	before := count()
	for i := range 20 {
		other := testNetwork(fmt.Sprint("net", i), fmt.Sprintf("10.90.%d.0/24", i), fmt.Sprintf("fd00:90:%x::/64", i))
		other.Isolated, other.Internal = i%2 == 0, i%3 == 0
		upWith(t, other)
		attach(t, other, fmt.Sprint("c", i), port("", uint16(9000+i)))
	}
	if after := count(); after != before {
		t.Errorf("%d lines of rules, were %d", after, before)
	}
	overlapping := testNetwork("again", n.V4.Prefix.String())
	if _, err := Ensure(overlapping); err == nil || !strings.Contains(err.Error(), "overlap 10.89.1.0/24 of network dual") {
		t.Errorf("two networks with one subnet: %v", err)
	}
	if up, err := IsUp(n); !up || err != nil {
		t.Errorf("the first one is %v, %v", up, err)
	}
	if link, err := netlink.LinkByName("again"); err == nil {
		t.Errorf("%s is left", link.Attrs().Name)
	}
}
