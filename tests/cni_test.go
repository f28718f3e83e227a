package tests

import (
	"strings"
	"testing"

	"github.com/cocker/cocker/tests/host"
)

// cniList is a configuration of Debian's plugins. The last plugin is the test's own.
const cniList = `{"cniVersion": "1.0.0", "name": "dbnet", "plugins": [
	{"type": "bridge", "bridge": "cni-db", "isGateway": true, "ipMasq": true, "hairpinMode": true, "dns": {"nameservers": ["10.77.0.1"], "search": ["db.example"]},
	 "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.77.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
	{"type": "portmap", "capabilities": {"portMappings": true}}, {"type": "odd"}]}`

// oddPlugin passes on the result of the plugin before, unless it is told to fail, or to kill
// the launcher.
const oddPlugin = `#!/bin/sh
config=$(cat)
case $CNI_COMMAND in
VERSION) echo '{"cniVersion": "1.0.0", "supportedVersions": ["1.0.0"]}' ;;
ADD)
	if [ -e /run/odd-fail ]; then echo '{"cniVersion": "1.0.0", "code": 11, "msg": "the moon is full"}'; exit 1; fi
	if [ -e /run/odd-kill ]; then kill -9 $PPID; fi
	echo "$config" | jq .prevResult ;;
esac
`

// withCNI gives a host the configuration and a network that uses it. What it returns takes
// back what the plugins keep: their bridge, and chains that are in use by nobody.
func withCNI(t *testing.T, h *host.Host) (remove func()) {
	t.Helper()
	h.WriteFile(t, "/etc/cni/net.d/10-db.conflist", cniList, 0o644)
	h.WriteFile(t, "/opt/cni/bin/odd", oddPlugin, 0o755)
	h.MustRun(t, "[ -x /usr/lib/cni/bridge ] && [ -x /usr/lib/cni/portmap ]")
	tables := h.MustRun(t, "nft list tables")
	removeNetworks := withNetworks(t, h, map[string]string{"db": "cni = 'dbnet'\n"})
	return func() {
		removeNetworks()
		cleanup(t, h, `rm -rf /etc/cni/net.d/10-db.conflist /opt/cni/bin/odd /var/lib/cni/networks/dbnet /run/odd-*; rmdir /run/cocker/cni
			ip link del cni-db 2>/dev/null
			nft list tables | while read -r table family name; do
				echo '`+tables+`' | grep -qx "table $family $name" || nft delete table "$family" "$name"
			done; :`)
	}
}

// assertNothingOfCNI asserts that plugins have undone all that they made for containers.
func assertNothingOfCNI(t *testing.T, h *host.Host) {
	t.Helper()
	if got := h.MustRun(t, `
		ip -o link show type veth | grep -v ' eth0'
		nft list ruleset 2>/dev/null | grep -e '10\.77\.' -e 'dport 8080' -e CNI-DN-
		ls /var/lib/cni/networks/dbnet 2>/dev/null | grep '^10\.'
		ls /run/cocker/cni 2>/dev/null
		findmnt -n | grep /run/cocker/cni; :`); got != "" {
		t.Errorf("left of CNI:\n%s", got)
	}
}

