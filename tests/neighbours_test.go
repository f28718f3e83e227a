package tests

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/cocker/cocker/tests/host"
)

// A container does its worst, within limits as a careful administrator sets them and
// with those that it has by default: the host and the containers beside it answer
// meanwhile, it stops as any other, and nothing is left.
func TestVMNeighbours(t *testing.T) {
	onVirtualHost(t, func(t *testing.T, h *host.Host) {
		fs := quotaFilesystems()[0]
		onFilesystem(t, h, fs, func() {
			turnOnQuota(t, h, fs)
			u := startUndisturbed(t, h)
			for _, part := range []struct {
				name string
				test func(t *testing.T, h *host.Host, u *undisturbed)
			}{
				{"fork bomb", vmForkBomb}, {"memory hog", vmMemoryHog}, {"full layer", vmFullLayer},
				{"files", vmFiles}, {"flood of lines", vmFlood},
			} {
				t.Run(part.name, func(t *testing.T) { part.test(t, h, u) })
			}
			u.end(t)
		})
	})
}

// beside starts a hostile container, whose file is HOSTILE, waits until it is at its
// worst, and asserts that nobody else suffers, and that it stops and goes like others.
func (u *undisturbed) beside(t *testing.T, what, toml string, worst func()) {
	t.Helper()
	h := u.h
	before := settled(t, h)
	start(t, h, "hostile", "image = 'demo'\n"+toml)
	u.others = []string{"hostile"}
	defer func() { u.others = nil }()
	worst()
	u.assert(t, what)
	assertHostResponds(t, h, what)

	h.MustRun(t, "timeout 200 systemctl stop cocker@hostile")
	// Neither killed because it took longer than it may, nor anything else.
	if result := properties(t, h, "hostile", "Result", "ActiveState"); result["Result"] != "success" || result["ActiveState"] != "inactive" {
		t.Errorf("after the stop of what was a %s: %v\n%s", what, result, statusOf(t, h, "hostile"))
	}
	assertStopped(t, h, before)
	h.MustRun(t, "timeout 200 cocker rm hostile")
	h.AssertClean(t, before)
}

// assertHostResponds asserts that an administrator can log in, start processes, ask
// systemd and go into a container that does no harm, and that what is logged arrives.
func assertHostResponds(t *testing.T, h *host.Host, meanwhile string) {
	t.Helper()
	for what, script := range map[string]string{
		"processes of the host": "for i in $(seq 50); do /bin/true || exit; done",
		"a login":               `[ "$(su -l root -c 'echo in')" = in ]`,
		"systemctl":             "systemctl is-active --quiet dbus.service && systemctl status --no-pager cocker@hostile.service >/dev/null",
		"a service":             "systemd-run --quiet --wait /bin/true",
		"cocker exec":           `[ "$(cocker exec web echo in)" = in ]`,
		"cocker stats":          "cocker stats --no-stream --interval 200ms | grep -q '^hostile '",
		"a line of the host":    `logger -t neighbours "$1" && until journalctl -q -o cat -b -t neighbours | grep -qxF "$1"; do sleep 0.1; done`,
	} {
		if r := h.Run(t, `timeout 200 sh -c "$2" sh "$1"`, meanwhile, script); r.ExitCode != 0 {
			t.Errorf("%s while there is a %s: exit status %d, %s%s", what, meanwhile, r.ExitCode, r.Stdout, r.Stderr)
		}
	}
}

// ofHostile is the sum of what files of a name count, in the container's cgroup and
// those below.
const ofHostile = `counted() { find "/sys/fs/cgroup$(systemctl show -P ControlGroup cocker@hostile)" -name "$2" -exec sed -n "s/^$1 //p" {} + | awk '{ n += $1 } END { print n + 0 }'; }; `

// vmForkBomb: processes that only make more of themselves, up to what the file says, or
// to what systemd gives to each service.
func vmForkBomb(t *testing.T, h *host.Host, u *undisturbed) {
	const bomb = "bomb() { while :; do bomb & done; }; bomb & bomb & exec sleep 100000"
	for _, tt := range []struct{ what, limit, max string }{
		{"fork bomb", "[resources]\ntasks_max = 200\n", "200"},
		{"fork bomb with the default limit", "", h.MustRun(t, "systemctl show -P DefaultTasksMax")},
	} {
		u.beside(t, tt.what, sh(bomb)+tt.limit, func() {
			assertProperties(t, h, "hostile", map[string]string{"TasksMax": tt.max})
			h.WaitFor(t, eventually, "the limit", ofHostile+`[ "$(counted max pids.events)" -gt 0 ]`)
			// Who goes into it hits the same limit, if not by luck, and does not wait for ever.
			if r := h.Run(t, "timeout 200 cocker exec hostile true"); r.ExitCode != 0 && r.ExitCode != 125 && r.ExitCode != 126 {
				t.Errorf("cocker exec: exit status %d, %s", r.ExitCode, r.Stderr)
			}
		})
	}
}

