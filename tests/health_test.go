package tests

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/cocker/cocker/tests/host"
)

// checkedContainer is the file of a container that is well as long as the test has
// /srv/gate/ok there. Each probe leaves a byte in /run/probes.
func checkedContainer(command, keys string) string {
	return "image = 'demo'\nworkdir = '/srv'\n" + command + `mount = [{ type = "bind", source = "/srv/gate", target = "/gate" }]
[health]
command  = 'printf . >>/run/probes; echo looking; [ -e /gate/ok ] || { printf "no gate\nMAINPID=1\n"; exit 3; }'
interval = "200ms"
timeout  = "10s"
` + keys
}

// idle is a command that ends at once when it is asked to.
const idle = `command = ["sh", "-c", "trap 'exit 0' TERM; sleep 100000 & wait"]
`

// healthOf is what cocker ps says.
func healthOf(t *testing.T, h *host.Host, name string) string {
	t.Helper()
	return h.MustRun(t, `cocker ps -a --json | jq -r --arg name "$1" '.[] | select(.name == $name) | .health // "none"'`, name)
}

func awaitHealth(t *testing.T, h *host.Host, name, health string) {
	t.Helper()
	h.WaitFor(t, eventually, name+" to be "+health, `[ "$(cocker ps -a --json | jq -r --arg name "$1" '.[] | select(.name == $name) | .health')" = "$2" ]`, name, health)
}

// awaitProbes waits until there were so many more probes.
func awaitProbes(t *testing.T, h *host.Host, name string, more int) {
	t.Helper()
	h.WaitFor(t, eventually, strconv.Itoa(more)+" probes of "+name, `file=/proc/$(systemctl show -P MainPID cocker@"$1")/root/run/probes
		[ -s "/tmp/probes-$1" ] || stat -c %s "$file" >"/tmp/probes-$1"
		[ "$(stat -c %s "$file")" -ge "$(($(cat "/tmp/probes-$1") + $2))" ] && rm "/tmp/probes-$1"`, name, strconv.Itoa(more))
}

// healthLines are what init has written to the journal, without what systemd says of it.
func healthLines(t *testing.T, h *host.Host, name, since string) []string {
	t.Helper()
	text := h.MustRun(t, `journalctl --sync; journalctl -q -o cat --since="$2" SYSLOG_IDENTIFIER="$1" | grep ^Health: || :`, name, since)
	return strings.Split(text, "\n")
}

