package tests

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cocker/cocker/tests/host"
)

// Two hundred containers start at once, then half of them stop while the others start
// again. Each has an address and ports of its own, and in the end nothing is left.
func TestTwoHundredAtOnce(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		defer withNetworks(t, h, map[string]string{"back": backNetwork})()
		const containers = 200
		files := map[string]string{}
		for i := range containers {
			files[fmt.Sprintf("crowd-%d", i)] = waiting(fmt.Sprintf("name = 'cocker0'\nports = ['%d:80']\n[[network.join]]\nname = 'back'", 9000+i))
		}
		declare(t, h, files)
		h.MustRun(t, "cocker run --rm --network back demo true; systemctl start cocker-network@back")
		before := settled(t, h)
		const all = `units() { seq -f cocker@crowd-%g "$1" 2 199; }; `
		h.MustRun(t, all+`timeout 250 systemctl start $(units 0) $(units 1)`)
		assertDistinct(t, h, containers)
		h.MustRun(t, all+`timeout 100 systemctl stop $(units 0)`)
		h.MustRun(t, all+`timeout 250 systemctl start $(units 0) & started=$!; timeout 250 systemctl stop $(units 1) && wait $started`)
		h.WaitFor(t, eventually, "the launchers' end", "! pgrep -x cocker-launch")
		assertDistinct(t, h, containers/2)
		h.MustRun(t, all+`timeout 250 systemctl stop $(units 0)`)
		assertStopped(t, h, before)
		h.MustRun(t, "cocker rm $(seq -f crowd-%g 0 199) >/dev/null")
	})
}

// assertDistinct asserts that so many containers run, none with what another one has.
func assertDistinct(t *testing.T, h *host.Host, containers int) {
	t.Helper()
	got := h.MustRun(t, `cd /run/cocker/state && ls | wc -l
		for what in .address .joins[1].address .host_interface .joins[1].host_interface; do jq -r "$what" *.json | sort -u | wc -l; done
		nft list map inet cocker ports4 | grep -c crowd-; ls /run/cocker/networks/back/by-address | wc -l`)
	n := fmt.Sprint(containers)
	if want := strings.Join([]string{n, n, n, n, n, n, n}, "\n"); got != want {
		t.Errorf("states, addresses, links, ports, leases: %s, want %s each", strings.Fields(got), n)
	}
}

// networkd restarts, and is told to take over every link: those of cocker stay as they are.
// TestVMLifecycle has the same beside udev.
func TestHostNetworkRestarts(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		if h.Virtual {
			t.Skip("TestVMLifecycle")
		}
		start(t, h, "served", web("served", "ports = ['8080:80']"))
		h.MustRun(t, get, "127.0.0.1:8080")
		// Without udev networkd works where /sys is read-only, as in containers.
		h.WriteFile(t, "/etc/systemd/network/10-all.network", "[Match]\nName=!lo eth0\n[Network]\nAddress=198.51.100.1/24\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n", 0o644)
		h.MustRun(t, `mount -o remount,bind,ro /sys; systemctl unmask systemd-networkd.service systemd-networkd.socket 2>/dev/null
			ip link add taken0 type veth peer name taken1`)
		defer cleanup(t, h, `systemctl stop systemd-networkd.socket systemd-networkd; systemctl mask systemd-networkd.service systemd-networkd.socket 2>/dev/null
			rm /etc/systemd/network/10-all.network; ip link del taken0; ip addr replace 2001:db8:2::1/64 dev eth0 nodad; ip route replace default via 2001:db8:2::2; mount -o remount,bind,rw /sys; rm -rf /run/systemd/netif`)
		for _, verb := range []string{"start", "restart"} {
			h.MustRun(t, "timeout 60 systemctl "+verb+" systemd-networkd")
			h.WaitFor(t, eventually, "networkd at work", `networkctl --no-legend list taken0 | grep -q configured && ip -4 -o addr show taken0 | grep -q 198.51.100.1`)
			h.MustRun(t, "ip addr flush dev taken0; ip link set eth0 down; ip link set eth0 up; ip route replace default via 192.0.2.2")
			if got := h.MustRun(t, `networkctl --no-legend list cocker0 ck-served | awk '{print $NF}' | xargs`); got != "unmanaged unmanaged" {
				t.Errorf("after %s networkd says of cocker's links: %s", verb, got)
			}
			if got := h.MustRun(t, `ip -4 -o addr show cocker0 | awk '{print $4}'; cat /proc/sys/net/ipv4/ip_forward`); got != "10.88.0.1/16\n1" {
				t.Errorf("after %s the bridge has %s", verb, got)
			}
			h.MustRun(t, "cocker network check cocker0")
			for from, got := range map[string]string{
				"the host": h.MustRun(t, get, "127.0.0.1:8080"),
				"outside":  strings.TrimSpace(h.Outside(t, get, hostAddress+":8080").Stdout),
			} {
				if got != "served" {
					t.Errorf("after %s %s gets %q", verb, from, got)
				}
			}
		}
	})
}

