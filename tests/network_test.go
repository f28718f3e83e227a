package tests

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cocker/cocker/tests/host"
)

// hostAddress is the host's own address in the network of the outside world.
const hostAddress = "192.0.2.1"

// web is a container that serves one line at port 80.
func web(line, network string) string {
	return "image = 'demo'\n" + sh("mkdir -p /www && echo "+line+" >/www/index.html && exec httpd -f -h /www") + "[network]\n" + network + "\n"
}

// get is a script that prints what the web server at $1 says, or "nothing". It waits
// for the server to come up: a container has started when its command has. It
// gives up after two minutes, also where packets are dropped and each try takes one.
const get = `end=$(($(date +%s) + 120)); while :; do curl -s --max-time 60 "http://$1/" && exit; [ "$(date +%s)" -lt $end ] || break; sleep 0.1; done; echo nothing`

// getOnce does not wait for that, but for an answer: $2 seconds, or half a minute.
const getOnce = `curl -s --max-time "${2:-30}" "http://$1/" || echo nothing`

// netcat is getOnce without curl. Debian 12's busybox crashes in wget: it is static,
// and looks for libraries that the image does not have.
func netcat(address, seconds string) string {
	return `got=$(printf 'GET / HTTP/1.0\r\n\r\n' | nc -w ` + seconds + ` ` + strings.ReplaceAll(address, ":", " ") + ` 2>/dev/null | tail -n 1); echo "${got:-nothing}"`
}

func TestPublishedPort(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		start(t, h, "server", web("hello", "ports = ['8080:80', '127.0.0.1:8081:80', '"+hostAddress+":8082:80']\naddress = '10.88.9.9'"))
		start(t, h, "sibling", "image = 'demo'\n")
		from := map[string]func(address, seconds string) string{
			"the host": func(a, s string) string { return h.MustRun(t, getOnce, a, s) },
			"outside":  func(a, s string) string { return strings.TrimSpace(h.Outside(t, getOnce, a, s).Stdout) },
			"a sibling": func(a, s string) string {
				return inside(t, h, "sibling", netcat(a, s))
			},
			"the server": func(a, s string) string {
				return inside(t, h, "server", netcat(a, s))
			},
			"an attacker": func(a, s string) string { return routedFromOutside(t, h, a, s) },
		}
		tests := []struct {
			from, address, want string
		}{
			{"the host", "127.0.0.1:8080", "hello"},
			{"the host", hostAddress + ":8080", "hello"},
			{"the host", "10.88.0.1:8080", "hello"},
			{"the host", "10.88.9.9:80", "hello"},
			{"outside", hostAddress + ":8080", "hello"},
			{"a sibling", hostAddress + ":8080", "hello"},
			{"a sibling", "10.88.0.1:8080", "hello"},
			{"a sibling", "10.88.9.9:80", "hello"},
			{"the server", hostAddress + ":8080", "hello"},
			{"the server", "127.0.0.1:80", "hello"},
			{"the host", "127.0.0.1:8081", "hello"},
			{"the host", hostAddress + ":8081", "nothing"},
			{"outside", hostAddress + ":8081", "nothing"},
			{"a sibling", hostAddress + ":8081", "nothing"},
			{"the host", hostAddress + ":8082", "hello"},
			{"outside", hostAddress + ":8082", "hello"},
			{"the host", "127.0.0.1:8082", "nothing"},
			{"an attacker", "10.88.9.9:80", "nothing"},
		}
		h.MustRun(t, get, "127.0.0.1:8080")
		for _, tt := range tests {
			seconds := "30"
			if tt.want == "nothing" { // nothing but waiting tells that a packet is dropped
				seconds = "2"
			}
			if got := from[tt.from](tt.address, seconds); got != tt.want {
				t.Errorf("%s gets %q from %s, want %q", tt.from, got, tt.address, tt.want)
			}
		}
	})
}

// routedFromOutside is what a neighbour gets who routes the containers' subnet to the host.
func routedFromOutside(t *testing.T, h *host.Host, address, seconds string) string {
	t.Helper()
	h.Outside(t, "ip route add 10.88.0.0/16 via "+hostAddress)
	defer h.Outside(t, "ip route del 10.88.0.0/16")
	return strings.TrimSpace(h.Outside(t, getOnce, address, seconds).Stdout)
}

