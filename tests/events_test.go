package tests

import (
	"context"
	"slices"
	"strings"
	"testing"

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
	h      *host.Host
	pids   string
	fg     *host.Cmd // cocker run in the foreground
	others []string  // containers that run beside them
}

const processesOf = `systemctl show -P MainPID cocker@listener cocker@web cocker-bg; systemctl show -P NRestarts cocker@listener cocker@web cocker-bg
	jq -r .leader /run/cocker/state/fg.json`

func startUndisturbed(t *testing.T, h *host.Host) *undisturbed {
	t.Helper()
	u := &undisturbed{h: h}
	h.MustRun(t, "rm -rf /srv/pipe && mkdir -p /srv/pipe && mkfifo -m 644 /srv/pipe/in")
	declare(t, h, map[string]string{"listener": listener, "web": webFile})
	h.MustRun(t, "systemctl start cocker@listener cocker@web && cocker run -d --rm --name bg demo sleep 10000")
	u.fg = inForeground(t, h, "--name", "fg", "demo", "sh", "-c", "trap 'exit 7' TERM; sleep 10000 & wait")
	h.WaitFor(t, eventually, "the container in the foreground", `pgrep -P "$(jq -r .leader /run/cocker/state/fg.json)" sh`)
	u.pids = h.MustRun(t, processesOf)
	return u
}

// inForeground starts cocker run --rm; its process does not outlive the test.
func inForeground(t *testing.T, h *host.Host, arguments ...string) *host.Cmd {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := h.Command(ctx, "cocker", append([]string{"run", "--rm"}, arguments...)...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // it was waited for, unless the test has failed
	})
	return cmd
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
	h.WaitFor(t, eventually, "the log after "+after, `journalctl -q -o cat -u cocker@listener | grep -qxF "heard $1"`, after)
	names := append([]string{"bg", "fg", "listener", "web"}, u.others...)
	slices.Sort(names)
	running := strings.Join(names, " ")
	h.WaitFor(t, eventually, "machined's list after "+after, `[ "$(machinectl list --no-legend | awk '{print $1}' | sort | xargs)" = "$1" ]`, running)
	if got := h.MustRun(t, `cocker run --rm demo echo new; cocker ps --json | jq -r '.[]|select(.state=="running").name' | sort | xargs`); got != "new\n"+running {
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

// untilRules waits for what follows by itself.
const untilRules = "; until nft list table inet cocker >/dev/null 2>&1; do :; done"

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
			"nft flush ruleset && systemctl reload cocker-network@cocker0",
			// Debian's nftables.service flushes all rules.
			"systemctl start nftables" + untilRules,
			"systemctl restart nftables" + untilRules,
			"systemctl reload nftables" + untilRules,
		} {
			h.MustRun(t, "timeout 60 sh -c \"$1\"", event)
			u.assert(t, event)
		}
		u.end(t)
	})
}

// New programs and units replace the old ones as "make install" does. What runs goes
// on with the old init, is stopped and cleaned up by the new programs, and has the new
// init at its next start.
func TestUpgradeUnderRunningContainers(t *testing.T) {
	onOwnHost(t, func(t *testing.T, h *host.Host) {
		u := startUndisturbed(t, h)
		h.MustRun(t, `set -e; cd /usr/libexec/cocker
			for f in cocker-launch cocker-init /usr/bin/cocker /usr/lib/systemd/system-generators/cocker-generator; do
				cp $f /tmp/new; echo new >>/tmp/new; install -m 755 /tmp/new $f; done
			sed -i 's/^Description=.*/Description=Upgraded %i/; s/^TimeoutStopSec=.*/TimeoutStopSec=31/' /usr/lib/systemd/system/cocker@.service
			systemctl daemon-reload`)
		u.assert(t, "upgrade")
		const hasNewInit = `cmp -s "/proc/$(systemctl show -P MainPID cocker@web)/exe" /usr/libexec/cocker/cocker-init`
		h.MustRun(t, "! "+hasNewInit+" && systemctl restart cocker@web && "+hasNewInit)
		assertProperties(t, h, "web", map[string]string{"TimeoutStopUSec": "31s", "Result": "success", "NRestarts": "0"})
		u.end(t)
	})
}

