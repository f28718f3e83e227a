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

// dnstool is where asks finds the program that asks.
const dnstool = "/usr/local/bin/dnstool"

// nameServer is that of cocker0.
const nameServer = "10.88.0.1:53"

// installTool builds dnstool and puts it into the host.
func installTool(t *testing.T, h *host.Host) (remove func()) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "dnstool")
	build := exec.Command("go", "build", "-o", program, module+"/tests/dnstool")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build dnstool: %v\n%s", err, out)
	}
	content, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	h.WriteFile(t, dnstool, string(content), 0o755)
	return func() { h.MustRun(t, "rm -f "+dnstool) }
}

// asks is the answer that a container gets to "NETWORK SERVER NAME TYPE", where NETWORK
// is udp or tcp.
func asks(t *testing.T, h *host.Host, container, question string) string {
	t.Helper()
	return h.MustRun(t, `exec nsenter --net --target "$(systemctl show -P MainPID cocker@"$1")" `+dnstool+" ask "+question, container)
}

// idleAfter makes name servers end when nobody has asked for a while.
func idleAfter(t *testing.T, h *host.Host, seconds string) (undo func()) {
	t.Helper()
	const file = "/run/systemd/system/cocker-dns@.service.d/idle.conf"
	h.WriteFile(t, file, "[Service]\nEnvironment=COCKER_DNS_IDLE="+seconds+"s\n", 0o644)
	h.MustRun(t, "systemctl daemon-reload && systemctl stop cocker-dns@cocker0.service")
	return func() {
		h.MustRun(t, "rm -r $(dirname "+file+"); systemctl daemon-reload; systemctl stop cocker-dns@cocker0.service")
	}
}

const dnsActive = "systemctl is-active -q cocker-dns@cocker0.service"

// Containers find each other by name, as long as they run.
func TestContainersFindEachOther(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		defer installTool(t, h)()
		start(t, h, "asker", "image = 'demo'\n")
		start(t, h, "front-end", web("hello", "address = '10.88.7.7'"))
		const own = "nameserver 10.88.0.1\nsearch cocker0"
		if got := inside(t, h, "asker", "cat /etc/resolv.conf"); got != own {
			t.Errorf("resolv.conf:\n%s", got)
		}
		for question, want := range map[string]string{
			"udp " + nameServer + " front-end A":                "NOERROR A 10.88.7.7",
			"tcp " + nameServer + " front-end A":                "NOERROR A 10.88.7.7",
			"udp " + nameServer + " Front-End.Cocker0 A":        "NOERROR A 10.88.7.7",
			"udp " + nameServer + " front-end AAAA":             "NOERROR",
			"udp " + nameServer + " back-end.cocker0 A":         "NXDOMAIN",
			"udp " + nameServer + " 7.7.88.10.in-addr.arpa PTR": "NOERROR PTR front-end.cocker0.",
			"udp " + nameServer + " 8.7.88.10.in-addr.arpa PTR": "NXDOMAIN",
			"tcp " + nameServer + " cocker0 AXFR":               "REFUSED",
		} {
			if got := asks(t, h, "asker", question); got != want {
				t.Errorf("%s: %q, want %q", question, got, want)
			}
		}
		if got := inside(t, h, "asker", "for i in $(seq 300); do "+netcat("front-end:80", "30")+" | grep -v nothing && break; sleep 0.1; done"); got != "hello" {
			t.Errorf("the asker gets %q by name", got)
		}
		if got := inside(t, h, "front-end", "ping -c 1 -W 30 asker >/dev/null && echo reached"); got != "reached" {
			t.Errorf("ping: %q", got)
		}
		const ask = "udp " + nameServer + " front-end.cocker0 A"
		h.MustRun(t, "systemctl stop cocker@front-end")
		if got := asks(t, h, "asker", ask); got != "NXDOMAIN" {
			t.Errorf("after the stop: %q", got)
		}
		for _, address := range []string{"10.88.7.8", "10.88.7.9"} {
			start(t, h, "front-end", web("hello", "address = '"+address+"'"))
			if got := asks(t, h, "asker", ask); got != "NOERROR A "+address {
				t.Errorf("after a start as %s: %q", address, got)
			}
			h.MustRun(t, `kill -9 "$1"`, mainPID(t, h, "front-end"))
			h.WaitFor(t, eventually, "the name to go", `[ "$(nsenter --net --target "$(systemctl show -P MainPID cocker@asker)" `+dnstool+" ask "+ask+`)" = NXDOMAIN ]`)
			h.MustRun(t, "systemctl stop cocker@front-end; systemctl reset-failed cocker@front-end || :")
		}
		// Nobody else is answered: not the host, whose resolver may be made to ask this one.
		for who, got := range map[string]string{
			"the host": h.MustRun(t, dnstool+" ask "+ask),
			"outside":  strings.TrimSpace(h.Outside(t, "ip route add 10.88.0.0/16 via "+hostAddress+"; "+dnstool+" ask "+ask+"; ip route del 10.88.0.0/16").Stdout),
		} {
			if got != "nothing" {
				t.Errorf("%s gets %q", who, got)
			}
		}
	})
}

