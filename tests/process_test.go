package tests

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cocker/cocker/tests/host"
)

// logged is the beginning of the file of a container whose processes tell in /log/order,
// which outlives them, what happens in which order.
const logged = `images = ["demo", "tools:1"]
mount = [{ type = "bind", source = "/srv/log", target = "/log" }]
`

func prepareLog(t *testing.T, h *host.Host) {
	t.Helper()
	importTools(t, h)
	h.MustRun(t, "mkdir -p /srv/log && chmod 777 /srv/log && mkfifo /srv/log/go && touch /srv/log/order && chmod 666 /srv/log/order")
}

// staying is a script that runs until its stop signal, and tells of both.
func staying(name string) string {
	return sh(`trap 'echo ` + name + `-stops >>/log/order; exit 0' TERM
		echo ` + name + `-up >>/log/order; echo ` + name + ` speaks; while :; do sleep 0.02; done`)
}

// process is a table.
func process(name, rest string) string { return "[process." + name + "]\n" + rest }

// shownProcess is what the tests look at of "cocker ps NAME --json".
type shownProcess struct {
	Name, State, Result string
	PID, Restarts       int
}

func processes(t *testing.T, h *host.Host, container string) map[string]shownProcess {
	t.Helper()
	var list []shownProcess
	if err := json.Unmarshal([]byte(h.MustRun(t, `cocker ps "$1" --json`, container)), &list); err != nil {
		t.Fatal(err)
	}
	byName := map[string]shownProcess{}
	for _, p := range list {
		byName[p.Name] = p
	}
	return byName
}

// waitForState waits for a process to be in a state.
func waitForState(t *testing.T, h *host.Host, container, process, state string) {
	t.Helper()
	h.WaitFor(t, eventually, process+" "+state, `cocker ps "$1" --json | jq -e --arg p "$2" --arg s "$3" 'any(.[]; .name == $p and .state == $s)'`, container, process, state)
}

func waitForLine(t *testing.T, h *host.Host, line string) {
	t.Helper()
	h.WaitFor(t, eventually, line, `grep -qx -- "$1" /srv/log/order`, line)
}

func assertOrder(t *testing.T, h *host.Host, want ...string) {
	t.Helper()
	if got := strings.Fields(h.MustRun(t, "cat /srv/log/order")); !slices.Equal(got, want) {
		t.Errorf("it happened in the order %q, want %q", got, want)
	}
}

// Processes start one after the other as they get ready, the unit is ready with main, and
// they stop the other way round. Each is seen by systemd's own tools.
func TestProcessesStartAndStopInOrder(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		prepareLog(t, h)
		declare(t, h, map[string]string{"rich": logged +
			process("late", staying("late")+"after = ['main']\n") +
			process("main", staying("main")+"after = ['db']\n") +
			process("db", "ready = 'notify'\nafter = ['once']\n"+sh(`trap 'echo db-stops >>/log/order; exit 0' TERM
				read x </log/go; echo db-up >>/log/order; echo db speaks
				printf READY=1 | socat -u - UNIX-SENDTO:$NOTIFY_SOCKET; while :; do sleep 0.02; done`)) +
			process("once", "ready = 'exit'\n"+sh("echo once >>/log/order"))})
		h.MustRun(t, "systemctl start --no-block cocker@rich")
		h.WaitFor(t, eventually, "db", "cocker ps rich | grep -q '^db  *starting'")
		assertProperties(t, h, "rich", map[string]string{"ActiveState": "activating"})
		for name, state := range map[string]string{"once": "ended", "db": "starting", "main": "waiting", "late": "waiting"} {
			if got := processes(t, h, "rich")[name]; got.State != state {
				t.Errorf("%s: %+v, want %s", name, got, state)
			}
		}
		h.MustRun(t, "echo >/srv/log/go; timeout 60 systemctl start cocker@rich")
		waitForLine(t, h, "late-up")
		waitForLine(t, h, "main-up")
		order := strings.Fields(h.MustRun(t, "cat /srv/log/order"))
		if want := []string{"once", "db-up"}; !slices.Equal(order[:2], want) { // main is ready as soon as it is executed
			t.Errorf("started in the order %q", order)
		}
		assertSeenBySystemd(t, h)
		h.MustRun(t, "timeout 60 systemctl stop cocker@rich")
		assertOrder(t, h, append(order, "late-stops", "main-stops", "db-stops")...)
		assertProperties(t, h, "rich", map[string]string{"ActiveState": "inactive", "Result": "success"})
	})
}