// A frozen container does nothing, and all that it missed when it is thawed.
func TestFreeze(t *testing.T) {
	onOwnHost(t, func(t *testing.T, h *host.Host) {
		u := startUndisturbed(t, h)
		h.MustRun(t, "systemctl freeze cocker@web cocker@listener; (echo asleep >/srv/pipe/in) >/dev/null 2>&1 &")
		h.MustRun(t, "! curl -s -m 1 http://127.0.0.1:8080/ && cocker ps --json | jq -e '.[]|select(.name==\"web\").state==\"running\"'")
		if r := h.Run(t, "cocker kill web"); r.ExitCode != 1 || !strings.Contains(r.Stderr, "systemctl thaw cocker@web.service") {
			t.Errorf("kill of a frozen container: %+v", r)
		}
		h.MustRun(t, "systemctl thaw cocker@web cocker@listener")
		h.WaitFor(t, eventually, "what was said to the frozen one", `journalctl --sync; journalctl -q -o cat -u cocker@listener | grep -qx 'heard asleep'`)
		u.assert(t, "freeze and thaw")
		u.end(t)
	})
}

// A frozen container does not hold up a shutdown, in which nothing thaws it.
func TestShutdownWithFrozenContainer(t *testing.T) {
	onOwnHost(t, func(t *testing.T, h *host.Host) {
		declare(t, h, map[string]string{"frozen": webFile + "[install]\nwanted_by = ['multi-user.target']\n"})
		h.MustRun(t, "systemctl start cocker@frozen && systemctl freeze cocker@frozen")
		h.Reboot(t)
		if got := h.Outside(t, "{ "+get+"; } | grep -o Hello", hostAddress+":8080").Stdout; h.State != "running" || got != "Hello\n" {
			t.Errorf("the system is %s, outside gets %q", h.State, got)
		}
	})
}

// With / read-only and /var/lib/cocker writable nothing is missing but what is written
// below /etc. With that read-only too, what runs goes on, and a start says what it is.
func TestReadOnlyRoot(t *testing.T) {
	onOwnHost(t, func(t *testing.T, h *host.Host) {
		u := startUndisturbed(t, h)
		h.MustRun(t, "cocker create idle demo && mount -o remount,bind,ro / && ! touch /etc/x")
		u.assert(t, "remount of / read-only")
		h.MustRun(t, "systemctl restart cocker@idle && cocker stop idle")
		h.MustRun(t, "mount -o remount,bind,ro /var/lib/cocker")
		for _, refused := range []struct{ command, reason string }{
			{"cocker create more demo", "/etc/cocker/containers: read-only file system"},
			{"cocker run --rm demo true", "/var/lib/cocker/containers/"},
			{"cocker rm idle", "read-only file system"},
			{"cocker image demo", "read-only file system"},
		} {
			if r := h.Run(t, refused.command); r.ExitCode == 0 || !strings.Contains(r.Stderr, refused.reason) || !strings.Contains(r.Stderr, "read-only file system") {
				t.Errorf("%s: exit status %d, %s", refused.command, r.ExitCode, r.Stderr)
			}
		}
		failsToStart(t, h, "idle", "read-only file system", "/var/lib/cocker")
		h.MustRun(t, "cocker stop web && ! cocker start web && cocker ps >/dev/null && cocker check >/dev/null")
		h.MustRun(t, "mount -o remount,bind,rw /var/lib/cocker && mount -o remount,bind,rw / && systemctl reset-failed && cocker start web idle && cocker rm -f idle")
		u.end(t)
	})
}

// Rescue and emergency mode have no containers; the way back brings those that the
// boot brings.
func TestIsolate(t *testing.T) {
	onOwnHost(t, func(t *testing.T, h *host.Host) {
		prepareIsolate(t, h)
		for _, target := range []string{"rescue.target", "emergency.target"} {
			isolateAndBack(t, h, target)
		}
	})
}