func assertHealthLines(t *testing.T, h *host.Host, name, since string, want ...string) {
	t.Helper()
	got := healthLines(t, h, name, since)
	bad := len(got) != len(want)
	for i := range want {
		bad = bad || !strings.Contains(got[i], want[i])
	}
	if bad {
		t.Errorf("the journal has of %s:\n%s\nwant:\n%s", name, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

const (
	wentWell = "Health: healthy"
	wentBad  = "exit status 3: looking | no gate | MAINPID=1"
)

// The first success makes the unit ready (systemd.service(5), Type=notify): systemctl start
// returns, and what is ordered after it starts, then and not before.
func TestHealthMakesReady(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		h.MustRun(t, "mkdir -p /srv/gate")
		declare(t, h, map[string]string{
			"db":  checkedContainer(idle, "start_period = '1h'\n"),
			"app": "image = 'demo'\n" + idle + "[unit]\nRequires = ['cocker@db.service']\nAfter = ['cocker@db.service']\n",
		})
		since := now(t, h)
		h.MustRun(t, "systemctl start --no-block cocker@app")
		awaitHealth(t, h, "db", "starting")
		awaitProbes(t, h, "db", 5) // more than retries: in start_period failures don't count
		assertProperties(t, h, "db", map[string]string{"ActiveState": "activating", "SubState": "start"})
		assertProperties(t, h, "app", map[string]string{"ActiveState": "inactive"})
		if text := properties(t, h, "db", "StatusText")["StatusText"]; text != "Not healthy yet: "+wentBad {
			t.Errorf("status while it starts: %q", text)
		}
		h.MustRun(t, "touch /srv/gate/ok && timeout 60 systemctl start cocker@app")
		h.MustRun(t, `ready=$(systemctl show -P ActiveEnterTimestampMonotonic cocker@db); started=$(systemctl show -P InactiveExitTimestampMonotonic cocker@app)
			[ "$ready" -gt 0 ] && [ "$ready" -le "$started" ] || { echo "db was ready at $ready, app was started at $started" >&2; exit 1; }`)
		if got := healthOf(t, h, "db"); got != "healthy" {
			t.Errorf("health of db: %s", got)
		}
		if got := healthOf(t, h, "app"); got != "none" {
			t.Errorf("health of app, which has no check: %s", got)
		}
		h.MustRun(t, `cocker ps | grep -q '^db .* running (healthy) ' && systemctl show -P StatusText cocker@db | grep -x 'Healthy. Running at 10[.].*'`)
		awaitProbes(t, h, "db", 5)
		assertHealthLines(t, h, "db", since, wentWell)
		pid := mainPID(t, h, "db")
		h.MustRun(t, `awk '/^NSpid/ { exit !($3==1) }' "/proc/$1/status"`, pid) // what a probe prints is no message to systemd
	})
}

// An unhealthy container ends with the result "watchdog" (systemd.service(5), Restart=, has
// what follows from that), and by its stop signal.
func TestUnhealthyIsRestarted(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		h.MustRun(t, "mkdir -p /srv/gate && touch /srv/gate/ok")
		start(t, h, "again", checkedContainer(idle, "start_period = '1h'\n"))
		h.MustRun(t, "mkdir -m 777 /srv/end")
		const tells = `command = ["sh", "-c", "trap 'echo asked >/end/asked; exit 0' TERM; sleep 100000 & wait"]
`
		start(t, h, "ends", strings.Replace(checkedContainer(tells, "[service]\nRestart = 'no'\n"),
			"mount = [", `mount = [{ type = "bind", source = "/srv/end", target = "/end" }, `, 1))
		since, pid := now(t, h), mainPID(t, h, "again")
		h.MustRun(t, "rm /srv/gate/ok")
		h.WaitFor(t, eventually, "another PID 1", `now=$(systemctl show -P MainPID cocker@again); [ "$now" != 0 ] && [ "$now" != "$1" ]`, pid)
		awaitHealth(t, h, "again", "starting")
		h.MustRun(t, "touch /srv/gate/ok && timeout 60 systemctl start cocker@again")
		assertProperties(t, h, "again", map[string]string{"ActiveState": "active", "NRestarts": "1", "Result": "success"})
		assertHealthLines(t, h, "again", since, "unhealthy, failures in a row: 3, the last one: "+wentBad, wentWell)
		h.MustRun(t, `journalctl --sync; journalctl -q -o cat --since="$1" -u cocker@again | grep "Failed with result 'watchdog'"`, since)
		// Without a restart.
		h.WaitFor(t, eventually, "the end of the other one", `[ "$(systemctl show -P ActiveState cocker@ends)" = failed ]`)
		assertProperties(t, h, "ends", map[string]string{"Result": "watchdog", "NRestarts": "0", "ExecMainStatus": "0"})
		h.MustRun(t, `[ "$(cat /srv/end/asked)" = asked ]`)
		if text := properties(t, h, "ends", "StatusText")["StatusText"]; !strings.HasPrefix(text, "Unhealthy since 20") || !strings.HasSuffix(text, wentBad) {
			t.Errorf("status of what has ended: %q", text)
		}
		if got := healthOf(t, h, "ends"); got != "none" {
			t.Errorf("health of what has ended: %s", got)
		}
		h.MustRun(t, `cocker ps | grep '^ends .* failed (watchdog) '`)
	})
}