func assertSeenBySystemd(t *testing.T, h *host.Host) {
	t.Helper()
	for _, tool := range []string{"systemd-cgls --no-pager -u cocker@rich.service", "systemctl status --no-pager cocker@rich"} {
		shown := h.MustRun(t, tool)
		for _, name := range []string{"db", "main", "late"} {
			if !strings.Contains(shown, "process-"+name) {
				t.Errorf("%s does not show process-%s:\n%s", tool, name, shown)
			}
		}
	}
	all := processes(t, h, "rich")
	for _, name := range []string{"db", "main", "late"} {
		cgroup := h.MustRun(t, `cat /proc/$1/cgroup | sed -n 's/^0:://p'`, fmt.Sprint(all[name].PID))
		if !strings.HasSuffix(cgroup, "/machine.slice/cocker@rich.service/process-"+name) {
			t.Errorf("%s is process %d in %s", name, all[name].PID, cgroup)
		}
		// Init's own descriptors, among them directories of the host's cgroups, are not the
		// process's (CVE-2024-21626).
		if open := h.MustRun(t, `ls /proc/$1/fd | xargs`, fmt.Sprint(all[name].PID)); open != "0 1 2" {
			t.Errorf("%s has the descriptors %s", name, open)
		}
		h.WaitFor(t, eventually, "what "+name+" writes", `journalctl --sync; journalctl -q -o cat -b -u cocker@rich -t "rich/$1" | grep -qx "$1 speaks"`, name)
	}
}

// A process that is killed comes back, one that crashes does so only so often, and the
// container goes on. Each restart is a line of the journal.
func TestProcessesRestart(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		prepareLog(t, h)
		since := now(t, h)
		start(t, h, "again", logged+staying("main")+
			process("db", staying("db")+"restart_delay = '10ms'\n")+
			process("crash", sh("echo run >>/log/runs; exit 3")+"restart_delay = '1ms'\nrestart_limit = 3\n")+
			process("once", sh("exit 0")))
		waitForLine(t, h, "db-up")
		before := processes(t, h, "again")["db"]
		h.MustRun(t, `kill -9 "$1"`, fmt.Sprint(before.PID))
		h.WaitFor(t, eventually, "another db", `cocker ps again --json | jq -e --argjson pid "$1" 'any(.[]; .name == "db" and .state == "running" and .pid != $pid and .restarts == 1)'`, fmt.Sprint(before.PID))
		waitForState(t, h, "again", "crash", "failed")
		waitForState(t, h, "again", "once", "ended")
		if runs := h.MustRun(t, "wc -l </srv/log/runs"); runs != "4" {
			t.Errorf("crash ran %s times, with restart_limit = 3", runs)
		}
		all := processes(t, h, "again")
		if p := all["crash"]; p.Restarts != 3 || p.Result != "exit status 3" || p.PID != 0 {
			t.Errorf("crash: %+v", p)
		}
		if p := all["main"]; p.State != "running" || p.Restarts != 0 {
			t.Errorf("main: %+v", p)
		}
		assertProperties(t, h, "again", map[string]string{"ActiveState": "active", "NRestarts": "0"})
		count := func(line, want string) {
			t.Helper()
			got := h.MustRun(t, `journalctl --sync; journalctl -q -o cat --since="$1" -u cocker@again -t again | grep -cE -- "$2" || :`, since, line)
			if got != want {
				t.Errorf("%s lines like %q in the journal, want %s", got, line, want)
			}
		}
		count("^process crash has ended: exit status 3; restart [1-3] follows in ", "3")
		count("^process crash has failed: exit status 3, after 3 restarts in a row$", "1")
		count(`^process db has ended: signal 9 \(SIGKILL\); restart 1 follows in 10ms$`, "1")
		count("^process (main|once) .*restart", "0")
	})
}

