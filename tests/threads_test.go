package tests

import (
	"testing"

	"github.com/cocker/cocker/tests/host"
)

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
