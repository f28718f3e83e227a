package tests

import (
	"context"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/tests/host"
)

// Ctrl-C ends a start that hangs, wherever it hangs, and leaves nothing.
func TestRunIsInterruptedBeforeTheStart(t *testing.T) {
	hangs := []struct{ name, begin, reached, end string }{
		{"before anything is made", // the launcher waits for the image store
			`systemd-run -q --unit=hold flock /var/lib/cocker/oci/.lock sleep 1000
			until grep -q "FLOCK.*WRITE.*:$(stat -c %i /var/lib/cocker/oci/.lock) " /proc/locks; do :; done`,
			`pgrep -f '^/usr/libexec/cocker/cocker-launch run hung$' && systemctl is-active -q cocker-hung.scope`, `systemctl stop hold`},
		{"with a PID 1", // it waits for machined
			`systemctl start systemd-machined && systemctl kill -s STOP systemd-machined`,
			`jq -e '.leader != 0' /run/cocker/state/hung.json`, `systemctl kill -s CONT systemd-machined`},
	}
	onEachRelease(t, func(t *testing.T, h *host.Host) {
		for _, hang := range hangs {
			for _, options := range [][]string{{"--rm"}, nil} {
				h.MustRun(t, hang.begin)
				signal := map[bool]unix.Signal{true: unix.SIGINT, false: unix.SIGTERM}[options == nil]
				ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
				cmd := h.Command(ctx, "cocker", append([]string{"run", "--name", "hung", "-p", "8094:80"}, append(options, "demo", "true")...)...)
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				h.WaitFor(t, eventually, "a start that hangs "+hang.name, hang.reached)
				if err := cmd.Process.Signal(signal); err != nil {
					t.Fatal(err)
				}
				if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 128+int(signal) {
					t.Errorf("%s, %v: %v, want exit status %d", hang.name, options, err, 128+int(signal))
				}
				cancel()
				h.MustRun(t, hang.end)
				nothingLeft(t, h)
			}
		}
	})
}

// What "rm --keep-data" kept is for a container of a file; a container of "run"
// would take it along when it is removed.
func TestRunRefusesKeptData(t *testing.T) {
	onEachRelease(t, func(t *testing.T, h *host.Host) {
		h.MustRun(t, "cocker create kept demo sh -c 'echo data >/kept-file' && systemctl start --wait cocker@kept && cocker rm --keep-data kept")
		for _, script := range []string{"cocker run --name kept demo nosuchcommand", "cocker run --rm --name kept demo true", "cocker run -d --rm --name kept demo true"} {
			r := h.Run(t, script)
			if r.ExitCode != 125 || !strings.Contains(r.Stderr, "cocker create kept") || !strings.Contains(r.Stderr, "cocker rm kept") {
				t.Errorf("%s: exit status %d, %s", script, r.ExitCode, r.Stderr)
			}
		}
		h.MustRun(t, `test "$(cocker ps -a | awk 'NR==2 {print $1, $3, $4}')" = "kept no file" && ! cocker ps | grep kept`)
		h.MustRun(t, "test data = $(cat /var/lib/cocker/containers/kept/upper/kept-file)")

		// What a transient container wrote can be kept, too; nobody sweeps it away.
		h.MustRun(t, "cocker run --name other demo sh -c 'echo data >/kept-file' && cocker rm --keep-data other && cocker run --rm demo true")
		h.MustRun(t, "cocker create other demo sh -c 'cat /kept-file >/again' && systemctl start --wait cocker@other && test data = $(cat /var/lib/cocker/containers/other/upper/again)")
		h.MustRun(t, "cocker rm kept other")
		nothingLeft(t, h)
	})
}

// A reboot takes the files of transient containers. What one of --rm wrote that was
// running then goes with the next run, and is listed until that.
func TestTransientDataDoesNotOutliveABoot(t *testing.T) {
	onEachRelease(t, func(t *testing.T, h *host.Host) {
		// What is left of a container of --rm that runs when the power is cut.
		const reboot = `touch /var/lib/cocker/containers/gone/transient && rm /run/cocker/containers/gone.toml`
		h.MustRun(t, "cocker run --name gone demo touch /old && "+reboot)
		h.MustRun(t, `test "$(cocker ps -a --json | jq -r '.[]|.name+": "+.state')" = "gone: no file"`)
		h.MustRun(t, "cocker run --rm demo true")
		nothingLeft(t, h)

		h.MustRun(t, "cocker run --name gone demo touch /old && "+reboot+" && cocker run --name gone demo test ! -e /old && "+reboot)
		h.MustRun(t, "cocker create gone demo sh -c 'test ! -e /old && touch /new' && systemctl start --wait cocker@gone")
		h.MustRun(t, "cocker run --rm demo true && test -e /var/lib/cocker/containers/gone/upper/new && cocker rm gone")
		nothingLeft(t, h)

		// By hand it is as simple.
		h.MustRun(t, "cocker run --name gone demo true && "+reboot+" && cocker rm gone")
		nothingLeft(t, h)

		// A file by that name, written by hand, makes the data its own.
		h.MustRun(t, "cocker run --name gone demo touch /old && mv /run/cocker/containers/gone.toml /etc/cocker/containers/")
		h.MustRun(t, "cocker run --rm demo true && mv /etc/cocker/containers/gone.toml /root/ && cocker run --rm demo true")
		h.MustRun(t, "test -e /var/lib/cocker/containers/gone/upper/old && cocker rm gone")
		nothingLeft(t, h)
	})
}

// Without --rm what a container wrote stays, also when a reboot has taken its file,
// until somebody removes it or makes it a container again.
func TestDataStaysWithoutRm(t *testing.T) {
	onEachRelease(t, func(t *testing.T, h *host.Host) {
		h.MustRun(t, `cocker run --name stays demo sh -c 'echo data >/kept-file' && cocker run -d --rm --name goes demo && cocker stop goes
			rm /run/cocker/containers/stays.toml && cocker run --rm demo true`)
		h.MustRun(t, `test "$(cocker ps -a --json | jq -r '.[]|.name+": "+.state')" = "stays: no file"`)
		h.MustRun(t, `cocker create stays demo sh -c 'test data = "$(cat /kept-file)"' && systemctl start --wait cocker@stays && cocker rm stays`)
		nothingLeft(t, h)
	})
}

// An environment may hold secrets.
func TestOnlyRootReadsContainerFiles(t *testing.T) {
	onEachRelease(t, func(t *testing.T, h *host.Host) {
		h.MustRun(t, "cocker create -e TOKEN=x secret demo && cocker run --name secret2 -e TOKEN=x demo true")
		h.MustRun(t, `test "$(stat -c %a /etc/cocker/containers/secret.toml /run/cocker/containers/secret2.toml | xargs)" = "600 600"`)
		h.MustRun(t, "cocker rm secret secret2")
		nothingLeft(t, h)
	})
}

// Systemd removes a service of --rm that did not start, and so does the client: not
// at the same time.
func TestFailedServiceIsRemovedOnce(t *testing.T) {
	onEachRelease(t, func(t *testing.T, h *host.Host) {
		h.MustRun(t, `for i in $(seq 15); do cocker run -d --rm demo nosuchcommand 2>/dev/null; [ $? = 125 ] || exit 1; done`)
		failed := h.MustRun(t, "systemctl list-units --failed --no-legend 'cocker*'; systemctl reset-failed")
		if failed != "" {
			t.Errorf("failed:\n%s", failed)
		}
		nothingLeft(t, h)
	})
}
