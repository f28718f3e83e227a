package tests

import (
	"strings"
	"testing"

	"github.com/cocker/cocker/tests/host"
)

// waiting is a container that does nothing.
func waiting(network string) string {
	return "image = 'demo'\ncommand = ['sleep', '1000000']\n[network]\n" + network + "\n"
}

// assertOnlyLooks asserts that a container sees a network and cannot change it: it belongs
// to others.
func assertOnlyLooks(t *testing.T, h *host.Host, name string) {
	t.Helper()
	for _, change := range []string{
		"ip addr add 10.99.0.1/32 dev lo", "ip link set lo down", "ip route add blackhole 10.99.0.0/16",
		"echo 1 >/proc/sys/net/ipv4/ip_forward", "echo 77 >/proc/sys/net/ipv4/ip_default_ttl", "echo 77 >/sys/class/net/lo/tx_queue_len",
		"mount -t sysfs sysfs /mnt", "mount -o remount,rw /sys",
	} {
		if got := inside(t, h, name, "("+change+") 2>&1 && echo changed || :"); !strings.Contains(got, "not permitted") && !strings.Contains(got, "ermission denied") &&
			!strings.Contains(got, "ead-only") {
			t.Errorf("%s: %q: %s", name, change, got)
		}
	}
}

// A container can be in the network namespace of another one: it has its addresses and its
// loopback, and as much say in it as a process without capabilities.
func TestNetworkOfAnotherContainer(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		start(t, h, "owner", web("owner", "address = '10.88.7.7'\nports = ['8085:80', '8086:81']\n[service]\nRestart = 'always'"))
		start(t, h, "guest", "image = 'demo'\n"+sh("mkdir -p /www && echo guest >/www/index.html && exec httpd -f -p 81 -h /www")+"[network]\nmode = 'container:owner'\n")
		for address, want := range map[string]string{"127.0.0.1:8085": "owner", "127.0.0.1:8086": "guest"} {
			if got := h.MustRun(t, get, address); got != want {
				t.Errorf("%s says %q, want %q", address, got, want)
			}
		}
		if got := inside(t, h, "guest", netcat("127.0.0.1:80", "30")); got != "owner" {
			t.Errorf("the owner says %q to its guest", got)
		}
		if got := inside(t, h, "owner", netcat("127.0.0.1:81", "30")); got != "guest" {
			t.Errorf("the guest says %q to the owner", got)
		}
		const show = `ip -4 -o addr show eth0 | awk '{print $4}'; ls /sys/class/net | xargs; cat /sys/class/net/eth0/operstate; cat /proc/sys/net/ipv4/ip_unprivileged_port_start; hostname`
		if got := inside(t, h, "guest", show); got != "10.88.7.7/16\neth0 lo\nup\n0\nguest" {
			t.Errorf("the guest sees\n%s", got)
		}
		// Without a capability over it nobody has a raw socket, as busybox's ping wants; other
		// programs ping by what is for every group.
		if got := h.MustRun(t, `nsenter --net --target "$1" cat /proc/sys/net/ipv4/ping_group_range | xargs`, mainPID(t, h, "guest")); got != "0 2147483647" {
			t.Errorf("those may ping: %q", got)
		}
		assertOnlyLooks(t, h, "guest")

		// The guest follows its owner, to another network namespace too.
		old := mainPID(t, h, "guest")
		h.MustRun(t, "kill -9 "+mainPID(t, h, "owner"))
		h.WaitFor(t, eventually, "both to run again", `[ "$(systemctl show -P ActiveState cocker@owner cocker@guest | xargs)" = "active active" ] && [ "$(systemctl show -P MainPID cocker@guest)" != "$1" ]`, old)
		if got := h.MustRun(t, get, "127.0.0.1:8086"); got != "guest" {
			t.Errorf("after the owner's crash: %q", got)
		}
		h.MustRun(t, "systemctl stop cocker@owner")
		h.WaitFor(t, eventually, "the guest's end", "[ $(systemctl show -P ActiveState cocker@guest) = inactive ]")
		h.MustRun(t, "systemctl start cocker@guest && systemctl is-active cocker@owner")
		if got := h.MustRun(t, get, "127.0.0.1:8086"); got != "guest" {
			t.Errorf("after a restart of both: %q", got)
		}
		h.MustRun(t, "systemctl stop cocker@owner")

		h.MustRun(t, "systemctl start cocker@owner && rm /etc/cocker/containers/guest.toml")
		start(t, h, "shares", waiting("mode = 'host'"))
		refused(t, h, "of-host", waiting("mode = 'container:shares'"), "container shares is in the host's network", `mode = "host"`)
		declare(t, h, map[string]string{"alone": waiting("mode = 'container:absent'")})
		if r := h.Run(t, "systemctl start cocker@alone"); r.ExitCode == 0 {
			t.Error("it starts without the other one")
		}
		if status := statusOf(t, h, "alone"); !strings.Contains(status, "container absent, whose network this one shares, does not run; start it first: systemctl start cocker@absent") {
			t.Errorf("without the other one:\n%s", status)
		}
		h.MustRun(t, "systemctl reset-failed cocker@alone cocker@absent")
	})
}