// A container in a network of CNI is as one in a network of cocker's: it reaches and is
// reached, and everything that shows addresses shows its own.
func TestCNI(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		defer withCNI(t, h)()
		start(t, h, "server", web("hello", "name = 'db'\naddress = '10.77.0.9'\nmac = '02:00:5e:00:53:07'\nports = ['8080:80']"))
		start(t, h, "sibling", "image = 'demo'\n[network]\nname = 'db'\n")
		if got, want := inside(t, h, "server", "ip -4 -o addr show eth0 | awk '{print $4}'; cat /sys/class/net/eth0/address; ip route | grep default; cat /etc/resolv.conf; tail -n 2 /etc/hosts | head -n 1"),
			"10.77.0.9/24\n02:00:5e:00:53:07\ndefault via 10.77.0.1 dev eth0 \nnameserver 10.77.0.1\nsearch db.example\n10.77.0.9 server"; got != want {
			t.Errorf("the server has\n%s\nwant\n%s", got, want)
		}
		for from, got := range map[string]string{
			"the host":                      h.MustRun(t, get, "127.0.0.1:8080"),
			"the host, at its own":          h.MustRun(t, getOnce, "10.77.0.9:80"),
			"outside":                       strings.TrimSpace(h.Outside(t, getOnce, hostAddress+":8080").Stdout),
			"a sibling":                     inside(t, h, "sibling", netcat("10.77.0.9:80", "30")),
			"a sibling, by the gateway":     inside(t, h, "sibling", netcat("10.77.0.1:8080", "30")),
			"the server, by the gateway":    inside(t, h, "server", netcat("10.77.0.1:8080", "30")),
			"a sibling, by the host's port": inside(t, h, "sibling", netcat(hostAddress+":8080", "30")),
		} {
			if got != "hello" {
				t.Errorf("%s gets %q", from, got)
			}
		}
		assertOnlyLooks(t, h, "server")
		if got := h.MustRun(t, `cocker ps --json | jq -r '.[] | select(.name == "server") | .address, .ports[]'; cocker inspect --json server | jq -r '.running.joins[0] | .cni, .mac'; machinectl list --no-legend | awk '$1 == "server" { print $NF }'`); !strings.HasPrefix(got, "10.77.0.9\n8080:80\ndbnet\n02:00:5e:00:53:07\n10.77.0.9") {
			t.Errorf("ps, inspect and machinectl show %q", got)
		}
		if r := h.Run(t, "cocker set server --publish 8081:80"); r.ExitCode == 0 || !strings.Contains(r.Stderr, "published by CNI plugins, at its start only") {
			t.Errorf("a port of a running container: %d %s", r.ExitCode, r.Stderr)
		}
		refused(t, h, "late", web("late", "name = 'db'\nports = ['8080:80']"), "port 8080:80: port is already used by container server")
		assertCNICheck(t, h)
		// Killed with everything in it, the container still is undone.
		h.MustRun(t, "systemctl kill -s KILL cocker@server; systemctl stop cocker@sibling")
		h.WaitFor(t, eventually, "the end of server", "! systemctl is-active -q cocker@server && [ ! -e /run/cocker/state/server.json ]")
		assertNothingOfCNI(t, h)
	})
}

func assertCNICheck(t *testing.T, h *host.Host) {
	t.Helper()
	if got := h.MustRun(t, "cocker network check db"); got != "1 network is fine" {
		t.Errorf("cocker network check: %s", got)
	}
	const inNetwork = `nsenter --net="/proc/$(systemctl show -P MainPID cocker@sibling)/ns/net" `
	h.MustRun(t, inNetwork+"ip addr flush dev eth0; mv /opt/cni/bin/odd /opt/cni/bin/even")
	if r := h.Run(t, "cocker network check db"); r.ExitCode != 1 || !strings.Contains(r.Stdout, `db: /etc/cocker/networks/db.toml: /etc/cni/net.d/10-db.conflist: there is no plugin "odd" in `) {
		t.Errorf("cocker network check without a plugin: %d %s", r.ExitCode, r.Stdout)
	}
	h.MustRun(t, "mv /opt/cni/bin/even /opt/cni/bin/odd")
	if r := h.Run(t, "cocker network check db"); r.ExitCode != 1 || !strings.Contains(r.Stdout, "db: sibling: /etc/cni/net.d/10-db.conflist: plugin /usr/lib/cni/bridge, CHECK: ") {
		t.Errorf("cocker network check of a container without its address: %d %s", r.ExitCode, r.Stdout)
	}
	// The plugin bridge 1.1.1 would not find its rules of masquerading for the address.
	h.MustRun(t, inNetwork+`ip addr add "$(jq -r .address /run/cocker/state/sibling.json)" dev eth0`)
}

