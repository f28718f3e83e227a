package tests

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/cocker/cocker/tests/host"
)

// withNetworks writes the files of networks. What it returns takes them back, with their
// containers.
func withNetworks(t *testing.T, h *host.Host, files map[string]string) (remove func()) {
	t.Helper()
	for name, toml := range files {
		h.WriteFile(t, "/etc/cocker/networks/"+name+".toml", toml, 0o644)
	}
	h.MustRun(t, "systemctl daemon-reload")
	return func() {
		script := "timeout 100 systemctl stop 'cocker@*.service'\n"
		for name := range files {
			script += strings.ReplaceAll(`systemctl stop cocker-network@NAME; systemctl reset-failed cocker-network@NAME 2>/dev/null
				rm -rf /etc/cocker/networks/NAME.toml /run/cocker/networks/NAME; ip link show NAME 2>/dev/null && exit 1
				`, "NAME", name)
		}
		cleanup(t, h, script+"systemctl reset-failed 'cocker*' 2>/dev/null; rmdir /etc/cocker/networks; systemctl daemon-reload")
	}
}

// A network is a file: its unit shows it, starts with the first container, and stays
// when the last one has stopped, or goes with it if the file says so.
func TestNetworkFiles(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		defer withNetworks(t, h, map[string]string{
			"front": "description = 'What faces the world'\nsubnets = ['10.1.0.0/24']\nmtu = 1400\nkeep = false\n",
			"back":  "subnets = ['10.2.0.0/24']\ninternal = true\n",
		})()
		start(t, h, "two", web("two", "name = 'front'\naddress = '10.1.0.9'\nports = ['8080:80']\n[[network.join]]\nname = 'back'\naddress = '10.2.0.9'\naliases = ['db']\ninterface = 'back0'\nmac = '02:00:5e:00:53:01'"))
		h.MustRun(t, `set -e
			[ "$(systemctl show -P Description cocker-network@front)" = "What faces the world" ]
			[ "$(systemctl show -P SourcePath cocker-network@front)" = /etc/cocker/networks/front.toml ]
			[ "$(systemctl is-active cocker-network@front cocker-network@back | sort -u)" = active ]
			[ "$(cat /sys/class/net/ckn-front/mtu)" = 1400 ]`)
		if got, want := inside(t, h, "two", "ip -4 -o addr show scope global | awk '{print $2, $4}'"), "eth0 10.1.0.9/24\nback0 10.2.0.9/24"; got != want {
			t.Errorf("inside: %q, want %q", got, want)
		}
		if got := inside(t, h, "two", "cat /sys/class/net/back0/address"); got != "02:00:5e:00:53:01" {
			t.Errorf("the MAC address is %s", got)
		}
		if got := h.MustRun(t, get, "127.0.0.1:8080"); got != "two" {
			t.Errorf("port 8080: %q", got)
		}
		assertNetworkList(t, h)
		assertNetworkDetails(t, h)
		h.MustRun(t, "timeout 60 systemctl stop cocker@two")
		h.WaitFor(t, eventually, "front to go", `[ "$(systemctl is-active cocker-network@front)" = inactive ] && ! ip link show ckn-front 2>/dev/null`)
		h.MustRun(t, `[ "$(systemctl is-active cocker-network@back)" = active ] && ip link show ckn-back >/dev/null`)
		h.MustRun(t, "timeout 60 systemctl start cocker@two && kill -9 $(systemctl show -P MainPID cocker@two)")
		h.WaitFor(t, eventually, "front to go after a crash", `[ "$(systemctl is-active cocker-network@front)" = inactive ] && ! ip link show ckn-front 2>/dev/null`)
	})
}

func assertNetworkList(t *testing.T, h *host.Host) {
	t.Helper()
	list := h.MustRun(t, "cocker network ls")
	const want = `NAME     KIND    SUBNETS       CONTAINERS  STATE  FILE
back     bridge  10.2.0.0/24   1           up     /etc/cocker/networks/back.toml
cocker0  bridge  10.88...      0           up     -
front    bridge  10.1.0.0/24   1           up     /etc/cocker/networks/front.toml
`
	if !matches(want, list) {
		t.Errorf("cocker network ls:\n%s", list)
	}
	if got := h.MustRun(t, `cocker network ls --json | jq -c '.[] | select(.name == "front") | [.description, .kind, .subnets, .containers, .state, .unit]'`); got !=
		`["What faces the world","bridge",["10.1.0.0/24"],["two"],"up","cocker-network@front.service"]` {
		t.Errorf("cocker network ls --json: %s", got)
	}
}