// vmMemoryHog: whatever the kernel kills is in the container, for processes and for
// files in memory.
func vmMemoryHog(t *testing.T, h *host.Host, u *undisturbed) {
	const hog = "dd if=/dev/zero of=/dev/shm/hog bs=1M count=30; while :; do dd if=/dev/zero of=/dev/null bs=100M count=1; done 2>/dev/null"
	kills := h.MustRun(t, "sed -n 's/^oom_kill //p' /proc/vmstat")
	u.beside(t, "memory hog", sh(hog)+"[resources]\nmemory_max = '64M'\nmemory_swap_max = 0\n", func() {
		h.WaitFor(t, eventually, "five that were killed", ofHostile+`[ "$(counted oom_kill memory.events.local)" -ge 5 ]`)
		// The kernel goes on killing meanwhile, and counts for the host first.
		h.MustRun(t, ofHostile+`a=$(counted oom_kill memory.events.local); n=$(($(sed -n 's/^oom_kill //p' /proc/vmstat) - $1)); b=$(counted oom_kill memory.events.local)
			[ $a -le $n ] && [ $n -le $((b + 1)) ] || { echo "$n on the host, $a to $b in the container"; exit 1; }`, kills)
	})
}

// vmFullLayer: the layer is full, and neither the host's file system nor a neighbour's
// layer on it.
func vmFullLayer(t *testing.T, h *host.Host, u *undisturbed) {
	const free = "df --output=avail -B1M /var/lib/cocker | tail -n 1"
	before := megabytesOf(t, h.MustRun(t, free))
	u.beside(t, "full layer", sh("while :; do cat /dev/zero >>/filling; sleep 0.1; done 2>/dev/null")+"[resources]\ndisk_max = '20M'\n", func() {
		h.WaitFor(t, eventually, "the layer to be full", `cocker exec hostile dd if=/dev/zero of=/more bs=1M count=1 conv=fsync 2>&1 | grep 'No space left on device\|quota exceeded'`)
		if after := megabytesOf(t, h.MustRun(t, free)); before-after > 25 {
			t.Errorf("%dM were free on the host, and %dM are", before, after)
		}
		h.MustRun(t, "cocker exec web sh -c 'dd if=/dev/zero of=/mine bs=1M count=30 conv=fsync 2>/dev/null && rm /mine'")
	})
}

func megabytesOf(t *testing.T, text string) int {
	t.Helper()
	n, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// vmFiles: they are there, and gone with the container.
func vmFiles(t *testing.T, h *host.Host, u *undisturbed) {
	const used = "sync -f /var/lib/cocker; df --output=iused /var/lib/cocker | tail -n 1"
	const many = 100_000
	before := megabytesOf(t, h.MustRun(t, used))
	u.beside(t, "container with 100000 files", sh(fmt.Sprintf("mkdir /many && cd /many && seq %d | xargs touch && touch /done; exec sleep 100000", many)), func() {
		h.WaitFor(t, 5*eventually, "the files", "test -e /var/lib/cocker/containers/hostile/upper/done")
		if now := megabytesOf(t, h.MustRun(t, used)); now < before+many {
			t.Errorf("%d inodes were in use, and %d are", before, now)
		}
	})
	if after := megabytesOf(t, h.MustRun(t, used)); after > before+10 {
		t.Errorf("%d inodes were in use, and %d are", before, after)
	}
}

// vmFlood: journald leaves out what is too much for a service, and of others nothing. With
// its own limit, 10000 lines in 30 s and more, it has as much to do as it can.
func vmFlood(t *testing.T, h *host.Host, u *undisturbed) {
	const suppressed = `journalctl -q -o cat --since="$1" _TRANSPORT=driver | grep 'Suppressed [0-9]* messages from cocker@hostile.service'`
	for _, tt := range []struct{ what, limit string }{
		{"flood of lines", "[service]\nLogRateLimitIntervalSec = '5s'\nLogRateLimitBurst = 100\n"},
		{"flood of lines with journald's limit", ""},
	} {
		since := now(t, h)
		u.beside(t, tt.what, "command = ['yes', 'a line of many']\n"+tt.limit, func() {
			if tt.limit != "" {
				h.WaitFor(t, eventually, "journald to leave lines out", suppressed, since)
			}
			h.WaitFor(t, eventually, "lines", `journalctl -q -o cat --since="$1" -n 1 -u cocker@hostile | grep .`, since)
		})
	}
}

// A container at its limit has no room for one more thread of init either: init goes on,
// refuses what it cannot do, and ends the container when asked.
func TestInitWithoutAnotherThread(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		// The journal does not take as much as they write: a thread of init waits for each.
		toml := "image = 'demo'\n"
		for _, name := range []string{"main", "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k"} {
			toml += process(name, sh("until [ -e /begin ]; do sleep 0.1; done; exec yes"))
		}
		start(t, h, "full", toml)
		init := mainPID(t, h, "full")
		// Not the controller pids, which a host of namespaces may lack: init's own limit of
		// processes of its user, all those in the container (setrlimit(2)).
		h.MustRun(t, `prlimit --nproc=1 --pid "$1"`, init)
		inside(t, h, "full", ": >/begin")
		waiting := "eight threads that wait for the journal"
		h.WaitFor(t, eventually, waiting, `[ "$(cat /proc/"$1"/task/*/wchan | grep -o sock_alloc_send_pskb | wc -l)" -ge 8 ]`, init)
		if r := h.Run(t, "timeout 100 cocker exec full true"); r.ExitCode == 0 {
			t.Error("cocker exec: there was room for it")
		}
		h.MustRun(t, "timeout 100 systemctl stop cocker@full")
		if got := properties(t, h, "full", "Result", "ActiveState"); got["Result"] != "success" || got["ActiveState"] != "inactive" {
			t.Errorf("init has ended with %v:\n%s", got, statusOf(t, h, "full"))
		}
	})
}