// What containers are not called is asked of the host's resolvers.
func TestNamesOutside(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		defer installTool(t, h)()
		start(t, h, "asker", "image = 'demo'\n")
		ctx, cancel := context.WithCancel(t.Context())
		server := h.OutsideCommand(ctx, dnstool, "serve", "192.0.2.2:53")
		if err := server.Start(); err != nil {
			t.Fatal(err)
		}
		h.WaitFor(t, eventually, "the server outside", "["+` "$(`+dnstool+` ask udp 192.0.2.2:53 outside.example A)" != nothing ]`)
		for question, want := range map[string]string{
			"udp " + nameServer + " outside.example A": "NOERROR CNAME real.example. A 198.51.100.7",
			"tcp " + nameServer + " Outside.Example A": "NOERROR CNAME real.example. A 198.51.100.7",
			"udp " + nameServer + " nowhere.example A": "NXDOMAIN",
			"tcp " + nameServer + " many.example A":    "NOERROR 200 records",
		} {
			if got := asks(t, h, "asker", question); got != want {
				t.Errorf("%s: %q, want %q", question, got, want)
			}
		}
		if got := asks(t, h, "asker", "udp "+nameServer+" many.example A"); !strings.HasPrefix(got, "NOERROR cut ") {
			t.Errorf("by UDP: %q", got)
		}
		// The host's own is this one: nobody is asked, and nothing goes round.
		h.MustRun(t, "mv /etc/resolv.conf /etc/resolv.conf.kept; echo nameserver 10.88.0.1 >/etc/resolv.conf")
		defer h.MustRun(t, "mv /etc/resolv.conf.kept /etc/resolv.conf")
		if got := asks(t, h, "asker", "udp "+nameServer+" outside.example A"); got != "SERVFAIL" {
			t.Errorf("with itself as resolver: %q", got)
		}
		h.MustRun(t, "mkdir -p /run/systemd/resolve; echo nameserver 192.0.2.2 >/run/systemd/resolve/resolv.conf")
		defer h.MustRun(t, "rm /run/systemd/resolve/resolv.conf")
		if got := asks(t, h, "asker", "udp "+nameServer+" outside.example A"); got != "NOERROR CNAME real.example. A 198.51.100.7" {
			t.Errorf("with the resolvers of systemd-resolved: %q", got)
		}
		cancel()
		_ = server.Wait() // killed
		if got := asks(t, h, "asker", "udp "+nameServer+" asker A"); !strings.HasPrefix(got, "NOERROR A 10.88.") {
			t.Errorf("without a server outside: %q", got)
		}
	})
}

// There is no process while nobody asks, and no question is lost when one begins or ends.
func TestNameServerComesAndGoes(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		defer installTool(t, h)()
		defer idleAfter(t, h, "0.3")()
		start(t, h, "asker", "image = 'demo'\n")
		const question = "udp " + nameServer + " asker.cocker0 A"
		for range 3 {
			h.WaitFor(t, eventually, "the name server's end", "! "+dnsActive+" && systemctl is-active -q cocker-dns@cocker0.socket")
			if got := h.MustRun(t, "systemctl show -P Result cocker-dns@cocker0.service; pgrep -x cocker-dns || echo none"); got != "success\nnone" {
				t.Errorf("idle: %q", got)
			}
			if got := asks(t, h, "asker", question); !strings.HasPrefix(got, "NOERROR A 10.88.") {
				t.Errorf("it comes to no answer: %q", got)
			}
		}
		// A question each third of a second, some while it ends.
		for range 20 {
			if got := asks(t, h, "asker", question); !strings.HasPrefix(got, "NOERROR A 10.88.") {
				t.Errorf("at the end: %q", got)
			}
			time.Sleep(290 * time.Millisecond)
		}
	})
}

// A resolver asks again when the server is killed with its question, and is answered.
func TestNameServerKilled(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		defer installTool(t, h)()
		start(t, h, "asker", "image = 'demo'\n")
		load := make(chan string, 2)
		for _, network := range []string{"udp", "tcp"} {
			go func() { load <- asks(t, h, "asker", network+" "+nameServer+" asker.cocker0 A 10000") }()
		}
		killed := 0
		for len(load) < cap(load) {
			h.Run(t, dnsActive+" && systemctl kill --signal=KILL cocker-dns@cocker0.service")
			killed++
			h.WaitFor(t, eventually, "another name server", dnsActive+" || ! pgrep -x dnstool")
		}
		for range cap(load) {
			if got := <-load; !strings.HasPrefix(got, "NOERROR A 10.88.") || !strings.HasSuffix(got, "; 0 others") {
				t.Errorf("%q", got)
			}
		}
		t.Logf("killed %d times", killed)
		if got := asks(t, h, "asker", "udp "+nameServer+" asker.cocker0 A"); !strings.HasPrefix(got, "NOERROR A ") {
			t.Errorf("afterwards: %q", got)
		}
		h.MustRun(t, "systemctl stop cocker-dns@cocker0.service; systemctl reset-failed 'cocker-dns@*' 2>/dev/null || :")
	})
}