// A container can be in a network namespace that somebody else has made.
func TestNetworkNamespaceOfThePath(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		h.MustRun(t, `ip netns add blue && ip -n blue link set lo up && ip -n blue addr add 192.0.2.77/32 dev lo
			ip netns exec blue sysctl -qw net.ipv4.ip_unprivileged_port_start=0`)
		defer h.MustRun(t, "ip netns del blue && rmdir --ignore-fail-on-non-empty /run/netns 2>/dev/null || umount /run/netns && rmdir /run/netns")
		start(t, h, "colored", "image = 'demo'\n"+sh("mkdir -p /www && echo colored >/www/index.html && exec httpd -f -h /www")+"[network]\nmode = 'ns:/run/netns/blue'\n")
		if got := h.MustRun(t, `for i in $(seq 300); do ip netns exec blue curl -s http://192.0.2.77/ && exit; sleep 0.1; done`); got != "colored" {
			t.Errorf("in the namespace it says %q", got)
		}
		if got := inside(t, h, "colored", "ip -4 -o addr | awk '{print $4}' | xargs; ls /sys/class/net"); got != "127.0.0.1/8 192.0.2.77/32\nlo" {
			t.Errorf("it sees %q", got)
		}
		assertOnlyLooks(t, h, "colored")
		h.MustRun(t, "systemctl stop cocker@colored && ip -n blue addr show lo | grep -q 192.0.2.77")

		refused(t, h, "colored", waiting("mode = 'ns:/run/netns/green'"), `network namespace "/run/netns/green" does not exist`, "ip netns add")
		refused(t, h, "colored", waiting("mode = 'ns:/etc/hostname'"), `"/etc/hostname" is no network namespace: it is a file of another kind`)
		refused(t, h, "colored", waiting("mode = 'ns:/proc/1/ns/uts'"), `"/proc/1/ns/uts" is no network namespace: it is a namespace of another kind`)
		refused(t, h, "colored", waiting("mode = 'ns:/proc/1/ns/net'"), `is the host's own network namespace`, `mode = "host"`)
		h.MustRun(t, "mkfifo /srv/fifo")
		refused(t, h, "colored", waiting("mode = 'ns:/srv/fifo'"), `is no network namespace`)
	})
}

// handMade is the example of cocker.toml(5) for mode = "custom".
const handMade = `
image = 'demo'
command = ['sh', '-c', 'mkdir -p /www && echo by hand >/www/index.html && exec httpd -f -h /www']
[network]
mode = 'custom'
[service]
ExecStartPost = [
  '/usr/sbin/ip link add hand0 type veth peer name eth0 netns $MAINPID',
  '/usr/bin/nsenter --target $MAINPID --net /usr/sbin/ip addr add 172.31.0.2/24 dev eth0',
  '/usr/bin/nsenter --target $MAINPID --net /usr/sbin/ip link set eth0 up',
  '/usr/sbin/ip addr add 172.31.0.1/24 dev hand0',
  '/usr/sbin/ip link set hand0 up',
]
`

// A namespace can be left to the user's own commands.
func TestCustomNetwork(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		start(t, h, "hand-made", handMade)
		if got := h.MustRun(t, get, "172.31.0.2"); got != "by hand" {
			t.Errorf("it says %q", got)
		}
		if got := inside(t, h, "hand-made", "ls /sys/class/net | xargs; cat /sys/class/net/lo/operstate; cat /proc/sys/net/ipv4/ip_unprivileged_port_start"); got != "eth0 lo\nunknown\n0" {
			t.Errorf("it sees %q", got)
		}
		if got := inside(t, h, "hand-made", "[ -s /etc/resolv.conf ] && echo has a resolver || echo none"); got != "none" {
			t.Errorf("resolv.conf: %s", got)
		}
		h.MustRun(t, "systemctl stop cocker@hand-made")
		h.WaitFor(t, eventually, "the link to go", "! ip link show hand0 2>/dev/null")
		refused(t, h, "ports", waiting("mode = 'custom'\nports = ['8080:80']"), "ports.toml:", "ports")
	})
}
