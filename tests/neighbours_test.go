package tests

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/cocker/cocker/tests/host"
)

// worst is what a hostile container does, within limits as a careful administrator sets
// them or with those that it has by default.
type worst struct {
	what  string
	toml  string
	reach func(t *testing.T, h *host.Host) // waits until the container is at its worst, and tests that its limit holds
}

// While a container does its worst the host and the containers beside it answer; it stops
// as any other, and nothing is left.
func TestWorstNeighbours(t *testing.T) {
	onVirtualHost(t, func(t *testing.T, h *host.Host) {
		fs := quotaFilesystems()[0]
		onFilesystem(t, h, fs, func() {
			turnOnQuota(t, h, fs)
			u := startUndisturbed(t, h)
			for _, w := range []worst{forkBomb(t, h), memoryHog(t, h), fullLayer(t, h), manyFiles(t, h), floodOfLines(t, h)} {
				t.Run(w.what, func(t *testing.T) { u.beside(t, w) })
			}
			u.end(t)
		})
	})
}

// beside starts the container, whose file is HOSTILE, and asserts that nobody else suffers.
func (u *undisturbed) beside(t *testing.T, w worst) {
	t.Helper()
	h := u.h
	before := settled(t, h)
	start(t, h, "hostile", "image = 'demo'\n"+w.toml)
	u.others = []string{"hostile"}
	defer func() { u.others = nil }()
	w.reach(t, h)
	u.assert(t, w.what)
	assertHostResponds(t, h, w.what)

	h.MustRun(t, "timeout 200 systemctl stop cocker@hostile")
	// Neither killed because it took longer than it may, nor anything else.
	if result := properties(t, h, "hostile", "Result", "ActiveState"); result["Result"] != "success" || result["ActiveState"] != "inactive" {
		t.Errorf("after the stop of what was a %s: %v\n%s", w.what, result, statusOf(t, h, "hostile"))
	}
	h.MustRun(t, "timeout 200 cocker rm hostile")
	h.AssertClean(t, before)
}

// assertHostResponds asserts that an administrator can log in, start processes, ask
// systemd and go into a container that does no harm, and that what is logged arrives.
func assertHostResponds(t *testing.T, h *host.Host, meanwhile string) {
	t.Helper()
	r := h.Run(t, `timeout 300 sh -ec '
		step="a login"; trap "echo \"\$step\"" EXIT
		[ "$(su -l root -c "echo in")" = in ]
		step=systemctl; systemctl is-active --quiet dbus.service; systemctl status --no-pager cocker@hostile.service >/dev/null
		step="a service of the host"; systemd-run --quiet --wait /bin/true
		step="cocker exec"; [ "$(cocker exec web echo in)" = in ]
		step="cocker stats"; cocker stats --no-stream --interval 200ms | grep -q "^hostile "
		step="a line of the host"; logger -t neighbours "$1"; until journalctl -q -o cat -b -t neighbours | grep -qxF "$1"; do sleep 0.1; done
		step=' sh "$1"`, meanwhile)
	if r.ExitCode != 0 {
		t.Errorf("%s while there is a %s: exit status %d, %s", strings.TrimSpace(r.Stdout), meanwhile, r.ExitCode, r.Stderr)
	}
}

// ofHostile is the sum of what files of a name count, in the container's cgroup and
// those below.
const ofHostile = `counted() { find "/sys/fs/cgroup$(systemctl show -P ControlGroup cocker@hostile)" -name "$2" -exec sed -n "s/^$1 //p" {} + | awk '{ n += $1 } END { print n + 0 }'; }; `

// forkBomb: processes that only make more of themselves.
func forkBomb(*testing.T, *host.Host) worst {
	const bomb = "bomb() { while :; do bomb & done; }; bomb & bomb & exec sleep 100000"
	return worst{"fork bomb", sh(bomb) + "[resources]\ntasks_max = 300\n", func(t *testing.T, h *host.Host) {
		h.WaitFor(t, eventually, "the limit", ofHostile+`[ "$(counted max pids.events)" -gt 0 ]`)
		// Who goes into it hits the same limit, if not by luck, and does not wait for ever.
		if r := h.Run(t, "timeout 200 cocker exec hostile true"); r.ExitCode != 0 && r.ExitCode != 125 && r.ExitCode != 126 {
			t.Errorf("cocker exec: exit status %d, %s", r.ExitCode, r.Stderr)
		}
	}}
}