// The sockets are there with the network, go with it, and are made again when they hear
// nothing any more.
func TestNamesFollowTheNetwork(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		defer installTool(t, h)()
		start(t, h, "asker", "image = 'demo'\n")
		served := func(after string) {
			t.Helper()
			h.MustRun(t, "timeout 60 systemctl start cocker@asker")
			if got := asks(t, h, "asker", "udp "+nameServer+" asker.cocker0 A"); !strings.HasPrefix(got, "NOERROR A 10.88.") {
				t.Errorf("after %s: %q", after, got)
			}
		}
		for _, event := range []string{
			"systemctl daemon-reload",
			"systemctl daemon-reexec",
			"systemctl reload cocker-network@cocker0",
			"systemctl restart cocker-network@cocker0",
			"systemctl stop cocker-network@cocker0",
			"ip link delete cocker0 && systemctl reload cocker-network@cocker0",
			"rm -r /run/cocker/dns && systemctl reload cocker-network@cocker0",
			"systemctl stop cocker-dns@cocker0.socket && systemctl reload cocker-network@cocker0",
			"systemctl isolate multi-user.target",
		} {
			served("what came before " + event)
			h.MustRun(t, "timeout 60 sh -c '"+event+"'")
			served(event)
		}
		h.MustRun(t, "systemctl stop cocker@asker cocker-network@cocker0")
		const left = `systemctl list-units --all --plain --no-legend 'cocker-dns@*'; ls /run/cocker/dns; find /run/systemd/transient -name 'cocker-dns*'; ss -Hlntu 'sport = 53'; pgrep -x cocker-dns`
		if got := h.Run(t, left).Stdout; got != "" {
			t.Errorf("after the stop of the network there is\n%s", got)
		}
		h.MustRun(t, "systemctl start cocker-network@cocker0")
	})
}

// Another server has the port: the network is there nevertheless, and its containers
// have the host's resolvers.
func TestNamesWhosePortIsTaken(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		defer installTool(t, h)()
		// Those on the host's loopback addresses, such as systemd-resolved's, are in nobody's way.
		h.MustRun(t, "systemctl stop cocker-network@cocker0; systemd-run --quiet --unit=test-stub -p SuccessExitStatus=143 socat TCP4-LISTEN:53,bind=127.0.0.53,fork,reuseaddr /dev/null")
		h.WaitFor(t, eventually, "the stub", "ss -Hlnt 'sport = 53' | grep -q 127.0.0.53")
		start(t, h, "asker", "image = 'demo'\n")
		if got := asks(t, h, "asker", "udp "+nameServer+" asker A"); !strings.HasPrefix(got, "NOERROR A ") {
			t.Errorf("beside a stub: %q", got)
		}
		h.MustRun(t, "systemctl stop cocker@asker cocker-network@cocker0 test-stub; systemd-run --quiet --unit=test-taker -p SuccessExitStatus=143 socat TCP4-LISTEN:53,fork,reuseaddr /dev/null")
		h.WaitFor(t, eventually, "the taker", "ss -Hlnt 'sport = 53' | grep -q 0.0.0.0")
		since := now(t, h)
		start(t, h, "asker", "image = 'demo'\n")
		if got := inside(t, h, "asker", "cat /etc/resolv.conf"); got != "nameserver 192.0.2.2" {
			t.Errorf("resolv.conf: %s", got)
		}
		log := h.MustRun(t, `journalctl --sync; journalctl -q -o cat --since="$1" -u cocker-network@cocker0`, since)
		for _, want := range []string{"port 53 of 10.88.0.1 is taken", "they get the host's resolvers", "systemctl reload cocker-network@cocker0"} {
			if !strings.Contains(log, want) {
				t.Errorf("%q is not in the log:\n%s", want, log)
			}
		}
		if got := h.Run(t, "systemctl --failed --plain --no-legend; ls /run/systemd/transient | grep cocker-dns").Stdout; got != "" {
			t.Errorf("there is\n%s", got)
		}
		h.MustRun(t, "systemctl stop test-taker && systemctl reload cocker-network@cocker0 && systemctl restart cocker@asker")
		if got := asks(t, h, "asker", "udp "+nameServer+" asker A"); !strings.HasPrefix(got, "NOERROR A ") {
			t.Errorf("after the repair: %q", got)
		}
	})
}