func TestPublishedUDP(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		importTools(t, h)
		start(t, h, "echo", "images = ['demo', 'tools:1']\ncommand = ['socat', 'UDP4-RECVFROM:53,fork', 'EXEC:cat']\n[network]\nports = ['5353:53/udp', '5353:80']\n")
		const ask = `for i in $(seq 100); do got=$(echo ping | socat -t 0.5 - "UDP4:$1:5353" 2>/dev/null); [ -z "$got" ] || break; sleep 0.1; done; echo "$got"`
		for _, address := range []string{"127.0.0.1", hostAddress} {
			if got := h.MustRun(t, ask, address); got != "ping" {
				t.Errorf("the host gets %q from %s", got, address)
			}
		}
		if got := h.Outside(t, ask, hostAddress).Stdout; got != "ping\n" {
			t.Errorf("outside gets %q", got)
		}
	})
}

// A container reaches the outside world behind the host's address.
func TestReachesOutside(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		server := h.OutsideCommand(ctx, "socat", "-t", "60", "TCP-LISTEN:7000,fork,reuseaddr", "SYSTEM:echo $SOCAT_PEERADDR")
		if err := server.Start(); err != nil {
			t.Fatal(err)
		}
		defer server.Wait()
		defer cancel()
		const ask = "for i in $(seq 1000); do nc 192.0.2.2 7000 && exit 0; sleep 0.05; done; echo unreachable"
		if got := output(t, h, "client", "image = 'demo'\n"+sh(ask)); got != hostAddress {
			t.Errorf("the server sees %q", got)
		}
		if got := output(t, h, "no-client", "image = 'demo'\n"+sh("nc -w 1 192.0.2.2 7000 || echo unreachable")+"[network]\nmode = 'none'\n"); !strings.HasSuffix(got, "unreachable") {
			t.Errorf("without a network: %q", got)
		}
	})
}

func TestNetworkModes(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		const show = "ls /sys/class/net | xargs; ip -4 -o addr | awk '{print $2, $4}'; ip route | awk '/default/ {print $3, $5}'; cat /sys/class/net/lo/operstate; ping -c1 -W30 127.0.0.1 >/dev/null && echo pings"
		tests := []struct{ network, want string }{
			{"address = '10.88.3.4'", "eth0 lo\nlo 127.0.0.1/8\neth0 10.88.3.4/16\n10.88.0.1 eth0\nunknown\npings"},
			{"mode = 'none'", "lo\nlo 127.0.0.1/8\nunknown\npings"},
		}
		for i, tt := range tests {
			if got := output(t, h, "mode-"+string(rune('a'+i)), "image = 'demo'\n"+sh(show)+"[network]\n"+tt.network+"\n"); got != tt.want {
				t.Errorf("%s: got\n%s\nwant\n%s", tt.network, got, tt.want)
			}
		}
		start(t, h, "shares", "image = 'demo'\ncommand = ['httpd', '-f', '-p', '127.0.0.1:8093', '-h', '/srv/www']\n[network]\nmode = 'host'\n")
		h.MustRun(t, "{ "+get+"; } | grep -q Hello", "127.0.0.1:8093")
		if got := inside(t, h, "shares", "ip -4 -o addr show eth0 | awk '{print $4}'"); got != hostAddress+"/24" {
			t.Errorf("mode host: eth0 has %q", got)
		}
		refused(t, h, "ports", "image = 'demo'\n[network]\nmode = 'none'\nports = ['8080:80']\n", "ports.toml:", "ports")
	})
}

// The host finds containers by name: nss-mymachines(8).
func TestNamesResolve(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		start(t, h, "named", web("me", "address = '10.88.5.6'"))
		if got := h.MustRun(t, "getent ahostsv4 named | awk '{print $1; exit}'"); got != "10.88.5.6" {
			t.Errorf("named is %q", got)
		}
		if got := h.MustRun(t, get, "named"); got != "me" {
			t.Errorf("by name: %q", got)
		}
		h.MustRun(t, "systemctl stop cocker@named")
		h.WaitFor(t, eventually, "the name to go", "! getent ahostsv4 named")
	})
}

