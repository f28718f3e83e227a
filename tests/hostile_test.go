package tests

import (
	"fmt"
	"testing"

	"github.com/cocker/cocker/tests/host"
)

// fifo(7): whoever opens a fifo for reading waits for a writer. An image must not
// make a start hang that way.
func TestFifosOfTheImageDoNotHang(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		for i, file := range []string{"passwd", "group", "hosts", "hostname"} {
			image := fmt.Sprintf("fifo:%d", i+1)
			importTree(t, h, image, "mkdir etc && mkfifo etc/"+file)
			refused(t, h, fmt.Sprintf("fifo-%d", i), "images = ['demo', '"+image+"']\n"+sh("true"), "no regular file", "/etc/"+file)
		}
	})
}

// The kernel says "no such file" of a file that is there, or nothing before
// execve(2). With init = "none" the unit would count as started by then.
func TestCommandsThatCannotBeExecuted(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		importTree(t, h, "broken:1", `mkdir broken && echo garbage >broken/garbage && printf '#!/no/such/shell\n' >broken/script &&
			cp /bin/ls broken/dynamic && : >broken/plain && chmod 755 broken/* && chmod 644 broken/plain`)
		for _, init := range inits {
			for command, reason := range map[string]string{
				"/broken/garbage": "is no program for this machine",
				"/broken/script":  `needs "/no/such/shell" to run it`,
				"/broken/dynamic": "to run it, which is not in the container",
				"/broken/plain":   "is not executable",
				"/broken":         "is a directory",
				"/nothing":        "is not in the container",
			} {
				refused(t, h, "broken", fmt.Sprintf("images = ['demo', 'broken:1']\ninit = '%s'\ncommand = ['%s']\n", init, command), reason)
			}
		}
	})
}

// `cocker run` in the foreground is over when its caller is, at whatever moment of
// the start that ends.
func TestCallerKilledDuringTheStart(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		before := h.Snapshot(t)
		for i := range 12 {
			init := inits[i%len(inits)]
			h.MustRun(t, `cocker run --rm --name caller --init "$1" --user 33 demo sleep 1000 >/dev/null 2>&1 </dev/null & client=$!
				timeout 60 sh -c 'until [ -e /run/cocker/state/caller.json ]; do :; done'
				for n in $(seq "$2"); do :; done
				kill -9 $client; wait $client 2>/dev/null; :`, init, fmt.Sprint(i*2000))
			h.WaitFor(t, eventually, "the scope's end", `! systemctl is-active --quiet cocker-caller.scope && ! [ -e /run/cocker/containers/caller.toml ] && ! [ -e /var/lib/cocker/containers/caller ]`)
		}
		h.AssertClean(t, before)
	})
}

// PID 1 is not gone before it has waited for all of its namespace (pid_namespaces(7)),
// among them a guest that somebody outside does not wait for. The container's cgroup is
// empty before that, and for systemd its end has come; the cleanup waits.
func TestEndThatTakesLong(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		const state = `jq -r .leader /run/cocker/state/dying.json`
		for _, options := range [][]string{{"--rm"}, nil} {
			client := startRun(t, h, append(options, "--name", "dying", "demo", "sh", "-c", "echo up; exec sleep 1000")...)
			h.MustRun(t, `systemd-run -q --unit=guest nsenter --target "$(`+state+`)" --pid sleep 1000`)
			h.WaitFor(t, eventually, "the guest", `pgrep --parent "$(systemctl show -P MainPID guest)" sleep`)
			h.MustRun(t, `systemctl kill --kill-whom=main --signal=STOP guest`)
			h.WaitFor(t, eventually, "its stop", `grep -q '^State:.T' "/proc/$(systemctl show -P MainPID guest)/status"`)
			if err := client.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = client.Wait()
			h.WaitFor(t, eventually, "the scope's end", `! systemctl is-active --quiet cocker-dying.scope`)
			h.WaitFor(t, eventually, "the cleanup", `systemctl list-units --plain --no-legend 'cocker-*@dying.service' | grep 'deactivating\|failed'`)
			if h.Run(t, "[ -e /proc/$("+state+") ]").ExitCode != 0 {
				t.Error("the test is not testing: PID 1 is gone")
			}
			if options == nil {
				h.MustRun(t, `timeout 2 cocker rm dying; [ $? = 124 ]`) // it waits for the cleanup, which works on the same data
			}
			h.MustRun(t, `systemctl kill --kill-whom=main --signal=CONT guest; systemctl stop guest; systemctl reset-failed guest 2>/dev/null || :`)
			h.WaitFor(t, eventually, "nothing of it", `! [ -e /run/cocker/state/dying.json ] && ! systemctl list-units --all --plain --no-legend 'cocker-*dying*' | grep .`)
			if options == nil {
				h.MustRun(t, "cocker rm dying")
			}
			h.MustRun(t, `! ls -d /run/cocker/containers/dying.toml /var/lib/cocker/containers/dying 2>/dev/null`)
		}
	})
}
