package tests

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cocker/cocker/tests/host"
)

// losses are the ways in which a file goes while its container runs. systemd
// notices at the next daemon-reload, which anybody may ask for.
var losses = []struct{ name, script string }{
	{"deleted", `rm "$1"`},
	{"deleted, reloaded", `rm "$1" && systemctl daemon-reload`},
	{"made invalid, reloaded", `echo 'memory_max = {' >"$1" && systemctl daemon-reload`},
}

const lostFile = "/etc/cocker/containers/lost.toml"

// holds is a container that holds of the host whatever a container can.
func holds(init string) string {
	return fmt.Sprintf("image = 'demo'\ninit = '%s'\n", init) + sh(`trap 'exit 0' TERM; echo data >/written; while :; do sleep 0.02; done`) +
		"[network]\naddress = '10.88.9.9'\nports = ['8091:80']\n[resources]\nmemory_max = '64M'\n"
}

// A container whose file is gone can be stopped in every way, and its cleanup does
// not need the file.
func TestLostFileIsStoppable(t *testing.T) {
	stops := []string{`systemctl stop cocker@lost`, `cocker stop lost`, `machinectl poweroff lost`, `cocker kill lost`}
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		for i, loss := range losses {
			for j, stop := range stops {
				init := inits[(i+j)%len(inits)]
				if strings.HasPrefix(stop, "machinectl") {
					init = "cocker" // it sends SIGRTMIN+4, which is for an init
				}
				clean := h.Snapshot(t)
				start(t, h, "lost", holds(init))
				h.WaitFor(t, eventually, "the command", "test -s /var/lib/cocker/containers/lost/upper/written")
				h.MustRun(t, loss.script, lostFile)
				h.MustRun(t, "timeout 60 "+stop)
				h.WaitFor(t, eventually, loss.name+": the end by "+stop, "! systemctl --quiet is-active cocker@lost && ! pgrep -x cocker-launch")
				h.MustRun(t, "systemctl reset-failed cocker@lost 2>/dev/null || :")
				assertStopped(t, h, clean)
				if init == "cocker" && !strings.Contains(stop, "kill") {
					if log := h.MustRun(t, `journalctl --sync; journalctl -q -o cat -u cocker@lost | tail -n 5`); strings.Contains(log, "Failed with result") {
						t.Errorf("%s, %s: %s", loss.name, stop, log)
					}
				}
			}
		}
	})
}

// What runs without a file is shown as that, with all that it holds; a restart that
// would end it for good is refused, and "cocker rm" takes away what it wrote.
func TestLostFileIsReported(t *testing.T) {
	const gone = "its file is gone"
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		for _, loss := range losses[:2] {
			clean := h.Snapshot(t)
			start(t, h, "lost", holds("cocker"))
			pid := mainPID(t, h, "lost")
			h.MustRun(t, loss.script, lostFile)

			if got, want := psCells(t, h, "lost"), "demo|running (no file)|10.88.9.9|8091:80"; got != want {
				t.Errorf("%s: cocker ps: %s, want %s", loss.name, got, want)
			}
			for _, script := range []string{`cocker ps --json | jq -r '.[]|select(.name == "lost")|.problem'`, `cocker inspect --json lost | jq -r '.problems[]'`, `cocker check 2>&1`,
				`cocker check --json | jq -r '.warnings[]|select(.container == "lost")|.text'`} {
				if got := h.MustRun(t, script); !strings.Contains(got, gone) || !strings.Contains(got, "cocker rm --force lost") {
					t.Errorf("%s: %s: %s", loss.name, script, got)
				}
			}
			if r := h.Run(t, "cocker restart lost"); r.ExitCode != 1 || !strings.Contains(r.Stderr, "lost runs on") || mainPID(t, h, "lost") != pid {
				t.Errorf("%s: cocker restart: exit status %d, %s", loss.name, r.ExitCode, r.Stderr)
			}
			if r := h.Run(t, "cocker rm lost"); r.ExitCode != 1 || !strings.Contains(r.Stderr, "--force") {
				t.Errorf("%s: cocker rm of a container that runs: exit status %d, %s", loss.name, r.ExitCode, r.Stderr)
			}

			h.MustRun(t, "cocker stop lost")
			for _, script := range []string{`cocker check 2>&1`, `cocker start lost 2>&1 || :`} {
				if got := h.MustRun(t, script); !strings.Contains(got, "cocker rm lost") {
					t.Errorf("%s: %s when it has stopped: %s", loss.name, script, got)
				}
			}
			if got := psCells(t, h, "lost"); got != "-|no file|-|-" {
				t.Errorf("%s: cocker ps -a when it has stopped: %s", loss.name, got)
			}
			h.MustRun(t, `test data = "$(cat /var/lib/cocker/containers/lost/upper/written)" && cocker rm lost && ! cocker check 2>&1 | grep lost`)
			h.AssertClean(t, clean)
		}
	})
}