// Who flushes the ruleset, as nftables.service does at its start, cuts containers
// off; the next start, or a restart of the network's unit, repairs it all.
func TestFlushedRuleset(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		start(t, h, "first", web("first", "ports = ['8080:80']"))
		h.MustRun(t, get, "127.0.0.1:8080")
		repairs := []string{"systemctl restart cocker-network@cocker0", "systemctl start cocker@second"}
		declare(t, h, map[string]string{"second": web("second", "ports = ['8081:80']")})
		for _, repair := range repairs {
			h.MustRun(t, "nft flush ruleset && timeout 60 "+repair)
			h.MustRun(t, "timeout 60 systemctl start cocker@first cocker@second")
			for port, want := range map[string]string{"8080": "first", "8081": "second"} {
				if got := h.MustRun(t, get, "127.0.0.1:"+port); got != want {
					t.Errorf("after %s: port %s says %q to the host", repair, port, got)
				}
				if got := strings.TrimSpace(h.Outside(t, get, hostAddress+":"+port).Stdout); got != want {
					t.Errorf("after %s: port %s says %q outside", repair, port, got)
				}
			}
			h.MustRun(t, "systemctl stop cocker@second")
		}
		h.MustRun(t, "nft flush ruleset && timeout 60 systemctl stop cocker@first")
		assertProperties(t, h, "first", map[string]string{"ActiveState": "inactive", "Result": "success"})
		h.MustRun(t, "systemctl restart cocker-network@cocker0")
	})
}

// A port is free again whatever the end of its container was.
func TestPortsAreFreed(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		ends := []struct{ name, script string }{
			{"stop", "systemctl stop cocker@holder"},
			{"kill", `kill -9 "$1"`},
			{"all", "systemctl kill --signal=KILL cocker@holder"},
			// From outside: a client inside would be killed together with the container, sometimes before it is done.
			{"crash", `kill -s SEGV $(pgrep --parent "$1" httpd)`},
			{"terminate", "machinectl terminate holder"},
		}
		for i, end := range ends {
			port := "8" + strings.Repeat(string(rune('1'+i)), 3)
			network := "ports = ['" + port + ":80', '127.0.0.1:" + port + ":80/udp']\naddress = '10.88.8.8'"
			start(t, h, "holder", web("holder", network))
			if got := h.MustRun(t, get, "127.0.0.1:"+port); got != "holder" {
				t.Errorf("%s: %q", end.name, got)
			}
			h.MustRun(t, end.script, mainPID(t, h, "holder"))
			h.WaitFor(t, eventually, "the end of holder by "+end.name, `case $(systemctl show -P ActiveState cocker@holder) in inactive|failed) ;; *) exit 1;; esac`)
			if got := h.MustRun(t, getOnce, "127.0.0.1:"+port); got != "nothing" {
				t.Errorf("after %s the port says %q", end.name, got)
			}
			start(t, h, "next", web("next", network))
			if got := h.MustRun(t, get, "127.0.0.1:"+port); got != "next" {
				t.Errorf("after %s the next holder says %q", end.name, got)
			}
			h.MustRun(t, "systemctl stop cocker@next; systemctl reset-failed cocker@holder 2>/dev/null || :")
		}
	})
}

// hostAddress6 is the host's own address of IPv6 in the network of the outside world.
const hostAddress6 = "2001:db8:2::1"

// reachLoopback6 keeps br_netfilter, where the kernel has it, from what the host sends
// to ::1: published ports are reached there only then.
func reachLoopback6(t *testing.T, h *host.Host) (undo func()) {
	t.Helper()
	const file = "/proc/sys/net/bridge/bridge-nf-call-ip6tables"
	before := h.Run(t, "cat "+file).Stdout
	if before == "" {
		return func() {}
	}
	h.MustRun(t, "echo 0 >"+file)
	return func() {
		h.MustRun(t, "echo "+strings.TrimSpace(before)+" >"+file+"; systemctl reload cocker-network@cocker0")
	}
}