// Who is in a network, and only who is, finds those in it, by IPv4 and IPv6, by name and
// alias.
func TestNamesStayInTheirNetwork(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		defer installTool(t, h)()
		for name, toml := range map[string]string{
			"front": "subnets = ['10.98.1.0/24', 'fd00:98:1::/64']\n",
			"back":  "subnets = ['10.98.2.0/24']\ninternal = true\n",
			"plain": "subnets = ['10.98.3.0/24']\ndns = false\n",
		} {
			h.WriteFile(t, "/etc/cocker/networks/"+name+".toml", toml, 0o644)
		}
		defer func() {
			for _, name := range []string{"front", "back", "plain"} {
				removeNetwork(t, h, name)
			}
			if got := h.Run(t, "ls /run/cocker/dns; ss -Hlntu 'sport = 53' | grep 10.98").Stdout; got != "cocker0.json\n" {
				t.Errorf("after the end of the networks there is\n%s", got)
			}
		}()
		const image = "image = 'demo'\n[network]\n"
		start(t, h, "web", image+"name = 'front'\naddress = '10.98.1.5'\naddress6 = 'fd00:98:1::5'\naliases = ['www', 'shared']\n[[network.join]]\nname = 'back'\naddress = '10.98.2.5'\naliases = ['inner']\n")
		start(t, h, "api", image+"name = 'front'\naddress = '10.98.1.6'\naddress6 = 'fd00:98:1::6'\naliases = ['shared']\n")
		start(t, h, "db", image+"name = 'back'\naddress = '10.98.2.7'\naliases = ['shared']\n")
		start(t, h, "loner", image+"name = 'plain'\n")
		for container, want := range map[string]string{
			"web":   "nameserver 10.98.1.1\nnameserver fd00:98:1::1\nnameserver 10.98.2.1\nsearch front back",
			"db":    "nameserver 10.98.2.1\nsearch back",
			"loner": "nameserver 192.0.2.2",
		} {
			if got := inside(t, h, container, "cat /etc/resolv.conf"); got != want {
				t.Errorf("resolv.conf of %s:\n%s", container, got)
			}
		}
		const front, front6, back = "10.98.1.1:53 ", "[fd00:98:1::1]:53 ", "10.98.2.1:53 "
		for _, test := range []struct{ who, question, want string }{
			{"api", "udp " + front + "web A", "NOERROR A 10.98.1.5"},
			{"api", "tcp " + front + "web AAAA", "NOERROR AAAA fd00:98:1::5"},
			{"api", "udp " + front6 + "web.front AAAA", "NOERROR AAAA fd00:98:1::5"},
			{"api", "tcp " + front6 + "www A", "NOERROR A 10.98.1.5"},
			{"api", "udp " + front6 + "5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.0.0.8.9.0.0.0.0.d.f.ip6.arpa PTR", "NOERROR PTR web.front."},
			{"api", "udp " + front + "inner.front A", "NXDOMAIN"},
			{"api", "udp " + front + "db.front A", "NXDOMAIN"},
			{"api", "udp " + front + "db A", "SERVFAIL"}, // nobody outside answers
			{"api", "udp " + back + "db A", "nothing"},
			{"api", "tcp " + back + "db A", "nothing"},
			{"api", "udp " + nameServer + " web A", "nothing"},
			{"db", "udp " + back + "web A", "NOERROR A 10.98.2.5"},
			{"db", "udp " + back + "inner A", "NOERROR A 10.98.2.5"},
			{"db", "udp " + back + "shared A", "NOERROR A 10.98.2.7"},
			{"db", "udp " + back + "web AAAA", "NOERROR"},
			{"db", "udp " + back + "api A", "NXDOMAIN"},
			{"db", "udp " + back + "outside.example A", "NXDOMAIN"},
			{"web", "udp " + back + "db A", "NOERROR A 10.98.2.7"},
			{"web", "udp " + front + "db A", "NOERROR A 10.98.2.7"},
			{"web", "tcp " + front6 + "db.back A", "NOERROR A 10.98.2.7"},
			{"web", "udp " + back + "api AAAA", "NOERROR AAAA fd00:98:1::6"},
		} {
			if got := asks(t, h, test.who, test.question); got != test.want {
				t.Errorf("%s asks %s: %q, want %q", test.who, test.question, got, test.want)
			}
		}
		first := map[string]bool{}
		for range 4 {
			got := asks(t, h, "api", "udp "+front+"shared A")
			first[got] = true
		}
		if !first["NOERROR A 10.98.1.5 A 10.98.1.6"] || !first["NOERROR A 10.98.1.6 A 10.98.1.5"] || len(first) != 2 {
			t.Errorf("a shared alias: %v", first)
		}
	})
}