// "cocker rm --force" of what runs without a file is all it takes to be rid of it.
func TestLostFileIsRemoved(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		for _, loss := range losses[:2] {
			clean := h.Snapshot(t)
			start(t, h, "lost", holds("cocker"))
			h.MustRun(t, "systemctl enable cocker@lost 2>/dev/null")
			h.MustRun(t, loss.script, lostFile)
			h.MustRun(t, "cocker rm --force lost && ! systemctl is-enabled cocker@lost >/dev/null")
			if got := h.MustRun(t, "cocker ps -a --json"); got != "[]" {
				t.Errorf("%s: cocker ps -a: %s", loss.name, got)
			}
			h.AssertClean(t, clean)
		}
	})
}

// A file that was made invalid keeps what is right in it: systemd applies the limits
// of a unit that runs when it reads them.
func TestFileMadeInvalid(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		start(t, h, "lost", holds("cocker")+"[service]\nTimeoutStopSec = '77s'\n")
		pid := mainPID(t, h, "lost")
		h.MustRun(t, `sed -i 's/^init =.*/init = "coker"/' "$1" && systemctl daemon-reload`, lostFile)
		assertProperties(t, h, "lost", map[string]string{"MemoryMax": "67108864", "TimeoutStopUSec": "1min 17s", "ActiveState": "active", "MainPID": pid})
		if got, want := psCells(t, h, "lost"), "demo|running (bad file)|10.88.9.9|8091:80"; got != want {
			t.Errorf("cocker ps: %s, want %s", got, want)
		}
		if r := h.Run(t, "cocker check"); r.ExitCode != 1 || !strings.Contains(r.Stderr, lostFile+":2: init:") {
			t.Errorf("cocker check: exit status %d, %s", r.ExitCode, r.Stderr)
		}
		if r := h.Run(t, "cocker restart lost"); r.ExitCode != 1 || !strings.Contains(r.Stderr, "lost runs on") || mainPID(t, h, "lost") != pid {
			t.Errorf("cocker restart: exit status %d, %s", r.ExitCode, r.Stderr)
		}
		// systemctl asks nobody. The container ends, and its status says why it does not come back.
		if r := h.Run(t, "timeout 60 systemctl restart cocker@lost"); r.ExitCode != 1 {
			t.Errorf("systemctl restart: exit status %d", r.ExitCode)
		}
		if status := statusOf(t, h, "lost"); !strings.Contains(status, lostFile+":2: init:") {
			t.Errorf("status:\n%s", status)
		}
	})
}

// A renamed file is another container: it starts as new, beside the old one, and
// gets what that holds when it has ended.
func TestRenamedFile(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		start(t, h, "lost", holds("cocker"))
		h.MustRun(t, `mv "$1" /etc/cocker/containers/renamed.toml && systemctl daemon-reload`, lostFile)
		failsToStart(t, h, "renamed", "10.88.9.9", "lost")
		h.MustRun(t, `sed -i '/^address/d' /etc/cocker/containers/renamed.toml`)
		failsToStart(t, h, "renamed", "port 8091", "used by container lost")
		assertProperties(t, h, "lost", map[string]string{"ActiveState": "active", "SubState": "running"})

		h.MustRun(t, "cocker stop lost && cocker start renamed")
		h.WaitFor(t, eventually, "the command", "test -s /var/lib/cocker/containers/renamed/upper/written")
		assertProperties(t, h, "renamed", map[string]string{"ActiveState": "active", "MemoryMax": "67108864"})
		h.MustRun(t, `test "$(cocker ps --json | jq -r '.[].name')" = renamed && cocker rm lost && systemctl is-active -q cocker@renamed`)
	})
}

// psCells are the image, state, address and ports of a container in the table of
// "cocker ps -a".
func psCells(t *testing.T, h *host.Host, name string) string {
	t.Helper()
	row := h.MustRun(t, `cocker ps -a | sed -n "s/^$1  *//p" | sed 's/   */|/g'`, name)
	cells := strings.Split(row, "|")
	if len(cells) != 5 {
		return row
	}
	return strings.Join(append(cells[:2:2], cells[3:]...), "|")
}