// Whatever goes wrong is told with the file, the plugin and the reason, and nothing is left.
func TestCNIFaults(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		defer withCNI(t, h)()
		server := web("hello", "name = 'db'\nports = ['8080:80']")
		start(t, h, "server", server)
		h.MustRun(t, "systemctl stop cocker@server") // the plugins have their bridge and chains now
		assertNothingOfCNI(t, h)

		h.MustRun(t, "touch /run/odd-fail")
		failsToStart(t, h, "server", "/etc/cni/net.d/10-db.conflist: plugin /opt/cni/bin/odd, ADD: the moon is full (code 11)")
		assertNothingOfCNI(t, h)
		h.MustRun(t, "rm /run/odd-fail; touch /run/odd-kill")
		failsToStart(t, h, "server")
		assertNothingOfCNI(t, h)
		h.MustRun(t, "rm /run/odd-kill")

		// A plugin that is gone keeps the others from nothing, and is asked again later.
		h.MustRun(t, "systemctl start cocker@server; mv /opt/cni/bin/odd /opt/cni/bin/even; systemctl stop cocker@server")
		if got := statusOf(t, h, "server"); !strings.Contains(got, `there is no plugin "odd" in /opt/cni/bin, /usr/lib/cni, /usr/libexec/cni; install it, such as by: apt-get install containernetworking-plugins`) {
			t.Errorf("the stop says\n%s", got)
		}
		if got := h.MustRun(t, "ls /run/cocker/cni/server"); !strings.Contains(got, "eth0.json") {
			t.Errorf("what is left to undo is forgotten: %q", got)
		}
		failsToStart(t, h, "server", `there is no plugin "odd"`)
		h.MustRun(t, "mv /opt/cni/bin/even /opt/cni/bin/odd; systemctl start cocker@server")
		if got := h.MustRun(t, get, "127.0.0.1:8080"); got != "hello" {
			t.Errorf("after all: %q", got)
		}
		h.MustRun(t, "systemctl stop cocker@server")
		assertNothingOfCNI(t, h)

		refused(t, h, "fixed", web("x", "name = 'db'\naddress = '10.99.0.1'"), "/usr/lib/cni/bridge, ADD: ", "10.99.0.1")
		assertNothingOfCNI(t, h)
		h.WriteFile(t, "/etc/cni/net.d/10-db.conflist", strings.Replace(cniList, `"capabilities": {"portMappings": true}`, `"snat": true`, 1), 0o644)
		failsToStart(t, h, "server", `publish 8080:80: no plugin of /etc/cni/net.d/10-db.conflist has the capability "portMappings"`)
		h.MustRun(t, "rm /etc/cni/net.d/10-db.conflist")
		failsToStart(t, h, "server", `/etc/cocker/networks/db.toml: no CNI configuration "dbnet": no file of /etc/cni/net.d`)
		assertNothingOfCNI(t, h)
	})
}

// A pod and a container in two networks, of which one is CNI's.
func TestCNIBesideOthers(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		defer withCNI(t, h)()
		defer removePods(t, h)
		start(t, h, "both", web("both", "address = '10.88.6.7'\nports = ['8089:80']\n[[network.join]]\nname = 'db'\n"))
		if got := inside(t, h, "both", "ip -4 -o addr show scope global | awk '{print $2, $4}' | sort"); !strings.HasPrefix(got, "eth0 10.88.6.7/16\neth1 10.77.0.") {
			t.Errorf("the addresses are %q", got)
		}
		declarePod(t, h, "shop", "[network]\nname = 'db'\nports = ['8087:80']\n")
		start(t, h, "shop-web", inPod("shop", serveShop))
		for address, want := range map[string]string{"127.0.0.1:8089": "both", "127.0.0.1:8087": "shop"} {
			if got := h.MustRun(t, get, address); got != want {
				t.Errorf("%s: %q", address, got)
			}
		}
		h.MustRun(t, "systemctl stop cocker@both cocker@shop-web")
		h.WaitFor(t, eventually, "the pod to go", "[ $(systemctl show -P ActiveState cocker-pod@shop) = inactive ]")
		assertNothingOfCNI(t, h)
	})
}
