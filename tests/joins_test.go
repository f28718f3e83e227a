package tests

import (
	"strings"
	"testing"

	"github.com/cocker/cocker/tests/host"
)

// removeNetwork takes a network of a test away, after its containers.
func removeNetwork(t *testing.T, h *host.Host, name string) {
	t.Helper()
	h.MustRun(t, `timeout 100 systemctl stop 'cocker@*.service' cocker-network@"$1"
		rm -rf /etc/cocker/networks/"$1".toml /run/cocker/networks/"$1"; rmdir --ignore-fail-on-non-empty /etc/cocker/networks; systemctl daemon-reload`, name)
}

const backNetwork = "subnets = ['10.91.0.0/24']\n"

// joined is a container in two networks.
const joined = web0 + `[network]
name = 'cocker0'
address = '10.88.5.5'
ports = ['8089:80']
[[network.join]]
name = 'back'
address = '10.91.0.7'
mac = '02:00:00:00:00:07'
interface = 'back0'
aliases = ['store']
`

const web0 = "image = 'demo'\ncommand = ['sh', '-c', 'mkdir -p /www && echo joined >/www/index.html && exec httpd -f -h /www']\n"

// A container can be in several networks: the first has the way out and the ports.
func TestSeveralNetworks(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		h.WriteFile(t, "/etc/cocker/networks/back.toml", backNetwork, 0o644)
		defer removeNetwork(t, h, "back")
		start(t, h, "both", joined)
		start(t, h, "behind", "image = 'demo'\ncommand = ['sleep', '1000000']\n[network]\nname = 'back'\n")
		const show = "ip -4 -o addr | awk '$2 != \"lo\" {print $2, $4}'; ip route | awk '/default/ {print $3, $5}'; cat /sys/class/net/back0/address"
		if got, want := inside(t, h, "both", show), "eth0 10.88.5.5/16\nback0 10.91.0.7/24\n10.88.0.1 eth0\n02:00:00:00:00:07"; got != want {
			t.Errorf("inside: got\n%s\nwant\n%s", got, want)
		}
		for from, got := range map[string]string{
			"the host's port": h.MustRun(t, get, "127.0.0.1:8089"),
			"the first":       h.MustRun(t, get, "10.88.5.5"),
			"the second":      h.MustRun(t, get, "10.91.0.7"),
			"a neighbour":     inside(t, h, "behind", netcat("10.91.0.7:80", "30")),
		} {
			if got != "joined" {
				t.Errorf("by %s: %q", from, got)
			}
		}
		if got := h.MustRun(t, `cocker inspect --json both | jq -r '.running.joins[] | "\(.network) \(.address) \(.interface) \(.mac) \(.aliases)"'`); got !=
			"cocker0 10.88.5.5/16 eth0 "+inside(t, h, "both", "cat /sys/class/net/eth0/address")+" null\nback 10.91.0.7/24 back0 02:00:00:00:00:07 [\"store\"]" {
			t.Errorf("cocker inspect:\n%s", got)
		}
		if got := h.MustRun(t, `cocker ps --json | jq -c '.[] | select(.name == "both") | [.address, .addresses]'`); got != `["10.88.5.5",["10.88.5.5","10.91.0.7"]]` {
			t.Errorf("cocker ps: %s", got)
		}
		if got := h.MustRun(t, `busctl get-property org.freedesktop.machine1 "$(busctl call org.freedesktop.machine1 /org/freedesktop/machine1 org.freedesktop.machine1.Manager GetMachine s both | cut -d'"' -f2)" org.freedesktop.machine1.Machine NetworkInterfaces`); !strings.HasPrefix(got, "ai 2 ") {
			t.Errorf("machined knows the links %s", got)
		}
		// Who makes a network again makes what its containers have of it again.
		h.MustRun(t, "rm -r /run/cocker/networks/back/by-name /run/cocker/networks/back/by-address && systemctl reload cocker-network@back")
		if got := h.MustRun(t, "readlink /run/cocker/networks/back/by-address/10.91.0.7 /run/cocker/networks/back/by-name/both"); got != "both\n10.91.0.7" {
			t.Errorf("leases made again: %q", got)
		}
		h.MustRun(t, "systemctl stop cocker@both")
		if got := h.MustRun(t, "ls /run/cocker/networks/*/by-name | grep both || :"); got != "" {
			t.Errorf("a lease is left: %s", got)
		}
		h.MustRun(t, "systemctl stop cocker@behind")
		refused(t, h, "both", strings.ReplaceAll(joined, "10.91.0.7", "10.92.0.7"), "both.toml:", "10.92.0.7")
		start(t, h, "holder", strings.ReplaceAll(strings.ReplaceAll(joined, "10.88.5.5", "10.88.5.6"), "8089", "8090"))
		refused(t, h, "both", joined, "10.91.0.7", "holder")
	})
}

