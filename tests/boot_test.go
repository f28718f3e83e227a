package tests

import (
	"fmt"
	"strconv"
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
		boots := []func(testing.TB){h.Reboot, h.Reboot, h.PowerCut}
		if h.Virtual { // where each takes half a minute
			boots = boots[1:]
		}
		for n, next := range boots {
			h.MustRun(t, "sync --file-system /var/lib/cocker") // the containers' /boots must outlive the power cut
			next(t)
			assertBooted(t, h, n+1)
			now := h.MustRun(t, "cd /proc; for c in "+started+"; do p=$(systemctl show -P MainPID cocker@$c); cat $p/root/etc/machine-id; awk '{print $2}' $p/uid_map; done; cocker ps --json | jq -r .[].address")
			if ids != "" && now != ids {
				t.Errorf("machine IDs, id ranges and addresses were\n%s\nand are\n%s", ids, now)
			}
			ids = now
		}
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

// failingFiles are containers that cannot or do not come up at boot, each for a reason
// of its own; those that are said to have failed are in the second result.
func failingFiles() (files map[string]string, failed string) {
	const install = "[install]\nwanted_by = ['multi-user.target']\n"
	const sleeps = "image = 'demo'\ncommand = ['sleep', '10000']\n"
	files = map[string]string{
		"good":      sleeps + install,
		"bad-image": "image = 'nosuch:1'\n" + install,
		"bad-file":  "image = 'demo'\n" + install + "imagee = 'demo'\n",
		"exits":     "image = 'demo'\n" + sh("exit 1") + "[service]\nRestart = 'on-failure'\n" + install,
		"holder":    sleeps + "[network]\nports = ['8080:80']\n" + install,
		"taken":     sleeps + "[network]\nports = ['8080:80']\n[unit]\nafter = ['cocker@holder.service']\n" + install,
		"no-source": sleeps + "mount = [{ type = 'bind', source = '/srv/nosuch', target = '/data' }]\n" + install,
		"dependent": sleeps + "[unit]\nrequires = ['cocker@bad-image.service']\nafter = ['cocker@bad-image.service']\n" + install,
		"wanting":   sleeps + "[unit]\nwants = ['cocker@bad-image.service']\nafter = ['cocker@bad-image.service']\n" + install,
		"condition": sleeps + "[unit]\nConditionPathExists = '/srv/nosuch'\n" + install,
		"met":       sleeps + "[unit]\nConditionPathExists = '/etc/hostname'\nAssertPathExists = '/etc/hostname'\n" + install,
		"assertion": sleeps + "[unit]\nAssertPathExists = '/srv/nosuch'\n" + install,
		// Never ready: what waits for it, and what does not.
		"mute": sleeps + "notify_ready = true\n[service]\nTimeoutStartSec = 8\n" + install,
		"late": sleeps + "notify_ready = true\n[unit]\nafter = ['multi-user.target']\n[service]\nTimeoutStartSec = 4\n" + install,
	}
	return files, "bad-file bad-image exits late mute no-source taken"
}

// A container that fails fails alone; the boot goes on and says which it was.
func TestBootWithFailures(t *testing.T) {
	onOwnHost(t, func(t *testing.T, h *host.Host) {
		files, failed := failingFiles()
		declare(t, h, files)
		h.WriteFile(t, "/etc/systemd/system/login.service", "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n", 0o644)
		h.MustRun(t, "systemctl enable login")
		h.Reboot(t)
		if h.State != "degraded" {
			t.Errorf("the system is %s", h.State)
		}
		got := h.MustRun(t, `systemctl list-units --failed --plain --no-legend | awk '{print $1}' | sed 's/cocker@\(.*\).service/\1/' | sort | xargs
			cocker ps --json | jq -r '.[]|select(.state=="running").name' | sort | xargs
			systemctl is-active multi-user.target login | xargs
			systemctl show -P ConditionResult cocker@condition; systemctl show -P ActiveState cocker@condition cocker@assertion cocker@dependent | xargs`)
		if want := failed + "\ngood holder met wanting\nactive active\nno\ninactive inactive inactive"; got != want {
			t.Errorf("failed, running, reached, condition are\n%s\nwant\n%s", got, want)
		}
		assertBootWaits(t, h)
		assertReasonsAreSaid(t, h)
	})
}

// assertBootWaits asserts what has waited for containers that never got ready: the
// target that wants them, as for any service, unless they are ordered after it, and
// no other unit that it wants.
func assertBootWaits(t *testing.T, h *host.Host) {
	t.Helper()
	at := func(property, unit string) int {
		n, err := strconv.Atoi(h.MustRun(t, `systemctl show -P "$1" "$2"`, property, unit))
		if err != nil || n == 0 {
			t.Fatalf("%s of %s: %d, %v", property, unit, n, err)
		}
		return n
	}
	target, muteEnds := at("ActiveEnterTimestampMonotonic", "multi-user.target"), at("InactiveEnterTimestampMonotonic", "cocker@mute.service")
	if target < muteEnds {
		t.Errorf("multi-user.target was reached at %d, with a container it wants starting until %d", target, muteEnds)
	}
	if lateBegins := at("InactiveExitTimestampMonotonic", "cocker@late.service"); lateBegins < target {
		t.Errorf("a container ordered after multi-user.target was started at %d, the target reached at %d", lateBegins, target)
	}
	for _, unit := range []string{"login.service", "cocker@good.service", "cocker@wanting.service"} {
		if began := at("InactiveExitTimestampMonotonic", unit); began > muteEnds {
			t.Errorf("%s waited for a container that is no business of its: until %d, %d", unit, began, muteEnds)
		}
	}
}

// assertReasonsAreSaid asserts that systemctl status and the journal explain each of them.
func assertReasonsAreSaid(t *testing.T, h *host.Host) {
	t.Helper()
	for name, reason := range map[string]string{
		"bad-image": `image "nosuch:1"`, "bad-file": "/etc/cocker/containers/bad-file.toml:4", "exits": "status=1",
		"taken": "8080", "no-source": "/srv/nosuch", "mute": "(Result: timeout)", "condition": "ConditionPathExists=/srv/nosuch", "assertion": "AssertPathExists=/srv/nosuch",
		"dependent": "Dependency failed",
	} {
		if status := statusOf(t, h, name); !strings.Contains(status, reason) {
			t.Errorf("%q is not in the status of %s:\n%s", reason, name, status)
		}
	}
	if log := h.MustRun(t, "journalctl -q -o cat -t cocker-generator"); !strings.Contains(log, "bad-file.toml:4") && !h.Virtual {
		t.Errorf("the generator logged %q", log)
	}
}

// Containers start when what they stand on is there: their mounts, however late and
// however made, their network, the containers that they name.
func TestBootOrder(t *testing.T) {
	onOwnHost(t, func(t *testing.T, h *host.Host) {
		prepareBootOrder(t, h)
		h.Reboot(t)
		assertBootOrder(t, h)
	})
}

func prepareBootOrder(t *testing.T, h *host.Host) {
	t.Helper()
	keepJournal(t, h)
	const install = "[install]\nwanted_by = ['multi-user.target']\n"
	// As "nofail" in fstab(5): not before local-fs.target, which the disk's service comes after.
	const later = "DefaultDependencies=no\nConflicts=umount.target\nBefore=umount.target\n"
	for path, text := range map[string]string{
		// A disk that takes its time, and is neither waited for nor wanted by the boot.
		"slow-disk.service":  "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sh -c 'sleep 2; mkdir -p /mnt/.real/sub; echo real >/mnt/.real/sub/file'\n",
		"mnt-slow.mount":     "[Unit]\n" + later + "Requires=slow-disk.service\nAfter=slow-disk.service\n[Mount]\nWhat=/mnt/.real\nWhere=/mnt/slow\nType=none\nOptions=bind\n",
		"mnt-auto.mount":     "[Unit]\n" + later + "Requires=slow-disk.service\nAfter=slow-disk.service\n[Mount]\nWhat=/mnt/.real\nWhere=/mnt/auto\nType=none\nOptions=bind\n",
		"mnt-auto.automount": "[Automount]\nWhere=/mnt/auto\n[Install]\nWantedBy=multi-user.target\n",
	} {
		h.WriteFile(t, "/etc/systemd/system/"+path, text, 0o644)
	}
	reads := func(directory string) string {
		return "image = 'demo'\nmount = [{ type = 'bind', source = '" + directory + "', target = '/data', read_only = true }]\n" +
			sh("cat /data/file && exec sleep 10000") + install
	}
	declare(t, h, map[string]string{
		"on-slow": reads("/mnt/slow/sub"),
		"on-auto": reads("/mnt/auto/sub"),
		// Ready when it says so; and a chain behind it.
		"first":  "images = ['demo', 'tools:1']\nnotify_ready = true\n" + sh(`sleep 2; printf READY=1 | socat -u - UNIX-SENDTO:$NOTIFY_SOCKET; exec sleep 10000`) + install,
		"second": "image = 'demo'\n[unit]\nrequires = ['cocker@first.service']\nafter = ['cocker@first.service']\n" + install,
		"third":  "image = 'demo'\n[unit]\nwants = ['cocker@second.service']\nafter = ['cocker@second.service']\n" + install,
	})
	importTools(t, h)
	// The chain leads through what was ready last.
	h.WriteFile(t, "/etc/systemd/system/cocker-network@.service.d/slow.conf", "[Service]\nExecStartPre=/bin/sleep 1\n", 0o644)
	h.MustRun(t, "systemctl enable mnt-auto.automount && rm -rf /mnt/.real")
}

func assertBootOrder(t *testing.T, h *host.Host) {
	t.Helper()
	if h.State != "running" {
		t.Errorf("the system is %s:\n%s", h.State, h.MustRun(t, "systemctl --failed --no-legend"))
	}
	times := map[string][2]int{} // when the start began, when it was complete
	for line := range strings.Lines(h.MustRun(t, `for u in slow-disk.service mnt-slow.mount mnt-auto.mount cocker-network@cocker0.service network.target systemd-journald.service \
		cocker@on-slow.service cocker@on-auto.service cocker@first.service cocker@second.service cocker@third.service
		do echo $u $(systemctl show -P InactiveExitTimestampMonotonic $u) $(systemctl show -P ActiveEnterTimestampMonotonic $u); done`)) {
		var unit string
		var began, complete int
		if _, err := fmt.Sscan(line, &unit, &began, &complete); err != nil || began == 0 || complete == 0 {
			t.Fatalf("%q: %v", line, err)
		}
		times[unit] = [2]int{began, complete}
	}
	for _, pair := range []string{
		"slow-disk.service mnt-slow.mount", "mnt-slow.mount cocker@on-slow.service", "mnt-auto.mount cocker@on-auto.service",
		"cocker-network@cocker0.service cocker@first.service", "network.target cocker@first.service",
		"cocker@first.service cocker@second.service", "cocker@second.service cocker@third.service",
	} {
		first, then, _ := strings.Cut(pair, " ")
		if times[first][1] > times[then][0] {
			t.Errorf("%s was complete at %d, the start of %s began at %d", first, times[first][1], then, times[then][0])
		}
	}
	for _, name := range []string{"on-slow", "on-auto"} {
		if got := inside(t, h, name, "cat /data/file"); got != "real" {
			t.Errorf("%s reads %q", name, got)
		}
	}
	assertBootIsExplained(t, h, times)
}

// assertBootIsExplained asserts that systemd-analyze has the times of containers: a
// container's time is that until it was ready, and a chain leads through what it
// waited for.
func assertBootIsExplained(t *testing.T, h *host.Host, times map[string][2]int) {
	t.Helper()
	blame := h.MustRun(t, "systemd-analyze blame --no-pager")
	for _, unit := range []string{"cocker@first.service", "cocker@on-slow.service", "cocker-network@cocker0.service"} {
		if !strings.Contains(blame, " "+unit+"\n") {
			t.Errorf("systemd-analyze blame does not name %s:\n%s", unit, blame)
		}
	}
	if took := times["cocker@first.service"][1] - times["cocker@first.service"][0]; took < 2_000_000 {
		t.Errorf("a container that was ready after 2 s took %d us", took)
	}
	chain := h.MustRun(t, "systemd-analyze critical-chain --no-pager cocker@third.service")
	place := -1
	for _, unit := range []string{"cocker@third.service +", "cocker@second.service @", "cocker@first.service @", "cocker-network@cocker0.service @"} {
		at := strings.Index(chain, unit)
		if at <= place {
			t.Errorf("%q is not in its place in the chain:\n%s", unit, chain)
		}
		place = at
	}
}

// The generator runs before anything is mounted but / and /usr: it reads nothing else,
// and what it writes goes where it is told.
func TestGeneratorReadsOnlyEtcRunUsr(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		files, _ := failingFiles()
		for name, text := range files { // systemd itself need not read them
			h.WriteFile(t, "/etc/cocker/containers/"+name+".toml", text, 0o644)
		}
		h.MustRun(t, "mkdir -p /tmp/generated && mkdir -p /etc/cocker/containers/good.toml.d && echo 'image = 1' >/etc/cocker/containers/good.toml.d/10.toml")
		touched := h.MustRun(t, `strace -f -qq -o /tmp/trace -e trace=%file /usr/lib/systemd/system-generators/cocker-generator /tmp/generated /tmp/generated /tmp/generated 2>/dev/null
			grep -o '"/[^"]*"' /tmp/trace | tr -d '"' | grep -v '^/etc/\|^/run/\|^/usr/\|^/proc/self/\|^/tmp/generated' | sort -u | xargs; rm -rf /tmp/generated /tmp/trace`)
		// The log is the kernel's; Go's runtime asks for the size of huge pages.
		if touched != "/dev/kmsg /sys/kernel/mm/transparent_hugepage/hpage_pmd_size" {
			t.Errorf("the generator touches %q", touched)
		}
	})
}