func assertNetworkDetails(t *testing.T, h *host.Host) {
	t.Helper()
	var got struct {
		State   string
		Config  struct{ Internal bool }
		Subnets []struct{ Subnet, Gateway string }
		Link    struct {
			Type      string
			Addresses []string
		}
		Containers []struct {
			Container, Address, MAC, Interface string
			Aliases, Ports                     []string
		}
	}
	if err := json.Unmarshal([]byte(h.MustRun(t, "cocker network inspect back --json")), &got); err != nil {
		t.Fatal(err)
	}
	if got.State != "up" || !got.Config.Internal || len(got.Subnets) != 1 || got.Subnets[0].Gateway != "10.2.0.1" || got.Link.Type != "bridge" ||
		len(got.Link.Addresses) == 0 || got.Link.Addresses[0] != "10.2.0.1/24" {
		t.Errorf("back: %+v", got)
	}
	if len(got.Containers) != 1 || got.Containers[0].Container != "two" || got.Containers[0].Address != "10.2.0.9/24" || got.Containers[0].Interface != "back0" ||
		strings.Join(got.Containers[0].Aliases, " ") != "db" || len(got.Containers[0].Ports) != 0 {
		t.Errorf("the containers of back: %+v", got.Containers)
	}
	if ports := h.MustRun(t, "cocker network inspect front --json | jq -c '.containers[].ports'"); ports != `["8080:80"]` {
		t.Errorf("the ports in front: %s", ports)
	}
	h.MustRun(t, `cocker network inspect front | grep -q 'description: What faces the world'`)
}

// Who stops or restarts a network does so with its containers.
func TestNetworkStopsItsContainers(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		defer withNetworks(t, h, map[string]string{"front": "subnets = ['10.1.0.0/24']\n"})()
		start(t, h, "first", web("first", "name = 'front'"))
		before := mainPID(t, h, "first")
		h.MustRun(t, "timeout 60 systemctl restart cocker-network@front")
		h.WaitFor(t, eventually, "the container's restart", `[ "$(systemctl is-active cocker@first)" = active ]`)
		if mainPID(t, h, "first") == before {
			t.Error("the container was not restarted")
		}
		if address := inside(t, h, "first", "ip -4 -o addr show eth0 | awk '{print $4}'"); !strings.HasPrefix(address, "10.1.0.") {
			t.Errorf("its address is %q", address)
		}
		h.MustRun(t, `timeout 60 systemctl stop cocker-network@front && [ "$(systemctl is-active cocker@first)" = inactive ]`)
	})
}

// What is wrong with the file of a network is told where its container fails to start,
// and by cocker check; other networks and containers are not concerned.
func TestBadNetworkFiles(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		defer withNetworks(t, h, map[string]string{
			"bad":   "subnets = ['10.1.0.0/24']\ngatewya = '10.1.0.1'\n",
			"good":  "subnets = ['10.3.0.0/24']\n",
			"twice": "subnets = ['10.3.0.128/25']\n",
		})()
		const unknown = `/etc/cocker/networks/bad.toml:2: unknown key "gatewya" (did you mean "gateway"?)`
		const image = "image = 'demo'\n[network]\n"
		start(t, h, "fine", image+"name = 'good'\n")
		declare(t, h, map[string]string{
			"in-bad": image + "name = 'bad'\n", "in-none": image + "name = 'godo'\n", "outside": image + "name = 'good'\naddress = '10.4.0.1'\n",
		})
		for name, reason := range map[string]string{
			"in-bad":  unknown,
			"in-none": `/etc/cocker/containers/in-none.toml:3: network.name: no such network as "godo": no godo.toml in /etc/cocker/networks, /run/cocker/networks, /usr/lib/cocker/networks; write that file, see cocker-network.toml(5), or name another network (did you mean "good"?)`,
			"outside": "/etc/cocker/containers/outside.toml:4: network.address: 10.4.0.1 is not in the subnet of good, 10.3.0.0/24",
		} {
			h.MustRun(t, `! timeout 60 systemctl start cocker@"$1"`, name)
			if status := statusOf(t, h, name); !strings.Contains(status, `Status: "`+reason) {
				t.Errorf("%s: not in the status: %s\n%s", name, reason, status)
			}
		}
		check := h.Run(t, "cocker check")
		for _, want := range []string{
			unknown, "in-none.toml:3: network.name: ", "outside.toml:4: network.address: ",
			"/etc/cocker/networks/twice.toml:1: subnets[0]: 10.3.0.128/25 overlaps 10.3.0.0/24 of the network good",
		} {
			if check.ExitCode != 1 || strings.Count(check.Stderr, want) != 1 {
				t.Errorf("cocker check: status %d, wanted once: %s\n%s", check.ExitCode, want, check.Stderr)
			}
		}
		networks := h.Run(t, "cocker network check")
		if networks.ExitCode != 1 || !strings.Contains(networks.Stdout, "bad: "+unknown) || !strings.Contains(networks.Stdout, "overlaps") {
			t.Errorf("cocker network check: status %d\n%s", networks.ExitCode, networks.Stdout)
		}
		if got := h.MustRun(t, `cocker network ls --json | jq -r '.[] | select(.name == "bad") | .state'`); got != "bad file" {
			t.Errorf("state of bad: %q", got)
		}
		for command, want := range map[string]string{
			"cocker network inspect none-such":                       `no such network as "none-such"`,
			"cocker network repair bad":                              unknown,
			"cocker network repair":                                  "name the networks, or use --all",
			"cocker create --network godo x demo":                    `network.name: no such network as "godo"`,
			"cocker run --rm --network good --address 10.9.0.1 demo": "network.address: 10.9.0.1 is not in the subnet of good",
		} {
			if r := h.Run(t, command); r.ExitCode == 0 || !strings.Contains(r.Stderr, want) {
				t.Errorf("%s: status %d, %s", command, r.ExitCode, r.Stderr)
			}
		}
	})
}