// Only reported; one line in the journal for each change, however many probes there are.
func TestUnhealthyIsReported(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		h.MustRun(t, "mkdir -p /srv/gate && touch /srv/gate/ok")
		since := now(t, h)
		start(t, h, "web", checkedContainer(idle, "on_failure = 'none'\nretries = 2\nstart_period = '1h'\n"))
		pid := mainPID(t, h, "web")
		for range 2 {
			h.MustRun(t, "rm /srv/gate/ok")
			awaitHealth(t, h, "web", "unhealthy")
			awaitProbes(t, h, "web", 4)
			h.MustRun(t, `cocker ps | grep -q '^web .* running (unhealthy) ' && [ "$(cocker inspect --json web | jq -r .health)" = unhealthy ] &&
				cocker inspect web | grep 'status_text: Unhealthy since .* UTC: '"$1"`, wentBad)
			h.MustRun(t, "touch /srv/gate/ok")
			awaitHealth(t, h, "web", "healthy")
			awaitProbes(t, h, "web", 4)
		}
		const bad = "unhealthy, failures in a row: 2, the last one: " + wentBad
		assertHealthLines(t, h, "web", since, wentWell, bad, wentWell, bad, wentWell)
		if got := mainPID(t, h, "web"); got != pid {
			t.Errorf("it was restarted: PID 1 was %s, is %s", pid, got)
		}
		h.MustRun(t, `[ "$(journalctl -q -o json --since="$1" SYSLOG_IDENTIFIER=web | jq -r 'select(.MESSAGE|startswith("Health:")).PRIORITY' | tr -d '\n')" = 54545 ]`, since)
		h.MustRun(t, `timeout 60 systemctl restart cocker@web && [ "$(systemctl show -P Result cocker@web)" = success ]`)
	})
}

// A container that does not become healthy in its time has not started, whatever
// on_failure says.
func TestNeverHealthy(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		h.MustRun(t, "mkdir -p /srv/gate")
		for _, keys := range []string{"[service]\nRestart = 'no'\n", "start_period = '500ms'\non_failure = 'none'\n"} {
			refused(t, h, "never", checkedContainer(idle, keys), "(Result: watchdog)", "Unhealthy since", wentBad)
		}
		refused(t, h, "brief", checkedContainer(sh("exit 4"), "start_period = '1h'\n[service]\nRestart = 'no'\n"), "status=4")
		refused(t, h, "limited", checkedContainer(idle, "start_period = '1h'\n[service]\nTimeoutStartSec = '3601'\nTimeoutSec = '2s'\n"), "leaves no time for health.start_period")
		refused(t, h, "short", checkedContainer(idle, "retries = 900\n[service]\nRestart = 'no'\nTimeoutStartSec = '10s'\n"), "(Result: timeout)", "Not healthy yet: "+wentBad)
		none := "image = 'demo'\n[health]\ncommand = "
		refused(t, h, "nowhere", none+"['/bin/nosuch']\n[service]\nRestart = 'no'\n", `health: command "/bin/nosuch" is not in the container`)
		refused(t, h, "nobody", none+"['true']\nuser = 'nosuch'\n[service]\nRestart = 'no'\n", `health: user "nosuch" is not in the container's /etc/passwd`)
		r := h.Run(t, "timeout 60 cocker start never")
		if r.ExitCode == 0 || !strings.Contains(r.Stderr, wentBad) {
			t.Errorf("cocker start: exit status %d, %s", r.ExitCode, r.Stderr)
		}
		h.MustRun(t, "systemctl reset-failed cocker@never")
	})
}

// probing makes a probe do something else while /srv/gate/NAME is there.
func probing(name, script string) string {
	return "image = 'demo'\n" + idle + "mount = [{ type = 'bind', source = '/srv/gate', target = '/gate' }]\n[health]\non_failure = 'none'\ninterval = '200ms'\nretries = 1\nstart_period = '1h'\n" +
		"command = '''\nprintf . >>/run/probes; [ ! -e /gate/" + name + " ] || {\n" + script + "\n}\n'''\n"
}

// What is left in a container of sleeps with a number; the container need not run.
const sleeps = `count=$(cat $(cat "/sys/fs/cgroup$(systemctl show -P ControlGroup "cocker@$1")/cgroup.procs" | sed 's|.*|/proc/&/cmdline|') 2>/dev/null | tr '\0' ' ' | grep -o "sleep $2" | wc -l); `