// main's end is the container's, whoever else runs.
func TestMainProcessDecides(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		prepareLog(t, h)
		side := process("side", staying("side")+"restart = 'always'\n")
		for _, tt := range []struct{ name, toml, result, status string }{
			{"table", side + process("main", sh("until grep -q side-up /log/order; do sleep 0.01; done; exit 7")), "exit-code", "7"},
			{"command", sh("until grep -q side-up /log/order; do sleep 0.01; done; kill -6 $$") + side, "exit-code", "134"},
			{"limit", side + process("main", sh("until grep -q side-up /log/order; do sleep 0.01; done; echo x >>/log/mains; exit 9")+
				"restart = 'on-failure'\nrestart_delay = '1ms'\nrestart_limit = 2\n"), "exit-code", "9"},
		} {
			h.MustRun(t, ": >/srv/log/order")
			got := runJob(t, h, tt.name, logged+tt.toml)
			if got.Result != tt.result || got.Status != tt.status {
				t.Errorf("%s: %+v", tt.name, got)
			}
			assertOrder(t, h, "side-up", "side-stops")
			h.MustRun(t, `systemctl reset-failed cocker@"$1"`, tt.name)
		}
		if runs := h.MustRun(t, "wc -l </srv/log/mains"); runs != "3" {
			t.Errorf("main ran %s times, with restart_limit = 2", runs)
		}
		refused(t, h, "blocked", logged+process("once", "ready = 'exit'\nrestart = 'no'\n"+sh("exit 5"))+process("main", sh("exec sleep 1000")+"after = ['once']\n"),
			"process once, for which main waits, has failed: exit status 5")
		refused(t, h, "missing", logged+sh("exec sleep 1000")+process("db", "command = ['/no/such/program']\n"),
			`process db: command "/no/such/program" is not in the container`)
	})
}

// One process is stopped, started and restarted, and the others do not notice.
func TestProcessCommands(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		prepareLog(t, h)
		since := now(t, h)
		start(t, h, "pc", logged+staying("main")+
			process("db", staying("db")+"restart = 'always'\n")+
			process("deaf", sh(`sh -c 'trap "" TERM; while :; do sleep 0.02; done' & trap "" TERM; echo deaf-up >>/log/order; while :; do sleep 0.02; done`)+"stop_timeout = '100ms'\n"))
		for _, name := range []string{"main", "db", "deaf"} {
			waitForLine(t, h, name+"-up")
		}
		main, db := processes(t, h, "pc")["main"], processes(t, h, "pc")["db"]

		h.MustRun(t, "timeout 60 cocker process stop pc db && grep -qx db-stops /srv/log/order")
		if p := processes(t, h, "pc")["db"]; p.State != "stopped" || p.PID != 0 {
			t.Errorf("after the stop: %+v", p)
		}
		h.MustRun(t, "timeout 60 cocker process stop pc db") // it has been
		h.MustRun(t, "timeout 60 cocker process start pc db")
		again := processes(t, h, "pc")["db"]
		if again.State != "running" || again.PID == db.PID || again.Restarts != 0 {
			t.Errorf("after the start: %+v, before: %+v", again, db)
		}
		h.MustRun(t, "timeout 60 cocker process start pc db && timeout 60 cocker process restart pc db")
		if p := processes(t, h, "pc")["db"]; p.State != "running" || p.PID == again.PID {
			t.Errorf("after the restart: %+v, before: %+v", p, again)
		}

		h.MustRun(t, "timeout 60 cocker process stop pc deaf")
		cgroup := "/sys/fs/cgroup" + properties(t, h, "pc", "ControlGroup")["ControlGroup"] + "/process-deaf"
		if left := h.MustRun(t, `cat "$1/cgroup.procs"`, cgroup); left != "" {
			t.Errorf("left of a process that was killed: %s", left)
		}
		if p := processes(t, h, "pc")["deaf"]; p.State != "stopped" || p.Result != "signal 9 (SIGKILL)" {
			t.Errorf("deaf: %+v", p)
		}
		h.MustRun(t, `journalctl --sync; journalctl -q -o cat --since="$1" -u cocker@pc | grep -qx 'process deaf has not stopped within 100ms, and is killed'`, since)
		h.MustRun(t, "timeout 60 cocker process start pc deaf") // and the container's stop kills it

		if p := processes(t, h, "pc")["main"]; p.PID != main.PID {
			t.Errorf("main was %+v and is %+v", main, p)
		}
		h.MustRun(t, "timeout 60 cocker process restart pc main")
		waitForLine(t, h, "main-stops")
		if p := processes(t, h, "pc")["main"]; p.State != "running" || p.PID == main.PID {
			t.Errorf("after the restart of main: %+v, before: %+v", p, main)
		}
		assertProperties(t, h, "pc", map[string]string{"ActiveState": "active", "NRestarts": "0"})
		assertRefusals(t, h)
		h.MustRun(t, "timeout 60 systemctl stop cocker@pc")
		assertProperties(t, h, "pc", map[string]string{"ActiveState": "inactive", "Result": "success"})
	})
}

