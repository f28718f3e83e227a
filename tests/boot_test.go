package tests

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cocker/cocker/tests/host"
)

// onOwnHost runs a test on a host of each release that is nobody else's.
func onOwnHost(t *testing.T, test func(t *testing.T, h *host.Host)) {
	t.Helper()
	for _, release := range host.Releases() {
		t.Run(string(release), func(t *testing.T) {
			t.Parallel()
			h := host.Start(t, release, host.WithCocker())
			h.MustRun(t, "cocker image demo >/dev/null")
			test(t, h)
		})
	}
}

// bootFiles are containers that start at boot, each for a reason of its own.
func bootFiles() map[string]string {
	const count = "echo boot >>/boots; "
	return map[string]string{
		"enabled":  "image = 'demo'\n" + sh(count+"exec httpd -f -h /srv/www") + "[network]\nports = ['8080:80']\naddress = '10.88.1.1'\n",
		"declared": "image = 'demo'\n" + sh(count+"exec sleep 1000") + "[install]\nwanted_by = ['multi-user.target']\n",
		"needed":   "image = 'demo'\n" + sh(count+"exec sleep 1000"),
		"needing": "image = 'demo'\n" + sh(count+"exec sleep 1000") +
			"[unit]\nrequires = ['cocker@needed.service']\nafter = ['cocker@needed.service']\n[install]\nwanted_by = ['multi-user.target']\n",
		"mounts": "image = 'demo'\nmount = [{ type = 'bind', source = '/mnt/data/sub', target = '/data' }]\n" +
			sh(count+"exec sleep 1000") + "[install]\nrequired_by = ['multi-user.target']\n",
		"idle": "image = 'demo'\n",
	}
}

const started = "declared enabled mounts needed needing"

// prepareBoot declares the containers, and starts none.
func prepareBoot(t *testing.T, h *host.Host) {
	t.Helper()
	h.WriteFile(t, "/etc/systemd/system/mnt-data.mount", "[Mount]\nWhat=tmpfs\nWhere=/mnt/data\nType=tmpfs\n", 0o644)
	// Its directory exists on the mounted file system only: the order counts.
	h.WriteFile(t, "/etc/systemd/system/data-sub.service", "[Unit]\nRequiresMountsFor=/mnt/data\n"+
		"[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/mkdir -p /mnt/data/sub\n", 0o644)
	h.WriteFile(t, "/etc/systemd/system/cocker@mounts.service.d/sub.conf", "[Unit]\nRequires=data-sub.service\nAfter=data-sub.service\n", 0o644)
	declare(t, h, bootFiles())
	h.MustRun(t, "systemctl enable cocker@enabled")
}

// assertBooted asserts that the host has come up for the n-th time with its containers.
func assertBooted(t *testing.T, h *host.Host, n int) {
	t.Helper()
	if h.State != "running" {
		t.Errorf("boot %d: the system is %s:\n%s", n, h.State, h.MustRun(t, "systemctl --failed --no-legend; systemctl list-jobs"))
	}
	running := h.MustRun(t, `cocker ps --json | jq -r '.[] | select(.state=="running").name' | sort | xargs`)
	if running != started {
		t.Errorf("boot %d: running are %q", n, running)
	}
	for _, name := range strings.Fields(started) {
		h.WaitFor(t, eventually, fmt.Sprintf("boot %d in %s", n, name),
			`[ "$(wc -l <"/proc/$(systemctl show -P MainPID cocker@"$1")/root/boots")" = "$2" ]`, name, fmt.Sprint(n))
	}
	if got := strings.TrimSpace(h.Outside(t, "{ "+get+"; } | grep -o Hello", hostAddress+":8080").Stdout); got != "Hello" {
		t.Errorf("boot %d: outside gets %q", n, got)
	}
	h.MustRun(t, `findmnt -n /mnt/data >/dev/null && [ -e "/proc/$(systemctl show -P MainPID cocker@mounts)/root/data" ]`)
	times := strings.Fields(h.MustRun(t, "systemctl show -P ActiveEnterTimestampMonotonic cocker@needed; systemctl show -P InactiveExitTimestampMonotonic cocker@needing"))
	if len(times[0]) > len(times[1]) || len(times[0]) == len(times[1]) && times[0] > times[1] {
		t.Errorf("boot %d: needed was up at %s, needing was started at %s", n, times[0], times[1])
	}
	assertNothingDoubled(t, h)
}

