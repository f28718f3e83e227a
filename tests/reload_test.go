package tests

import (
	"strings"
	"testing"

	"github.com/cocker/cocker/tests/host"
)

// A reload fills in the templates and then runs the reload command, as "cocker exec" runs
// one: as the container's user, in its namespaces, seen in the journal.
func TestReloadCommand(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		h.WriteFile(t, "/srv/app.tpl", "port ${PORT}\n", 0o644)
		h.WriteFile(t, "/srv/web.map", "PORT 8080\n", 0o644)
		container := func(command string) string {
			return "image = 'demo'\ncommand = ['sleep', '100000']\nuser = '33:34'\nworkdir = '/srv'\nnetwork.mode = 'none'\nenvironment = { TOLD = 'yes' }\n" + command +
				"\ntemplate = [{ host_source = '/srv/app.tpl', target = '/etc/app.conf', map = '/srv/web.map' }]\n[[mount]]\ntype = 'tmpfs'\ntarget = '/seen'\nmode = '0777'\n"
		}
		start(t, h, "r1", container(`reload_command = 'cat /etc/app.conf >/seen/conf; id -u >/seen/id; id -g >>/seen/id; echo "$PWD $TOLD" >/seen/env; grep ^Cap /proc/self/status >/seen/caps; readlink /proc/self/ns/pid >/seen/ns; echo told >/dev/stderr'`))
		before := h.MustRun(t, `cocker sessions r1 --json; systemctl show -P MainPID,NRestarts cocker@r1`)
		h.MustRun(t, `sed -i s/8080/9090/ /srv/web.map; timeout 60 systemctl reload cocker@r1`)
		if got := inside(t, h, "r1", "cd /seen; cat conf id env"); got != "port 9090\n33\n34\n/srv yes" {
			t.Errorf("the reload command has seen %q", got)
		}
		h.MustRun(t, `pid=$(systemctl show -P MainPID cocker@r1); command=$(cat /proc/$pid/task/*/children | tr ' ' '\n' | head -1)
			grep ^Cap /proc/$command/status | diff - /proc/$pid/root/seen/caps && [ "$(readlink /proc/$pid/ns/pid)" = "$(cat /proc/$pid/root/seen/ns)" ]
			journalctl --sync; journalctl -q -o cat -u cocker@r1 | grep -qx told
			journalctl -q -o cat -u cocker@r1 | grep -q 'Session 1: root runs: /bin/sh -c cat /etc/app.conf'`)
		if after := h.MustRun(t, `cocker sessions r1 --json; systemctl show -P MainPID,NRestarts cocker@r1`); after != before {
			t.Errorf("after the reload: %s, before: %s", after, before)
		}
		testFailingReload(t, h, container)
		testHangingReload(t, h, container)
	})
}

// The command is read at the reload; what goes wrong with it is told, and the container
// runs on.
func testFailingReload(t *testing.T, h *host.Host, container func(string) string) {
	t.Helper()
	for _, tt := range []struct{ command, reason string }{
		{`reload_command = ['sh', '-c', 'echo syntax error in line 7 >&2; exit 3']`, "syntax error in line 7"},
		{`reload_command = ['sh', '-c', 'exit 3']`, `reload_command "sh" in r1: exit status 3`},
		{`reload_command = 'kill -9 $$'`, `reload_command "/bin/sh" in r1: exit status 137`},
		{`reload_command = ['/nosuch', '-x']`, `"/nosuch" is not in the container`},
		{"reload_command = ['true']\nreload_signal = 'HUP'", "reload_signal is set too"},
		{"reload_command = ['true']\ninit = 'none'", `needs init = "cocker"`},
		{`reload_command = ['true', '${PORT`, "r1.toml:7"},
	} {
		h.WriteFile(t, "/etc/cocker/containers/r1.toml", container(tt.command), 0o644)
		since := now(t, h)
		if r := h.Run(t, `timeout 60 systemctl reload cocker@r1`); r.ExitCode != 1 {
			t.Errorf("%s: exit status %d, %s", tt.command, r.ExitCode, r.Stderr)
		}
		if log := h.MustRun(t, `journalctl --sync; journalctl -q -o cat --since="$1" -u cocker@r1; systemctl is-active -q cocker@r1`, since); !strings.Contains(log, tt.reason) {
			t.Errorf("%s: %q is not in the journal:\n%s", tt.command, tt.reason, log)
		}
	}
	// What it leaves in the background has its output, and does not keep the reload.
	h.WriteFile(t, "/etc/cocker/containers/r1.toml", container(`reload_command = 'sleep 4321 & echo $! >/seen/left; echo started'`), 0o644)
	h.MustRun(t, `timeout 60 systemctl reload cocker@r1; journalctl --sync; journalctl -q -o cat -u cocker@r1 | grep -qx started
		[ "$(cocker sessions r1 --json | jq -r '.[].processes')" = 1 ]; cocker exec r1 sh -c 'kill $(cat /seen/left)'`)
	h.WaitFor(t, eventually, "the end of what was in the background", `[ "$(cocker sessions r1 --json | jq length)" = 0 ]`)
}

// TimeoutStartSec= is how long it may take; nothing of the command is left then.
func testHangingReload(t *testing.T, h *host.Host, container func(string) string) {
	t.Helper()
	h.WriteFile(t, "/etc/cocker/containers/r1.toml", container(`reload_command = 'trap : HUP; while :; do sleep 1000; done'`), 0o644)
	h.MustRun(t, `mkdir /run/systemd/system/cocker@r1.service.d; printf '[Service]\nTimeoutStartSec=2\n' >/run/systemd/system/cocker@r1.service.d/short.conf
		systemctl daemon-reload; main=$(systemctl show -P MainPID cocker@r1)
		! timeout 100 systemctl reload cocker@r1
		rm -r /run/systemd/system/cocker@r1.service.d; systemctl daemon-reload
		[ "$(systemctl show -P ActiveState,MainPID cocker@r1 | tr '\n' ' ')" = "active $main " ] || [ "$(systemctl show -P MainPID,ActiveState cocker@r1 | tr '\n' ' ')" = "$main active " ]
		journalctl --sync; journalctl -q -o cat -u cocker@r1 | grep -q 'Reload operation timed out'`)
	h.WaitFor(t, eventually, "the end of the command", `[ "$(cocker sessions r1 --json | jq length)" = 0 ] && ! pgrep -f '^[^ ]*cocker exec r1'`)
	h.MustRun(t, `cocker exec r1 true; timeout 60 systemctl stop cocker@r1`)
}
