package tests

import (
	"strings"
	"testing"

	"github.com/cocker/cocker/tests/host"
)

// declarePod writes the file of a pod, which the end of the test takes away.
func declarePod(t *testing.T, h *host.Host, name, toml string) {
	t.Helper()
	h.WriteFile(t, "/etc/cocker/pods/"+name+".toml", toml, 0o644)
	h.MustRun(t, "systemctl daemon-reload")
}

func removePods(t *testing.T, h *host.Host) {
	t.Helper()
	h.MustRun(t, "systemctl stop 'cocker-pod@*'; systemctl reset-failed 'cocker-pod@*' 2>/dev/null; rm -rf /etc/cocker/pods; systemctl daemon-reload")
}

// inPod is a container of a pod.
func inPod(pod, script string) string {
	return "image = 'demo'\npod = '" + pod + "'\n" + sh(script)
}

const serveShop = "mkdir -p /www && echo shop >/www/index.html && exec httpd -f -h /www"

// The containers of a pod share network, host name and IPC, which a unit has and no
// process.
func TestPod(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		defer removePods(t, h)
		declarePod(t, h, "shop", "description = 'The shop'\n[network]\naddress = '10.88.6.6'\nports = ['8087:80']\n")
		processes := h.MustRun(t, "ps -e -o comm= | grep -c cocker || :")
		h.MustRun(t, "systemctl start cocker-pod@shop")
		h.WaitFor(t, eventually, "a pod that nobody needs to go", "[ $(systemctl show -P ActiveState cocker-pod@shop) = inactive ]")
		if got := h.MustRun(t, "ps -e -o comm= | grep -c cocker || :"); got != processes {
			t.Errorf("%s processes of cocker, %s before", got, processes)
		}
		start(t, h, "shop-web", inPod("shop", serveShop))
		start(t, h, "shop-db", inPod("shop", "exec sleep 1000000"))
		if got := h.MustRun(t, "systemctl show -P ActiveState -P Description -P SourcePath cocker-pod@shop"); got != "active\nThe shop\n/etc/cocker/pods/shop.toml" &&
			!strings.Contains(got, "The shop") {
			t.Errorf("the pod's unit: %q", got)
		}
		for from, got := range map[string]string{
			"the host": h.MustRun(t, get, "127.0.0.1:8087"),
			"outside":  strings.TrimSpace(h.Outside(t, get, hostAddress+":8087").Stdout),
			"the pod":  inside(t, h, "shop-db", netcat("127.0.0.1:80", "30")),
		} {
			if got != "shop" {
				t.Errorf("%s gets %q", from, got)
			}
		}
		const show = "hostname; ip -4 -o addr show eth0 | awk '{print $4}'; ls /sys/class/net | xargs; for n in net uts ipc; do readlink /proc/self/ns/$n; done"
		one, two := inside(t, h, "shop-web", show), inside(t, h, "shop-db", show)
		if one != two || !strings.HasPrefix(one, "shop\n10.88.6.6/16\neth0 lo\n") {
			t.Errorf("they see\n%s\nand\n%s", one, two)
		}
		for _, own := range []string{"/proc/self/uid_map", "/proc/self/gid_map"} {
			if inside(t, h, "shop-web", "cat "+own) == inside(t, h, "shop-db", "cat "+own) {
				t.Errorf("%s is the same in both: each has ids of its own", own)
			}
		}
		for _, own := range []string{"user", "pid", "mnt", "cgroup"} {
			if inside(t, h, "shop-web", "readlink /proc/self/ns/"+own) == inside(t, h, "shop-db", "readlink /proc/self/ns/"+own) {
				t.Errorf("both are in the same %s namespace", own)
			}
		}
		// What is shared is shared with everybody's ids, as far as the kernel can tell them apart.
		inside(t, h, "shop-web", "echo shared >/dev/shm/file && chmod 666 /dev/shm/file")
		if got := inside(t, h, "shop-db", "cat /dev/shm/file && echo seen >/dev/shm/file && grep -q '/dev/mqueue mqueue' /proc/mounts && echo queues"); got != "shared\nqueues" {
			t.Errorf("shared memory: %q", got)
		}
		if got := inside(t, h, "shop-web", "cat /dev/shm/file; hostname other 2>&1 | grep -o 'not permitted'"); got != "seen\nnot permitted" {
			t.Errorf("shared memory: %q", got)
		}
		assertOnlyLooks(t, h, "shop-db")
		if got := h.MustRun(t, `cocker ps --json | jq -r '.[] | select(.name == "shop-db") | .address'`); !strings.HasPrefix(got, "10.88.6.6") {
			t.Errorf("cocker ps shows the address %q", got)
		}
	})
}