func TestProbesThatMisbehave(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		h.MustRun(t, "mkdir -p /srv/gate")
		for _, c := range []struct{ name, script, want, left string }{ // left "": some
			{"hangs", "echo waiting; sleep 4321 & sleep 4321", "no result within 1s: waiting", "0"},
			{"deaf", "trap '' TERM INT HUP; sleep 4321 & while :; do wait; done", "no result within 1s", "0"},
			{"floods", "yes 'a flood'", "no result within 1s: ...", "0"},
			{"much", "head -c 10000000 /dev/zero | tr '\\0' x; echo; echo the end; exit 1", "x | the end", "0"},
			{"binary", "printf '\\377\\033[2J\\000READY=1\\nMAINPID=1\\n\\357\\277\\277'; exit 1", "exit status 1: ? [2J READY=1 | MAINPID=1 | ?", "0"},
			{"leaves", "sleep 4321 & echo left; exit 1", "exit status 1: left", "0"},
			{"daemon", "[ -e /run/daemon ] || setsid sh -c 'touch /run/daemon; exec sleep 4321' & until [ -e /run/daemon ]; do sleep 0.1; done; echo daemon; exit 1", "exit status 1: daemon", ""},
			{"killed", "kill -9 $$", "ended by signal 9", "0"},
		} {
			start(t, h, c.name, probing(c.name, c.script)+"timeout = '1s'\n")
			pid := mainPID(t, h, c.name)
			h.MustRun(t, `touch /srv/gate/"$1"`, c.name)
			awaitHealth(t, h, c.name, "unhealthy")
			awaitProbes(t, h, c.name, 2)
			if text := properties(t, h, c.name, "StatusText")["StatusText"]; !strings.Contains(text, c.want) || len(text) > 3000 {
				t.Errorf("%s: status %q, want %q in it", c.name, text, c.want)
			}
			h.MustRun(t, `rm /srv/gate/"$1"`, c.name)
			awaitHealth(t, h, c.name, "healthy")
			h.WaitFor(t, eventually, "what the probes of "+c.name+" have left", sleeps+`if [ "$3" ]; then [ "$count" = "$3" ]; else [ "$count" -gt 0 ]; fi`, c.name, "4321", c.left)
			if got := mainPID(t, h, c.name); got != pid {
				t.Errorf("%s: it was restarted", c.name)
			}
			// init has no more descriptors than before, and holds no output.
			h.MustRun(t, `kb=$(awk '/RssAnon/ { print $2 }' /proc/"$1"/status); [ "$kb" -le 2048 ] || { echo "init has $kb kB" >&2; exit 1; }
				n=$(ls /proc/"$1"/fd | wc -l); [ "$n" -le 20 ] || { ls -l /proc/"$1"/fd >&2; exit 1; }`, pid)
			h.MustRun(t, `! grep -l '^State:.Z' /proc/[0-9]*/task/*/status 2>/dev/null | xargs -r grep -l "^NSpid:.*[[:space:]].*[[:space:]]" | grep .`)
			h.MustRun(t, `timeout 60 systemctl stop cocker@"$1"`, c.name)
		}
	})
}

// A probe is started as everything else in the container: with its environment, working
// directory and capabilities, and with no descriptor of init's.
func TestProbeIsOneOfTheContainer(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		const told = `cat /proc/self/status | sed -n "s/^CapBnd:.//p"; id -u; id -g; id -G; pwd; echo $COLOUR; echo $(ls /proc/self/fd); wc -c </dev/stdin; ulimit -n; umask`
		for _, user := range []string{"0:0", "1000:1000"} {
			h.MustRun(t, "rm -rf /srv/told && mkdir -m 777 /srv/told")
			start(t, h, "web", "image = 'demo'\nworkdir = '/srv'\nuser = '"+user+"'\n"+
				"mount = [{ type = 'bind', source = '/srv/told', target = '/told' }]\n"+
				sh("{ "+told+"; } >/told/command 2>&1; trap 'exit 0' TERM; touch /told/done; sleep 100000 & wait")+
				"environment.COLOUR = 'blue'\n[health]\ncommand = '''\n{ "+told+"; } >/told/probe 2>&1; [ -e /told/done ]\n'''\n")
			h.MustRun(t, `cmp /srv/told/command /srv/told/probe && grep -x blue /srv/told/probe && grep -x '0 1 2 3' /srv/told/probe && grep -x "${1%:*}" /srv/told/probe ||
				{ cat /srv/told/command; diff /srv/told/command /srv/told/probe; exit 1; } >&2`, user)
			h.MustRun(t, "systemctl stop cocker@web")
		}
		h.MustRun(t, "rm -rf /srv/told && mkdir -m 777 /srv/told")
		start(t, h, "web", "image = 'demo'\nuser = '1000'\nmount = [{ type = 'bind', source = '/srv/told', target = '/told' }]\n"+idle+
			"[health]\nuser = '0'\ncommand = ['sh', '-c', 'id -u >/told/probe; cut -d\" \" -f6 /proc/$$/stat >>/told/probe; echo $$ >>/told/probe']\n")
		h.MustRun(t, `set -- $(cat /srv/told/probe); [ "$1" = 0 ] && [ "$2" = "$3" ] || { echo "$@" >&2; exit 1; }`) // a session of its own
	})
}

