package tests

import (
	"testing"

	"github.com/cocker/cocker/tests/host"
)

// importTools makes an image that adds socat, with its libraries, to another.
func importTools(t *testing.T, h *host.Host) {
	t.Helper()
	importTree(t, h, "tools:1", `for f in /usr/bin/socat $(ldd /usr/bin/socat | grep -o '/[^ ]*'); do
		mkdir -p ".${f%/*}"; cp "$f" ".$f"; done`)
}

// gated is the beginning of a file whose command waits until the test opens the gate.
const gated = `images = ["demo", "tools:1"]
notify_ready = true
mount = [{ type = "bind", source = "/srv/gate", target = "/gate" }]
`

// A container that says itself when it is ready (sd_notify(3)) is activating until then.
func TestReadiness(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		importTools(t, h)
		h.MustRun(t, "mkdir -p /srv/gate && mkfifo /srv/gate/go")
		const wait = `read x </gate/go; `
		tests := []struct{ name, toml string }{
			{"init", gated + sh(wait+`printf 'READY=1\nSTATUS=serving\nMAINPID=1' | socat -u - UNIX-SENDTO:$NOTIFY_SOCKET; exec sleep 1000`)},
			{"other-user", gated + "user = '1000:1000'\n" + sh(wait+`printf 'STATUS=serving\nREADY=1' | socat -u - UNIX-SENDTO:$NOTIFY_SOCKET; exec sleep 1000`)},
			{"no-init", gated + "init = 'none'\nstop_signal = 'SIGKILL'\n" +
				sh(wait+`printf 'READY=1\nSTATUS=serving' >/message; exec socat -u OPEN:/message,ignoreeof UNIX-SENDTO:$NOTIFY_SOCKET`)},
		}
		for _, tt := range tests {
			declare(t, h, map[string]string{tt.name: tt.toml})
			h.MustRun(t, `systemctl start --no-block cocker@"$1"`, tt.name)
			h.WaitFor(t, eventually, "PID 1 of "+tt.name, `[ "$(awk '/^NSpid/ {print $3}' /proc/$(systemctl show -P MainPID cocker@"$1")/status)" = 1 ]`, tt.name)
			assertProperties(t, h, tt.name, map[string]string{"ActiveState": "activating", "SubState": "start"})
			h.MustRun(t, "echo >/srv/gate/go") // returns when the command reads
			h.WaitFor(t, eventually, "readiness of "+tt.name, `[ "$(systemctl show -P ActiveState cocker@"$1")" = active ]`, tt.name)
			h.WaitFor(t, eventually, "its status", `[ "$(systemctl show -P StatusText cocker@"$1")" = serving ]`, tt.name)
			pid := mainPID(t, h, tt.name)
			h.MustRun(t, `awk '/^NSpid/ { exit !($3==1) }' "/proc/$1/status"`, pid) // MAINPID= is not the container's to set
		}
	})
}

func TestNeverReady(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		for _, init := range inits {
			refused(t, h, "mute", "image = 'demo'\nnotify_ready = true\ninit = '"+init+"'\nstop_signal = 'SIGKILL'\ncommand = ['sleep', '1000']\n"+
				"[service]\nTimeoutStartSec = '1s'\n", "timed out", "(Result: timeout)")
			refused(t, h, "brief", "image = 'demo'\nnotify_ready = true\ninit = '"+init+"'\n"+sh("exit 4"), "status=4")
		}
	})
}

// Others wait for a container that others need until it is ready.
func TestOrderAfterReadiness(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		importTools(t, h)
		h.MustRun(t, "mkdir -p /srv/gate && mkfifo /srv/gate/go")
		declare(t, h, map[string]string{
			"db":  gated + sh(`read x </gate/go; printf READY=1 | socat -u - UNIX-SENDTO:$NOTIFY_SOCKET; exec sleep 1000`),
			"app": "image = 'demo'\n[unit]\nBindsTo = ['cocker@db.service']\nafter = ['cocker@db.service']\n",
		})
		h.MustRun(t, "systemctl start --no-block cocker@app")
		h.MustRun(t, "timeout 60 sh -c 'echo >/srv/gate/go' && timeout 60 systemctl start cocker@app")
		h.MustRun(t, `ready=$(systemctl show -P ActiveEnterTimestampMonotonic cocker@db); started=$(systemctl show -P InactiveExitTimestampMonotonic cocker@app)
			[ "$ready" -gt 0 ] && [ "$ready" -le "$started" ] || { echo "db was ready at $ready, app was started at $started" >&2; exit 1; }`)
		h.MustRun(t, `kill -9 "$1"`, mainPID(t, h, "db"))
		h.WaitFor(t, eventually, "the end of what is bound to it", "! systemctl is-active cocker@app")
	})
}