// A process outside of the container may keep its network namespace. Then the links are
// cut, and the addresses are free.
func TestHeldNamespace(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		h.WriteFile(t, "/etc/cocker/networks/back.toml", backNetwork, 0o644)
		defer removeNetwork(t, h, "back")
		// One whose links have nothing on the host that could be set down.
		h.WriteFile(t, "/etc/cocker/networks/lan.toml", "kind = 'macvlan'\nparent = 'eth0'\nsubnets = ['192.0.2.0/24']\ngateway = '192.0.2.2'\nrange = '192.0.2.129-192.0.2.250'\n", 0o644)
		defer removeNetwork(t, h, "lan")
		start(t, h, "both", joined+"[[network.join]]\nname = 'lan'\ninterface = 'lan0'\naddress = '192.0.2.200'\n")
		const reachLAN = `nsenter --net --target "$1" ping -c1 -W5 -I lan0 192.0.2.2 >/dev/null 2>&1 && echo reached || echo cut`
		if got := h.MustRun(t, reachLAN, mainPID(t, h, "both")); got != "reached" {
			t.Errorf("before the stop, the neighbour of the host is %s", got)
		}
		h.MustRun(t, `nsenter --net --target "$1" setsid sleep 1000000 >/dev/null 2>&1 & echo $! >/srv/holder`, mainPID(t, h, "both"))
		defer h.MustRun(t, "kill $(cat /srv/holder) && rm /srv/holder")
		h.WaitFor(t, eventually, "the holder", `[ "$(readlink /proc/$(cat /srv/holder)/ns/net)" = "$(readlink /proc/$1/ns/net)" ]`, mainPID(t, h, "both"))
		h.MustRun(t, "systemctl stop cocker@both")
		if got := h.MustRun(t, "ip -o link show type veth up | grep -v eth0 || :; ls /run/cocker/networks/*/by-name /run/cocker/state | grep both || :; nft list map inet cocker ports4 | grep 8089 || :"); got != "" {
			t.Errorf("after the stop: %s", got)
		}
		if got := h.MustRun(t, `nsenter --net --target $(cat /srv/holder) ping -c1 -W2 10.88.0.1 >/dev/null 2>&1 || nsenter --net --target $(cat /srv/holder) ping -c1 -W2 10.91.0.1 >/dev/null 2>&1 && echo reached || echo cut`); got != "cut" {
			t.Errorf("from the namespace that is left, the host is %s", got)
		}
		if got := h.MustRun(t, reachLAN+`; nsenter --net --target "$1" ip -o link show lan0 2>/dev/null || :`, h.MustRun(t, "cat /srv/holder")); got != "cut" {
			t.Errorf("from the namespace that is left, the neighbour of the host is %s", got)
		}
		h.MustRun(t, "systemctl start cocker@both")
		if got := h.MustRun(t, reachLAN, mainPID(t, h, "both")); got != "reached" {
			t.Errorf("by the next run, the neighbour of the host is %s", got)
		}
		if got := h.MustRun(t, get, "10.91.0.7"); got != "joined" {
			t.Errorf("the next run says %q", got)
		}
	})
}