// Where the kernel has no IPv6, all of IPv4 works, and what needs IPv6 says why it does not.
func TestVMWithoutIPv6(t *testing.T) {
	if !*host.InVirtualMachines {
		t.Skip("needs a virtual machine: make test-vm")
	}
	for _, release := range host.Releases() {
		t.Run(string(release), func(t *testing.T) {
			t.Parallel()
			h := host.Start(t, release, host.WithCocker(), host.WithKernel("ipv6.disable=1"))
			h.MustRun(t, "! [ -e /proc/sys/net/ipv6 ] && ! [ -e /proc/net/if_inet6 ]")
			cleanly(t, h, testWithoutIPv6)
		})
	}
}

// The nearest that a host with a kernel that has IPv6 can do: it has no address of it, and
// nothing of it in /proc.
func TestWithoutIPv6(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		if h.Virtual {
			t.Skip("TestVMWithoutIPv6")
		}
		h.MustRun(t, `timeout 60 systemctl stop cocker-network@cocker0; sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
			mkdir -p /run/nothing && mount --bind /run/nothing /proc/sys/net/ipv6`)
		defer cleanup(t, h, `umount /proc/sys/net/ipv6; rmdir /run/nothing; sysctl -qw net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.default.disable_ipv6=0
			ip addr replace 2001:db8:2::1/64 dev eth0 nodad; ip route replace default via 2001:db8:2::2
			systemctl stop 'cocker@*'; systemctl restart cocker-network@cocker0`)
		testWithoutIPv6(t, h)
	})
}

func testWithoutIPv6(t *testing.T, h *host.Host) {
	t.Helper()
	since := h.MustRun(t, "date +@%s")
	defer withNetworks(t, h, map[string]string{"back": backNetwork, "six": "subnets = ['10.1.0.0/24', 'fd00:1::/64']\n"})()
	start(t, h, "both", joined)
	start(t, h, "asker", "image = 'demo'\n[network]\nname = 'back'\n")
	for from, got := range map[string]string{
		"the host":    h.MustRun(t, get, "127.0.0.1:8089"),
		"outside":     strings.TrimSpace(h.Outside(t, get, hostAddress+":8089").Stdout),
		"a neighbour": inside(t, h, "asker", netcat("10.91.0.7:80", "30")),
		"by name":     inside(t, h, "asker", netcat("both:80", "30")),
		"by alias":    inside(t, h, "asker", netcat("store:80", "30")),
	} {
		if got != "joined" {
			t.Errorf("%s gets %q", from, got)
		}
	}
	h.MustRun(t, "cocker network check cocker0 back && nft flush ruleset && cocker network repair cocker0 back && cocker network check cocker0 back")
	if got := h.MustRun(t, get, "127.0.0.1:8089"); got != "joined" {
		t.Errorf("after a repair: %q", got)
	}
	const complaints = `journalctl -q --since="$1" -u 'cocker*' -p warning; journalctl -q --since="$1" -u 'cocker*' | grep -i -e ipv6 -e inet6`
	if got := h.Run(t, complaints, since).Stdout; got != "" {
		t.Errorf("warnings, or words about IPv6, where nobody asked for it:\n%s", got)
	}
	failsOf := func(name, toml, reason string) {
		t.Helper()
		declare(t, h, map[string]string{name: toml})
		h.MustRun(t, `! timeout 60 systemctl start cocker@"$1"`, name)
		if status := statusOf(t, h, name); !strings.Contains(status, reason) {
			t.Errorf("%q is not in the status of %s:\n%s", reason, name, status)
		}
	}
	failsOf("six", waiting("name = 'six'"), "this kernel has no IPv6")
	if got := h.Run(t, complaints, since).Stdout; !strings.Contains(got, "this kernel has no IPv6") {
		t.Errorf("the journal says of network six:\n%s", got)
	}
	failsOf("port6", waiting("ports = ['[2001:db8::5]:8090:80']"), "the container has no IPv6 address in cocker0")
	h.MustRun(t, `timeout 60 systemctl stop 'cocker@*.service'; systemctl reset-failed 'cocker*'; [ -z "$(ls /run/cocker/state /run/cocker/networks/*/by-address | grep -v : | grep .)" ]`)
}