// assertNothingDoubled asserts that each running container has one of everything.
func assertNothingDoubled(t *testing.T, h *host.Host) {
	t.Helper()
	h.MustRun(t, `n=$(cocker ps --json | jq 'length')
		check() { [ "$2" = "$n" ] || { echo "$n containers, but $2 $1" >&2; exit 1; }; }
		check leases "$(ls /run/cocker/networks/cocker0/by-address | wc -l)"
		check names "$(ls /run/cocker/networks/cocker0/by-name | wc -l)"
		check states "$(ls /run/cocker/state | wc -l)"
		check links "$(ip -o link show master cocker0 | wc -l)"
		check machines "$(machinectl list --no-legend | wc -l)"
		check addresses "$(cocker ps --json | jq -r '.[].address' | sort -u | wc -l)"
		check ranges "$(ls /var/lib/cocker/idranges | wc -l)"
		[ "$(nft -j list map inet cocker ports4 | jq '[.nftables[]|.map.elem//empty|.[]]|length')" = 1 ]`)
}

func TestBoot(t *testing.T) {
	onOwnHost(t, func(t *testing.T, h *host.Host) {
		prepareBoot(t, h)
		ids := ""
		for n := 1; n <= 2; n++ {
			h.Reboot(t)
			assertBooted(t, h, n)
			now := h.MustRun(t, "cd /proc; for c in "+started+"; do p=$(systemctl show -P MainPID cocker@$c); cat $p/root/etc/machine-id; awk '{print $2}' $p/uid_map; done")
			if ids != "" && now != ids {
				t.Errorf("machine IDs and id ranges were\n%s\nand are\n%s", ids, now)
			}
			ids = now
		}
		h.PowerCut(t)
		assertBooted(t, h, 3)
		h.MustRun(t, "timeout 60 systemctl stop 'cocker@*.service' && cocker check")
		if left := h.MustRun(t, "ls /run/cocker/state /run/cocker/networks/cocker0/by-address /run/cocker/networks/cocker0/by-name; ip -o link show master cocker0; machinectl list --no-legend"); strings.Contains(left, "10.88") || strings.Contains(left, "json") {
			t.Errorf("left after all:\n%s", left)
		}
	})
}

// A power cut in the middle of starts and imports: the next boot has nothing half-made.
func TestPowerCutInTheMiddle(t *testing.T) {
	onOwnHost(t, func(t *testing.T, h *host.Host) {
		files := map[string]string{}
		for i := range 8 {
			files[fmt.Sprintf("c%d", i)] = fmt.Sprintf("image = 'demo'\n[network]\nports = ['%d:80']\n[install]\nwanted_by = ['multi-user.target']\n", 8100+i)
		}
		declare(t, h, files)
		h.MustRun(t, `mkdir -p /root/tree && cp -r /usr/share/zoneinfo /usr/bin/busybox /root/tree/
			systemctl start --no-block 'cocker@c0' cocker@c1 cocker@c2 cocker@c3
			(cocker image import /root/tree half:1 >/dev/null 2>&1 &)
			until [ -e /run/cocker/state/c0.json ]; do :; done`)
		h.PowerCut(t)
		if h.State != "running" {
			t.Errorf("the system is %s: %s", h.State, h.MustRun(t, "systemctl --failed --no-legend"))
		}
		h.MustRun(t, `[ "$(cocker ps --json | jq '[.[]|select(.state=="running")]|length')" = 8 ]`)
		for i := range 8 {
			h.MustRun(t, "{ "+get+"; } | grep -q Hello", fmt.Sprintf("127.0.0.1:%d", 8100+i))
		}
		h.MustRun(t, `cocker image import /root/tree half:1 >/dev/null && cocker run --rm half:1 /busybox true`)
		h.MustRun(t, `cocker image rm half:1 && systemctl stop 'cocker@*.service' && cocker rm c0 c1 c2 c3 c4 c5 c6 c7
			[ -z "$(ls /var/lib/cocker/containers /var/lib/cocker/idranges | grep -v : )" ]
			[ "$(find /var/lib/cocker/layers -mindepth 2 -maxdepth 2 | wc -l)" = "$(cocker image inspect --json demo | jq '.layers|length')" ]`)
	})
}