func prepareIsolate(t *testing.T, h *host.Host) {
	t.Helper()
	collectEvents(t, h)
	const install = "[install]\nwanted_by = ['multi-user.target']\n"
	h.WriteFile(t, "/etc/systemd/system/mnt-late.mount", "[Mount]\nWhat=tmpfs\nWhere=/mnt/late\nType=tmpfs\n", 0o644)
	declare(t, h, map[string]string{
		"declared": "image = 'demo'\n" + eventsMount + onTERM("say end") + install,
		"mounted":  "image = 'demo'\nmount = [{ type = 'bind', source = '/srv/events', target = '/events' }, { type = 'bind', source = '/mnt/late', target = '/late' }]\n" + onTERM("say end") + install,
		"by-hand":  "image = 'demo'\n" + eventsMount + onTERM("say end"),
	})
}

// isolateAndBack goes to a target and back to multi-user.target.
func isolateAndBack(t *testing.T, h *host.Host, target string) {
	t.Helper()
	h.MustRun(t, `systemctl stop 'cocker@*' && : >/srv/events/all && systemctl start multi-user.target cocker@declared cocker@mounted cocker@by-hand
		cocker run -d --rm --name bg -v /srv/events:/events demo sh -c "$1"`, say+`trap "say end; exit 0" TERM; say up; while :; do sleep 1000 & wait; done`)
	fg := map[string]*host.Cmd{}
	for _, network := range []string{"bridge", "none"} {
		fg[network] = inForeground(t, h, "--network", network, "--name", "fg-"+network, "-v", "/srv/events:/events", "demo",
			"sh", "-c", say+`trap "say end; exit 7" TERM; say up; while :; do sleep 1000 & wait; done`)
	}
	h.WaitFor(t, eventually, "all containers", `[ "$(grep -c " up$" /srv/events/all)" = 6 ]`)
	h.MustRun(t, `timeout 120 systemctl isolate "$1" && systemctl is-active "$1"`, target)
	for network, cmd := range fg {
		if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 7 {
			t.Errorf("%s: the container in the foreground, network %s: %v, want exit status 7", target, network, err)
		}
	}
	// systemctl waits for the target alone, and what is stopped goes beside it.
	h.WaitFor(t, eventually, "the end of all stop jobs", `! systemctl list-jobs --no-legend | grep -q .`)
	// Once each: of a scope, systemd sends SIGTERM to all processes, so that the commands
	// in the foreground may be told twice, by it and by their init.
	if got := h.MustRun(t, `sort -u /srv/events/all | grep end | xargs; systemctl list-units --plain --no-legend --state=active,failed 'cocker*'; systemctl --failed --no-legend`); got != "bg end by-hand end declared end fg-bridge end fg-none end mounted end" {
		t.Errorf("%s: the ends, and what is still there:\n%s", target, got)
	}
	h.MustRun(t, `! ip link show cocker0 2>/dev/null && ! nft list table inet cocker 2>/dev/null && [ -z "$(ls -A /run/cocker/state)" ] && [ -z "$(ls -A /run/cocker/networks/cocker0/by-address)" ] &&
		! pgrep '^cocker' && [ -z "$(ls -d /var/lib/cocker/containers/fg-* /var/lib/cocker/containers/bg 2>/dev/null)" ]`)
	h.MustRun(t, `timeout 120 systemctl isolate multi-user.target`)
	h.WaitFor(t, eventually, "the way back from "+target, `[ "$(cocker ps --json | jq -r '.[]|select(.state=="running").name' | sort | xargs)" = "declared mounted" ]`)
	h.WaitFor(t, eventually, "what runs in them", `[ "$(grep -c " up$" /srv/events/all)" = 8 ]`)
	h.MustRun(t, "findmnt -n /mnt/late >/dev/null && machinectl show mounted >/dev/null")
}
