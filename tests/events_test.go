package tests

import (
	"context"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/tests/host"
)

// listener is a container that logs what it is told through a pipe, and web one that
// serves; between them they show whether anything of a container was disturbed.
const (
	listener = "image = 'demo'\nmount = [{ type = 'bind', source = '/srv/pipe', target = '/pipe' }]\n" +
		"command = ['sh', '-c', 'while :; do read line </pipe/in && echo heard $line; done']\n"
	webFile = "image = 'demo'\n[network]\nports = ['8080:80']\naddress = '10.88.1.1'\n"
)

// undisturbed is a host with containers of every kind, whose processes are known.
type undisturbed struct {
	h    *host.Host
	pids string
	fg   *host.Cmd // cocker run in the foreground
}

const processesOf = `systemctl show -P MainPID cocker@listener cocker@web cocker-bg; systemctl show -P NRestarts cocker@listener cocker@web cocker-bg
	jq -r .leader /run/cocker/state/fg.json`

func startUndisturbed(t *testing.T, h *host.Host) *undisturbed {
	t.Helper()
	u := &undisturbed{h: h}
	h.MustRun(t, "mkdir -p /srv/pipe && mkfifo -m 644 /srv/pipe/in")
	declare(t, h, map[string]string{"listener": listener, "web": webFile})
	h.MustRun(t, "systemctl start cocker@listener cocker@web && cocker run -d --rm --name bg demo sleep 10000")
	u.fg = h.Command(context.Background(), "cocker", "run", "--rm", "--name", "fg", "demo", "sh", "-c", "trap 'exit 7' TERM; sleep 10000 & wait")
	if err := u.fg.Start(); err != nil {
		t.Fatal(err)
	}
	h.WaitFor(t, eventually, "the container in the foreground", `pgrep -P "$(jq -r .leader /run/cocker/state/fg.json)" sh`)
	u.pids = h.MustRun(t, processesOf)
	return u
}

// assert asserts that every container runs on, is reached and logs as before, and
// that containers can be started, listed and stopped.
func (u *undisturbed) assert(t *testing.T, after string) {
	t.Helper()
	h := u.h
	if now := h.MustRun(t, processesOf); now != u.pids {
		t.Errorf("after %s: processes and restarts were\n%s\nand are\n%s", after, u.pids, now)
	}
	if got := h.Outside(t, "{ "+get+"; } | grep -o Hello", hostAddress+":8080").Stdout; strings.TrimSpace(got) != "Hello" {
		t.Errorf("after %s: outside gets %q", after, got)
	}
	h.MustRun(t, `timeout 60 sh -c 'echo "$1" >/srv/pipe/in' sh "$1"`, after)
	h.WaitFor(t, eventually, "the log after "+after, `journalctl --sync; journalctl -q -o cat -u cocker@listener | grep -qxF "heard $1"`, after)
	h.WaitFor(t, eventually, "machined's list after "+after, `[ "$(machinectl list --no-legend | awk '{print $1}' | sort | xargs)" = "bg fg listener web" ]`)
	if got := h.MustRun(t, `cocker run --rm demo echo new; cocker ps --json | jq -r '.[]|select(.state=="running").name' | sort | xargs`); got != "new\nbg fg listener web" {
		t.Errorf("after %s: %q", after, got)
	}
}

// end stops everything; the exit status in the foreground is still the container's.
func (u *undisturbed) end(t *testing.T) {
	t.Helper()
	if err := u.fg.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := u.fg.Wait(); u.fg.ProcessState.ExitCode() != 7 {
		t.Errorf("the container in the foreground: %v, want exit status 7", err)
	}
	u.h.MustRun(t, "cocker stop bg listener web && cocker rm -f listener web")
	assertNothingOfContainers(t, u.h)
}

// assertNothingOfContainers asserts that no container has left anything on a host
// where all were removed.
func assertNothingOfContainers(t *testing.T, h *host.Host) {
	t.Helper()
	h.WaitFor(t, eventually, "nothing of containers", `left=$(cd / && ls -A /run/cocker/state /run/cocker/containers /var/lib/cocker/containers /var/lib/cocker/idranges \
		/run/cocker/networks/cocker0/by-name /run/cocker/networks/cocker0/by-address | grep -v ':$'; ip -o link show master cocker0 2>/dev/null
		machinectl list --no-legend; systemctl --failed --no-legend; ls -d /sys/fs/cgroup/machine.slice/*cocker* 2>/dev/null); [ -z "$left" ] || { echo "$left" >&2; exit 1; }`)
}

// What systemd and its companions go through is no event for a container.
func TestServicesOfTheHostRestart(t *testing.T) {
	onOwnHost(t, func(t *testing.T, h *host.Host) {
		u := startUndisturbed(t, h)
		for _, event := range []string{
			"systemctl daemon-reload",
			"systemctl daemon-reexec",
			"systemctl restart systemd-machined",
			"systemctl kill -s KILL systemd-machined",
			"systemctl restart systemd-journald",
			"systemctl kill -s KILL systemd-journald",
			"systemctl restart systemd-logind",
			"systemctl restart dbus",
			"nft flush ruleset && /usr/libexec/cocker/cocker-launch network-up cocker0",
		} {
			h.MustRun(t, "timeout 60 sh -c \"$1\"", event)
			u.assert(t, event)
		}
		u.end(t)
	})
}

var _ = time.Second