// What the host, or somebody on the bridge, has as an address no container gets; where it
// comes later, "cocker network check" tells.
func TestAddressTakenByOthers(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		defer withNetworks(t, h, map[string]string{"front": "subnets = ['10.1.0.0/24']\n"})()
		fixed := web("fixed", "name = 'front'\naddress = '10.1.0.9'\nports = ['8080:80']")
		h.MustRun(t, "ip link add other0 type bridge; ip link set other0 up")
		defer cleanup(t, h, "ip link del other0")
		// One that is leased goes around what the host has.
		start(t, h, "leased", waiting("name = 'front'"))
		address := h.MustRun(t, `jq -r .address /run/cocker/state/leased.json | cut -d/ -f1`)
		h.MustRun(t, `systemctl stop cocker@leased; ip addr add "$1"/32 dev other0; systemctl start cocker@leased`, address)
		if got := h.MustRun(t, `jq -r .address /run/cocker/state/leased.json | cut -d/ -f1`); got == address || !strings.HasPrefix(got, "10.1.0.") {
			t.Errorf("a container that is leased an address got %s, which the host has: %s", got, address)
		}
		h.MustRun(t, `ip addr flush dev other0; systemctl stop cocker@leased; ip addr add 10.1.0.9/32 dev other0`)
		refused(t, h, "fixed", fixed, "10.1.0.9 is the host's own, on other0")
		h.MustRun(t, `ip addr flush dev other0`)

		// A machine of somebody else's on the bridge, as libvirt or an administrator puts it there.
		start(t, h, "fixed", fixed)
		h.MustRun(t, get, "127.0.0.1:8080")
		h.MustRun(t, "cocker network check front")
		h.MustRun(t, `ip netns add stranger; ip link add stranger0 type veth peer name eth0 netns stranger; ip link set stranger0 master ckn-front up
			ip -n stranger addr add 10.1.0.9/24 dev eth0; ip -n stranger link set eth0 up`)
		defer cleanup(t, h, "ip netns del stranger 2>/dev/null; ip link del stranger0 2>/dev/null; umount /run/netns 2>/dev/null; rmdir /run/netns || :")
		h.WaitFor(t, eventually, "the stranger to be noticed", `ip netns exec stranger ping -c1 -W5 10.1.0.1 >/dev/null; ip neigh replace 10.1.0.9 dev ckn-front lladdr $(ip netns exec stranger cat /sys/class/net/eth0/address) nud reachable
			cocker network check front | grep -q 'fixed is not who answers for its address 10.1.0.9'`)
		h.MustRun(t, "ip netns del stranger; ip link del stranger0 2>/dev/null; ip neigh del 10.1.0.9 dev ckn-front; ip addr add 10.1.0.9/32 dev other0")
		if r := h.Run(t, "cocker network check front"); r.ExitCode != 1 || !strings.Contains(r.Stdout, "front: fixed is not reached: address 10.1.0.9 is the host's own, on other0") {
			t.Errorf("check: status %d\n%s%s", r.ExitCode, r.Stdout, r.Stderr)
		}
		h.MustRun(t, "ip addr flush dev other0; cocker network repair front; cocker network check front")
		if got := h.MustRun(t, get, "127.0.0.1:8080"); got != "fixed" {
			t.Errorf("in the end: %q", got)
		}
	})
}

// A network that is up gets another subnet: what runs goes on with the old one, what starts
// has the new one, and a restart of the network leaves nothing of the old.
func TestSubnetIsChanged(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		defer withNetworks(t, h, map[string]string{"front": "subnets = ['10.1.0.0/24']\n"})()
		start(t, h, "old", web("old", "name = 'front'\nports = ['8080:80']"))
		h.WriteFile(t, "/etc/cocker/networks/front.toml", "subnets = ['10.2.0.0/24']\n", 0o644)
		h.MustRun(t, "systemctl daemon-reload; timeout 60 systemctl reload cocker-network@front")
		start(t, h, "new", web("new", "name = 'front'\nports = ['8081:80']"))
		for port, want := range map[string]string{"8080": "old", "8081": "new"} {
			if got := h.MustRun(t, get, "127.0.0.1:"+port); got != want {
				t.Errorf("port %s gives %q", port, got)
			}
		}
		if got := inside(t, h, "new", "ip -4 -o addr show eth0 | awk '{print $4}'"); !strings.HasPrefix(got, "10.2.0.") {
			t.Errorf("the new container has %s", got)
		}
		r := h.Run(t, "cocker network check front")
		if r.ExitCode != 1 || !strings.Contains(r.Stdout, "front: old runs with the address 10.1.0.") || !strings.Contains(r.Stdout, "systemctl restart cocker-network@front.service") {
			t.Errorf("check: status %d\n%s", r.ExitCode, r.Stdout)
		}
		h.MustRun(t, "timeout 100 systemctl restart cocker-network@front")
		h.WaitFor(t, eventually, "the containers' restart", `[ "$(systemctl is-active cocker@old cocker@new | xargs)" = "active active" ]`)
		h.MustRun(t, "cocker network check front")
		h.WaitFor(t, eventually, "nothing of the old subnet", `! { ip -o addr; nft list table inet cocker; ls /run/cocker/networks/front/by-address; } | grep -F 10.1.0.`)
		if got := h.MustRun(t, get, "127.0.0.1:8080"); got != "old" {
			t.Errorf("after the restart: %q", got)
		}
	})
}