// memoryHog: whatever the kernel kills is in the container, for processes and for files in
// memory.
func memoryHog(*testing.T, *host.Host) worst {
	const hog = "dd if=/dev/zero of=/dev/shm/hog bs=1M count=30; while :; do dd if=/dev/zero of=/dev/null bs=100M count=1; done 2>/dev/null"
	return worst{"memory hog", sh(hog) + "[resources]\nmemory_max = '64M'\nmemory_swap_max = 0\n", func(t *testing.T, h *host.Host) {
		assertProperties(t, h, "hostile", map[string]string{"TasksMax": h.MustRun(t, "systemctl show -P DefaultTasksMax")})
		h.WaitFor(t, eventually, "five that were killed", ofHostile+`[ "$(counted oom_kill memory.events.local)" -ge 5 ]`)
		// That of the whole host is CONSTRAINT_NONE (oom_kill.c of Linux 6.1 to 6.18).
		others := h.MustRun(t, `pid=$(systemctl show -P MainPID cocker@hostile); begun=$(ps -o lstart= -p "$pid")
			journalctl -q -k -b -o cat --since "$(date -d "$begun" '+%F %T')" | grep '^oom-kill:' | grep -v 'constraint=CONSTRAINT_MEMCG.*hostile' || :`)
		if others != "" {
			t.Errorf("others were killed:\n%s", others)
		}
	}}
}

// fullLayer: the layer is full, and neither the host's file system nor a neighbour's layer
// on it.
func fullLayer(t *testing.T, h *host.Host) worst {
	const free = "df --output=avail -B1M /var/lib/cocker | tail -n 1"
	before := numberOf(t, h.MustRun(t, free))
	return worst{"full layer", sh("while :; do cat /dev/zero >>/filling; sleep 0.1; done 2>/dev/null") + "[resources]\ndisk_max = '20M'\n", func(t *testing.T, h *host.Host) {
		h.WaitFor(t, eventually, "the layer to be full", `cocker exec hostile dd if=/dev/zero of=/more bs=1M count=1 conv=fsync 2>&1 | grep 'No space left on device\|quota exceeded'`)
		if after := numberOf(t, h.MustRun(t, free)); before-after > 25 {
			t.Errorf("%dM were free on the host, and %dM are", before, after)
		}
		h.MustRun(t, "cocker exec web sh -c 'dd if=/dev/zero of=/mine bs=1M count=30 conv=fsync 2>/dev/null && rm /mine'")
	}}
}

func numberOf(t *testing.T, text string) int {
	t.Helper()
	n, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// manyFiles: 100000 of them; assertions of what is left are those of every container.
func manyFiles(t *testing.T, h *host.Host) worst {
	const used = "sync -f /var/lib/cocker; df --output=iused /var/lib/cocker | tail -n 1"
	const many = 100_000
	return worst{"container with 100000 files", sh(fmt.Sprintf("mkdir /many && cd /many && seq %d | xargs touch && touch /done; exec sleep 100000", many)), func(t *testing.T, h *host.Host) {
		h.WaitFor(t, 5*eventually, "the files", "test -e /var/lib/cocker/containers/hostile/upper/done")
		if now := numberOf(t, h.MustRun(t, used)); now < many {
			t.Errorf("%d inodes are in use", now)
		}
	}}
}

// floodOfLines: journald leaves out what is too much for a service, and says at the end of
// that time how much (journald.conf(5), RateLimitBurst=). Its own limit, which grows with
// the free space of the disk, is more than an emulated processor writes.
func floodOfLines(*testing.T, *host.Host) worst {
	const limit = "[service]\nLogRateLimitIntervalSec = '5s'\nLogRateLimitBurst = 1000\n"
	return worst{"flood of lines", "command = ['yes', 'a line of many']\n" + limit, func(t *testing.T, h *host.Host) {
		h.WaitFor(t, 2*eventually, "journald to leave lines out", `journalctl -q -b -o cat _TRANSPORT=driver | grep 'Suppressed [0-9]* messages from cocker@hostile.service'`)
	}}
}