// A container of a network with both families is reached at its ports in both, from
// everywhere, by who may; isolated and internal networks keep to themselves.
func TestBothFamilies(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		defer reachLoopback6(t, h)()
		defer withNetworks(t, h, map[string]string{
			"dual":  "subnets = ['10.1.0.0/24', 'fd00:1::/64']\n",
			"alone": "subnets = ['10.2.0.0/24', 'fd00:2::/64']\nisolated = true\n",
			"inner": "subnets = ['10.3.0.0/24', 'fd00:3::/64']\ninternal = true\n",
		})()
		start(t, h, "server", web("hello", "name = 'dual'\naddress = '10.1.0.9'\nports = ['8080:80', ':80', '["+hostAddress6+"]:8081:80']"))
		start(t, h, "hermit", web("hermit", "name = 'alone'\naddress = '10.2.0.9'\nports = ['8082:80']"))
		start(t, h, "sibling", "image = 'demo'\n[network]\nname = 'dual'\n")
		start(t, h, "prisoner", "image = 'demo'\n[network]\nname = 'inner'\n")
		random := h.MustRun(t, `jq -r '.ports[] | select(.HostPort > 30000) | .HostPort' /run/cocker/state/server.json`)
		if got := inside(t, h, "server", "ip -6 -o addr show dev eth0 | awk '{print $4}'; ip -6 route | awk '/default/ {print $3}'"); got != "fd00:1::9/64\nfd00:1::1" {
			t.Errorf("the server has %q", got)
		}
		from := map[string]func(address string, seconds string) string{
			"the host": func(a, s string) string { return h.MustRun(t, getOnce, a, s) },
			"outside":  func(a, s string) string { return strings.TrimSpace(h.Outside(t, getOnce, a, s).Stdout) },
		}
		h.MustRun(t, get, "127.0.0.1:8080")
		h.MustRun(t, get, "127.0.0.1:8082")
		for _, tt := range []struct{ from, address, want string }{
			{"the host", "127.0.0.1:8080", "hello"},
			{"the host", "[::1]:8080", "hello"},
			{"the host", "[" + hostAddress6 + "]:8080", "hello"},
			{"the host", "[" + hostAddress6 + "]:8081", "hello"},
			{"the host", "127.0.0.1:8081", "nothing"},
			{"the host", "127.0.0.1:" + random, "hello"},
			{"the host", "[fd00:1::9]:80", "hello"},
			{"outside", "[" + hostAddress6 + "]:8080", "hello"},
			{"outside", "[" + hostAddress6 + "]:" + random, "hello"},
			{"outside", hostAddress + ":8080", "hello"},
			{"outside", "[" + hostAddress6 + "]:8082", "hermit"},
			{"the host", "[fd00:2::9]:80", "hermit"},
		} {
			seconds := "30"
			if tt.want == "nothing" {
				seconds = "2"
			}
			if got := from[tt.from](tt.address, seconds); got != tt.want {
				t.Errorf("%s gets %q from %s, want %q", tt.from, got, tt.address, tt.want)
			}
		}
		for _, tt := range []struct{ container, address, want string }{
			{"sibling", "fd00:1::9 80", "hello"},
			{"sibling", hostAddress6 + " 8080", "hello"},
			{"sibling", "fd00:2::9 80", "nothing"},
			{"sibling", "10.2.0.9 80", "nothing"},
			{"hermit", "fd00:1::9 80", "nothing"},
			{"hermit", "10.1.0.9 80", "nothing"},
			{"prisoner", "fd00:1::9 80", "nothing"},
			{"prisoner", hostAddress + " 8080", "nothing"},
		} {
			seconds := "30"
			if tt.want == "nothing" {
				seconds = "2"
			}
			script := `got=$(printf 'GET / HTTP/1.0\r\n\r\n' | nc -w ` + seconds + " " + tt.address + ` 2>/dev/null | tail -n 1); echo "${got:-nothing}"`
			if got := inside(t, h, tt.container, script); got != tt.want {
				t.Errorf("%s gets %q from %s, want %q", tt.container, got, tt.address, tt.want)
			}
		}
	})
}

// The kinds of links that kernels made for one machine, as those of test hosts are, may lack.
func TestVMNetworkKinds(t *testing.T) {
	onVirtualHost(t, func(t *testing.T, h *host.Host) {
		program := filepath.Join(t.TempDir(), "netsetup.test")
		build := exec.Command("go", "test", "-c", "-o", program, module+"/netsetup")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("build the tests of netsetup: %v\n%s", err, out)
		}
		content, err := os.ReadFile(program)
		if err != nil {
			t.Fatal(err)
		}
		const inside = "/root/netsetup.test"
		h.WriteFile(t, inside, string(content), 0o755)
		defer h.MustRun(t, "rm "+inside)
		kinds := []string{"TestMacvlan", "TestIPvlan", "TestVLAN", "TestForeignBridge"}
		got := h.MustRun(t, "timeout 120 "+inside+" -test.v -test.run '^("+strings.Join(kinds, "|")+")$' 2>&1")
		for _, kind := range kinds {
			if !strings.Contains(got, "--- PASS: "+kind+" ") {
				t.Errorf("%s has not passed", kind)
			}
		}
		if strings.Contains(got, "SKIP") || t.Failed() {
			t.Errorf("not all of it was possible:\n%s", got)
		}
	})
}