// While a container is frozen nothing ends it, and the probe that was frozen, too, is not
// held against it.
func TestFrozenIsNotUnhealthy(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		h.MustRun(t, "mkdir -p /srv/gate")
		const waits = "touch /run/waits; until [ -e /gate/go ]; do sleep 0.1; done; rm /run/waits"
		start(t, h, "cold", strings.Replace(probing("wait", waits), "on_failure = 'none'\n", "", 1)+"timeout = '10s'\n")
		since, pid := now(t, h), mainPID(t, h, "cold")
		h.MustRun(t, "touch /srv/gate/wait")
		h.WaitFor(t, eventually, "a probe that waits", `[ -e /proc/"$1"/root/run/waits ]`, pid)
		h.MustRun(t, `timeout 60 systemctl freeze cocker@cold && date +%s >/tmp/frozen`)
		h.WaitFor(t, eventually, "more than twice the timeout", `[ "$(date +%s)" -gt "$(($(cat /tmp/frozen) + 22))" ]`)
		h.MustRun(t, `touch /srv/gate/go && timeout 60 systemctl thaw cocker@cold`)
		awaitProbes(t, h, "cold", 2)
		if got := healthLines(t, h, "cold", since); got[0] != "" || mainPID(t, h, "cold") != pid {
			t.Errorf("it was frozen, and the journal has: %q", got)
		}
		assertProperties(t, h, "cold", map[string]string{"ActiveState": "active", "NRestarts": "0"})
		// The same probe, not frozen, is a failure.
		h.MustRun(t, "rm /srv/gate/go")
		h.WaitFor(t, eventually, "a restart", `[ "$(systemctl show -P NRestarts cocker@cold)" = 1 ]`)
		assertHealthLines(t, h, "cold", since, "no result within 10s")
		h.MustRun(t, "rm /srv/gate/wait && touch /srv/gate/go && timeout 60 systemctl start cocker@cold")
	})
}

// A stop does not wait for a probe, and is a clean one.
func TestStopDuringAProbe(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		h.MustRun(t, "mkdir -p /srv/gate")
		for _, stop := range []string{"cocker stop busy", "systemctl stop cocker@busy", "machinectl poweroff busy"} {
			start(t, h, "busy", probing("hang", "sleep 4321 & sleep 4321")+"timeout = '1h'\n[service]\nTimeoutStopSec = '1h'\n")
			since := now(t, h)
			h.MustRun(t, "touch /srv/gate/hang")
			h.WaitFor(t, eventually, "a probe that hangs", sleeps+`[ "$count" -gt 0 ]`, "busy", "4321")
			h.MustRun(t, "timeout 100 "+stop)
			h.WaitFor(t, eventually, "the end", `[ "$(systemctl show -P ActiveState cocker@busy)" = inactive ]`)
			assertProperties(t, h, "busy", map[string]string{"Result": "success", "ExecMainStatus": "0"})
			if got := healthLines(t, h, "busy", since); got[0] != "" {
				t.Errorf("%s: the journal has: %q", stop, got)
			}
			h.MustRun(t, "rm /srv/gate/hang")
		}
	})
}