// A pod lives as long as one of its containers, and takes them along.
func TestPodsLife(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		defer removePods(t, h)
		declarePod(t, h, "life", "[network]\nports = ['8087:80']\n")
		state := func(unit string) string { return h.MustRun(t, "systemctl show -P ActiveState "+unit) }
		start(t, h, "life-web", inPod("life", serveShop))
		start(t, h, "life-db", inPod("life", "exec sleep 1000000"))
		address := inside(t, h, "life-web", "ip -4 -o addr show eth0 | awk '{print $4}'")
		// One container's end is not the pod's.
		h.MustRun(t, "systemctl stop cocker@life-db")
		if got := h.MustRun(t, get, "127.0.0.1:8087"); got != "shop" || state("cocker-pod@life") != "active" {
			t.Errorf("after the end of one container: %q", got)
		}
		h.MustRun(t, "systemctl start cocker@life-db; systemctl restart cocker@life-web")
		if got := h.MustRun(t, get, "127.0.0.1:8087"); got != "shop" {
			t.Errorf("after a restart: %q", got)
		}
		if got := inside(t, h, "life-db", "ip -4 -o addr show eth0 | awk '{print $4}'"); got != address {
			t.Errorf("the pod has %s now, had %s", got, address)
		}
		// A network that is made again publishes the pod's ports, too.
		h.MustRun(t, "nft flush ruleset && systemctl reload cocker-network@cocker0")
		if got := h.MustRun(t, get, "127.0.0.1:8087"); got != "shop" {
			t.Errorf("after a flush and a reload: %q", got)
		}
		// The last one's end is, whichever way it ends.
		for _, end := range []string{"systemctl stop cocker@life-web", "systemctl kill --signal=KILL cocker@life-web", "kill -9 $(systemctl show -P MainPID cocker@life-web)"} {
			h.MustRun(t, "systemctl reset-failed cocker@life-web 2>/dev/null; systemctl start cocker@life-web && systemctl stop cocker@life-db && "+end)
			h.WaitFor(t, eventually, "the pod's end after "+end, "[ $(systemctl show -P ActiveState cocker-pod@life) = inactive ] && ! [ -e /run/cocker/pods/life ]")
		}
		h.MustRun(t, "systemctl reset-failed cocker@life-web 2>/dev/null; systemctl start cocker@life-web cocker@life-db && systemctl stop cocker-pod@life")
		for _, name := range []string{"life-web", "life-db"} {
			if got := state("cocker@" + name); got != "inactive" {
				t.Errorf("after the stop of the pod %s is %s", name, got)
			}
		}
		h.MustRun(t, "! [ -e /run/cocker/pods/life ] && ! findmnt -n | grep /run/cocker/pods")
	})
}

func TestPodsThatCannotStart(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		defer removePods(t, h)
		// fails starts a pod, or a container and with it its pod, and tells why that fails.
		fails := func(unit, pod string, reasons ...string) {
			t.Helper()
			before := settled(t, h)
			r := h.Run(t, `systemctl start "$1" && echo it starts; journalctl --sync; systemctl status --no-pager --full --lines=50 "$1"
				systemctl reset-failed "$1" cocker-pod@"$2" 2>/dev/null`, unit, pod)
			for _, reason := range reasons {
				if !strings.Contains(r.Stdout, reason) {
					t.Errorf("%q is not in the status of %s:\n%s", reason, unit, r.Stdout)
				}
			}
			if strings.HasPrefix(r.Stdout, "it starts") {
				t.Errorf("%s starts", unit)
			}
			assertStopped(t, h, before)
		}
		fails("cocker-pod@absent", "absent", `no such pod as "absent": no absent.toml in /etc/cocker/pods`)
		declare(t, h, map[string]string{"lonely": inPod("absent", "exec sleep 1000000")})
		fails("cocker@lonely", "absent", `no such pod as "absent": no absent.toml in /etc/cocker/pods`)
		declarePod(t, h, "bad", "hostnam = 'x'\n")
		fails("cocker-pod@bad", "bad", `/etc/cocker/pods/bad.toml:1: unknown key "hostnam"`, "hostname")
		declarePod(t, h, "bad", "[network]\nmode = 'host'\n")
		fails("cocker-pod@bad", "bad", `/etc/cocker/pods/bad.toml:2:`, "a pod has a network of its own")
		declarePod(t, h, "bad", "[service]\nRestart = 'no'\n")
		fails("cocker-pod@bad", "bad", `/etc/cocker/pods/bad.toml:2: service.Restart: a pod's file has no [service]`)
		declare(t, h, map[string]string{"lonely": inPod("bad", "exec sleep 1000000")})
		fails("cocker@lonely", "bad", `/etc/cocker/pods/bad.toml:2:`)
		h.MustRun(t, "rm /etc/cocker/containers/lonely.toml")
		declarePod(t, h, "bad", "[network]\nmode = 'none'\n")
		refused(t, h, "double", "image = 'demo'\npod = 'bad'\nhostname = 'x'\n", "double.toml:3:", "pods/bad.toml")
		refused(t, h, "double", "image = 'demo'\npod = 'bad'\n[network]\nmode = 'none'\n", "double.toml:4:", "pods/bad.toml")
		refused(t, h, "double", "image = 'demo'\npod = '../x'\n", "double.toml:2:", "no valid pod name")

		// A port that is taken makes neither pod nor container, and leaves nothing.
		start(t, h, "holder", web("holder", "ports = ['8088:80']"))
		declarePod(t, h, "taken", "[network]\nports = ['8088:80']\n")
		fails("cocker-pod@taken", "taken", "8088/tcp", "holder")
		declare(t, h, map[string]string{"lonely": inPod("taken", "exec sleep 1000000")})
		fails("cocker@lonely", "taken", "pod taken is not up", "systemctl status cocker-pod@taken")
	})
}