// Whatever somebody has done to a network, check finds it, with what to do, and repair
// makes it right under the containers that run.
func TestNetworkCheckAndRepair(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		defer withNetworks(t, h, map[string]string{"front": "subnets = ['10.1.0.0/24']\n"})()
		start(t, h, "repaired", web("repaired", "name = 'front'\nports = ['8080:80']"))
		h.MustRun(t, get, "127.0.0.1:8080")
		h.MustRun(t, `[ "$(cocker network check front)" = "1 network is fine" ]`)
		for damage, want := range map[string]string{
			"nft flush ruleset":                        "front: the rules are missing",
			"nft flush chain inet cocker publish":      "front: the rules are missing, or some of them (chain publish",
			"nft flush map inet cocker ports4":         "front: the port 8080:80 of repaired is not published any more",
			"ip link delete ckn-front":                 "front: the interface ckn-front is missing",
			"ip link set ckn-front down":               "front: the interface ckn-front is down",
			"ip address del 10.1.0.1/24 dev ckn-front": "front: ckn-front lacks the gateway's address 10.1.0.1/24",
			"sysctl -q net.ipv4.ip_forward=0":          "front: IPv4 forwarding is off",
			"systemctl kill cocker-network@front 2>/dev/null; nft delete table inet cocker": "front: the rules are missing",
		} {
			h.MustRun(t, damage)
			r := h.Run(t, "cocker network check front")
			if r.ExitCode != 1 || !strings.Contains(r.Stdout, want) || !strings.Contains(r.Stdout, `"cocker network repair front" makes again what is missing`) {
				t.Errorf("after %s: status %d\n%s%s", damage, r.ExitCode, r.Stdout, r.Stderr)
			}
			if r := h.Run(t, "cocker network repair front && cocker network check front"); r.ExitCode != 0 {
				t.Errorf("repair after %s: %s%s", damage, r.Stdout, r.Stderr)
			}
			if got := h.MustRun(t, get, "127.0.0.1:8080"); got != "repaired" {
				t.Errorf("after %s and repair the port says %q", damage, got)
			}
		}
		foreign := func(script string) { h.MustRun(t, script) }
		foreign("nft 'add table ip other; add chain ip other FORWARD { type filter hook forward priority 0; policy drop; }'")
		r := h.Run(t, "cocker network check front --json")
		if r.ExitCode != 1 || !strings.Contains(r.Stdout, "the chain FORWARD of the nft table ip other, which is not cocker's, drops what is forwarded") ||
			!strings.Contains(r.Stdout, "nft insert rule ip other FORWARD iifname ckn-front accept") || strings.Contains(r.Stdout, `"repairable": true`) {
			t.Errorf("a policy: status %d\n%s", r.ExitCode, r.Stdout)
		}
		foreign("nft insert rule ip other FORWARD iifname ckn-front accept; nft insert rule ip other FORWARD oifname ckn-front accept; cocker network check front; nft delete table ip other")
		h.MustRun(t, "nft flush ruleset; cocker network repair --all | grep -qx front && cocker network check")
	})
}

// nftables.service flushes all rules when it starts; those of every network come back.
func TestRulesOfEveryNetworkAfterNftables(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		defer withNetworks(t, h, map[string]string{"front": "subnets = ['10.1.0.0/24']\n"})()
		start(t, h, "flushed", web("flushed", "name = 'front'\nports = ['8080:80']"))
		defer cleanup(t, h, "systemctl stop nftables; systemctl reload cocker-network@cocker0")
		// Not one after the other is done: the second restart comes while the rules are made.
		for _, verb := range []string{"start", "restart", "reload", "restart --no-block", "restart"} {
			h.MustRun(t, "systemctl reset-failed nftables 2>/dev/null; timeout 60 systemctl "+verb+" nftables") // as often as one likes
			h.WaitFor(t, eventually, "the rules after "+verb, "cocker network check front")
			if got := h.MustRun(t, get, "127.0.0.1:8080"); got != "flushed" {
				t.Errorf("after %s: %q", verb, got)
			}
		}
	})
}