// cocker run: a service waits, too; in the foreground nobody would act.
func TestHealthOfTransientContainers(t *testing.T) {
	onEachRelease(t, func(t *testing.T, h *host.Host) {
		h.MustRun(t, "mkdir -p /srv/gate && rm -f /srv/gate/ok")
		const run = `timeout 60 cocker run --name brief -v /srv/gate:/gate --health-cmd 'sleep 0.2; [ -e /gate/ok ]' --health-interval 200ms --health-retries 2 `
		r := h.Run(t, run+"--rm demo true")
		if r.ExitCode != 125 || !strings.Contains(r.Stderr, "use --detach") {
			t.Errorf("in the foreground: exit status %d, %s", r.ExitCode, r.Stderr)
		}
		r = h.Run(t, run+`-d --rm --service Restart=no demo sh -c 'trap "exit 0" TERM; sleep 1000 & wait'`)
		if r.ExitCode != 125 || !strings.Contains(r.Stderr, "Health: unhealthy") {
			t.Errorf("never healthy: exit status %d, %s", r.ExitCode, r.Stderr)
		}
		nothingLeft(t, h)
		// systemd has the next start under way when this one gives up.
		r = h.Run(t, run+`-d --rm demo sh -c 'trap "exit 0" TERM; sleep 1000 & wait'`)
		if r.ExitCode != 125 {
			t.Errorf("never healthy: exit status %d, %s", r.ExitCode, r.Stderr)
		}
		h.MustRun(t, "timeout 100 cocker rm -f brief 2>/dev/null || :")
		nothingLeft(t, h)
		h.MustRun(t, "touch /srv/gate/ok; "+run+`-d --rm demo sh -c 'trap "exit 0" TERM; sleep 1000 & wait' && cocker ps | grep '^brief .* running (healthy) '`)
		h.MustRun(t, `rm /srv/gate/ok`)
		h.WaitFor(t, eventually, "a restart", `[ "$(systemctl show -P NRestarts cocker-brief)" -gt 0 ]`)
		h.MustRun(t, `timeout 100 cocker rm -f brief; rm -r /srv/gate`)
		nothingLeft(t, h)
	})
}

// Init is to take at most a thousandth of a CPU for a probe each second: a millisecond each.
// The bound leaves room for the cold caches of a busy machine.
func TestCostOfProbes(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		h.MustRun(t, "mkdir -p /srv/gate && touch /srv/gate/ok")
		start(t, h, "web", strings.Replace(checkedContainer(idle, ""), "200ms", "100ms", 1))
		awaitProbes(t, h, "web", 20)
		const figures = `pid=$(systemctl show -P MainPID cocker@web); stat -c %s /proc/$pid/root/run/probes; cat /proc/$pid/task/*/schedstat | awk '{ sum += $1 } END { print sum }'
			awk '/RssAnon/ { print $2 }' /proc/$pid/status`
		before := h.MustRun(t, figures)
		awaitProbes(t, h, "web", 100)
		var probes, time, memory [2]int
		for i, text := range []string{before, h.MustRun(t, figures)} {
			if _, err := fmt.Sscan(text, &probes[i], &time[i], &memory[i]); err != nil {
				t.Fatal(err, text)
			}
		}
		each := (time[1] - time[0]) / (probes[1] - probes[0]) / 1000
		t.Logf("%s: %d probes, %d µs of init's each; its own memory was %d, is %d kB", h.Release, probes[1]-probes[0], each, memory[0], memory[1])
		if each > 3000 {
			t.Errorf("a probe costs init %d µs", each)
		}
		// A hundred probes with half a kilobyte of garbage each would be 50 kB, and its collection 250.
		if memory[1] > 1024 || memory[1]-memory[0] > 32 {
			t.Errorf("init's own memory was %d kB, is %d kB", memory[0], memory[1])
		}
	})
}

// Of several processes the main one must be ready first; then the check decides, and not
// what main says.
func TestHealthOfSeveralProcesses(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		h.MustRun(t, "mkdir -p /srv/gate")
		declare(t, h, map[string]string{"many": checkedContainer(idle, "start_period = '1h'\n[process.other]\ncommand = ['sleep', '100000']\nworkdir = '/run'\nstop_signal = 'SIGKILL'\n")})
		since := now(t, h)
		h.MustRun(t, "systemctl start --no-block cocker@many")
		awaitHealth(t, h, "many", "starting")
		awaitProbes(t, h, "many", 2)
		assertProperties(t, h, "many", map[string]string{"ActiveState": "activating"})
		h.MustRun(t, "touch /srv/gate/ok && timeout 60 systemctl start cocker@many && timeout 60 cocker process restart many other")
		h.MustRun(t, `rm /srv/gate/ok`)
		h.WaitFor(t, eventually, "a restart", `[ "$(systemctl show -P NRestarts cocker@many)" = 1 ]`)
		assertHealthLines(t, h, "many", since, wentWell, wentBad)
		h.MustRun(t, "touch /srv/gate/ok && timeout 60 systemctl start cocker@many")
	})
}