func assertRefusals(t *testing.T, h *host.Host) {
	t.Helper()
	for words, want := range map[string]string{
		"process stop pc main":  "the container ends with process main; stop the container",
		"process start pc nope": `there is no process "nope"`,
		"process start none db": "container none is not running",
		"ps none":               "container none is not running",
	} {
		if r := h.Run(t, "timeout 60 cocker "+words); r.ExitCode != 1 || !strings.Contains(r.Stderr, want) {
			t.Errorf("cocker %s: exit status %d, %s", words, r.ExitCode, r.Stderr)
		}
	}
}

// A stop from inside the machine, as machined asks for it, keeps the order, too; and of a
// container without tables "cocker ps" shows its command.
func TestProcessesAndMachinectl(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		prepareLog(t, h)
		start(t, h, "off", logged+staying("main")+process("side", staying("side")))
		waitForLine(t, h, "main-up")
		waitForLine(t, h, "side-up")
		h.MustRun(t, "timeout 60 machinectl poweroff off")
		h.WaitFor(t, eventually, "its end", `[ "$(systemctl show -P ActiveState cocker@off)" = inactive ]`)
		waitForLine(t, h, "main-stops")
		if order := strings.Fields(h.MustRun(t, "cat /srv/log/order")); !slices.Equal(order[2:], []string{"side-stops", "main-stops"}) {
			t.Errorf("stopped in the order %q", order)
		}
		for _, init := range inits {
			start(t, h, "plain", "image = 'demo'\ninit = '"+init+"'\nstop_signal = 'SIGKILL'\ncommand = ['sleep', '1234']\n")
			p := processes(t, h, "plain")["main"]
			if got := h.MustRun(t, `xargs -0 </proc/$1/cmdline`, fmt.Sprint(p.PID)); got != "sleep 1234" || p.State != "running" {
				t.Errorf("init %s: %+v is %q", init, p, got)
			}
			h.MustRun(t, "timeout 60 systemctl stop cocker@plain; systemctl reset-failed cocker@plain 2>/dev/null || :")
		}
	})
}

// Of several processes with a health command the unit is ready when that succeeds, which
// is not asked before main is ready; a restart of main changes nothing of it.
func TestHealthOfProcesses(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		prepareLog(t, h)
		declare(t, h, map[string]string{"well": logged +
			process("once", "ready = 'exit'\n"+sh("read x </log/go")) +
			process("main", staying("main")+"after = ['once']\n") +
			process("other", "workdir = '/tmp'\n"+staying("other")+"after = ['main']\n") +
			"[health]\ncommand = ['sh', '-c', 'echo asked-in-$PWD >>/log/asked; test -e /log/well']\ninterval = '100ms'\nretries = 1000\n"})
		h.MustRun(t, "systemctl start --no-block cocker@well")
		waitForState(t, h, "well", "once", "starting")
		h.MustRun(t, "[ ! -e /srv/log/asked ] && echo >/srv/log/go")
		waitForLine(t, h, "other-up")
		h.WaitFor(t, eventually, "a check", "[ -s /srv/log/asked ]")
		assertProperties(t, h, "well", map[string]string{"ActiveState": "activating"})
		h.MustRun(t, "touch /srv/log/well; timeout 60 systemctl start cocker@well; timeout 60 cocker process restart well main")
		if places := h.MustRun(t, "sort -u /srv/log/asked"); places != "asked-in-/" {
			t.Errorf("the health command ran in %q", places)
		}
		assertProperties(t, h, "well", map[string]string{"ActiveState": "active", "NRestarts": "0"})
	})
}
