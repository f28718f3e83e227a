package tests

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cocker/cocker/tests/host"
)

// inits are the two kinds of PID 1.
var inits = []string{"cocker", "none"}

// The unit's main process is the container's PID 1, a child of systemd, and
// nothing of cocker is left on the host.
func TestMainProcessIsThePID1(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		for _, init := range inits {
			start(t, h, "main", "image = 'demo'\ninit = '"+init+"'\n"+sh("trap 'exit 0' TERM; touch /run/up; while :; do sleep 0.02; done"))
			pid := mainPID(t, h, "main")
			h.WaitFor(t, eventually, "the command", `[ -e "/proc/$1/root/run/up" ]`, pid)
			h.MustRun(t, `awk '/^NSpid/ { exit !(NF==3 && $3==1) }' /proc/$1/status && test "$(awk '/^PPid/ {print $2}' /proc/$1/status)" = 1`, pid)
			comm := map[string]string{"cocker": "cocker-init", "none": "sh"}[init]
			if got := h.MustRun(t, `cat /proc/$1/comm`, pid); got != comm {
				t.Errorf("init %q: PID 1 is %q", init, got)
			}
			if got := h.MustRun(t, `ps -e -o pid=,comm= | awk -v init="$1" '$2 ~ /^cocker/ && $1 != init'`, pid); got != "" {
				t.Errorf("init %q: processes of cocker on the host:\n%s", init, got)
			}
			assertProperties(t, h, "main", map[string]string{"ActiveState": "active", "SubState": "running", "Slice": "machine.slice", "NRestarts": "0"})
			h.MustRun(t, "systemctl stop cocker@main")
			assertProperties(t, h, "main", map[string]string{"ActiveState": "inactive", "Result": "success"})
		}
	})
}

func TestExitStatus(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		tests := []struct {
			init, script, result, code, status string
		}{
			{"cocker", "exit 0", "success", "", ""},
			{"cocker", "exit 3", "exit-code", "1", "3"},
			{"cocker", "sleep 0.1; exit 42", "exit-code", "1", "42"},
			{"cocker", "kill -9 $$", "exit-code", "1", "137"},  // 128 + the signal, as a shell says it
			{"cocker", "kill -15 $$", "exit-code", "1", "143"}, // nobody asked for it
			{"cocker", "kill -6 $$", "exit-code", "1", "134"},
			{"none", "exit 0", "success", "", ""},
			{"none", "exit 3", "exit-code", "1", "3"},
			{"none", "sleep 0.1; exit 42", "exit-code", "1", "42"},
		}
		files := map[string]string{}
		for i, tt := range tests {
			files[fmt.Sprintf("status-%d", i)] = "image = 'demo'\ninit = '" + tt.init + "'\n" + sh(tt.script)
		}
		declare(t, h, files)
		for i, tt := range tests {
			got := runAgain(t, h, fmt.Sprintf("status-%d", i))
			// systemd forgets a unit that ended well; see CollectMode= in systemd.unit(5).
			if got.Result != tt.result || tt.code != "" && (got.Code != tt.code || got.Status != tt.status) {
				t.Errorf("init %s: %s: %+v", tt.init, tt.script, got)
			}
			if got.startFailed != (tt.result != "success") {
				t.Errorf("init %s: %s: systemctl start --wait failed: %v", tt.init, tt.script, got.startFailed)
			}
		}
	})
}

// A command may end before systemd has looked: its status must not be lost.
func TestStatusOfAShortJob(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		for _, init := range inits {
			declare(t, h, map[string]string{"short": "image = 'demo'\ninit = '" + init + "'\ncommand = ['false']\n[unit]\nStartLimitBurst = '1000'\n"})
			h.MustRun(t, `for i in $(seq 25); do
				timeout 60 systemctl start --wait cocker@short
				got=$(systemctl show --value -p Result,ExecMainCode,ExecMainStatus cocker@short | sort | xargs)
				[ "$got" = "1 1 exit-code" ] || { echo "round $i: $got" >&2; exit 1; }
			done`)
		}
	})
}

// The signal that ends PID 1 is the one that systemd reports.
func TestSignalsFromOutside(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		for _, init := range inits {
			start(t, h, "victim", "image = 'demo'\ninit = '"+init+"'\n[network]\nports = ['8090:80']\n")
			h.MustRun(t, `kill -9 "$1"`, mainPID(t, h, "victim"))
			h.WaitFor(t, eventually, "its end", "systemctl is-failed cocker@victim")
			assertProperties(t, h, "victim", map[string]string{"Result": "signal", "ExecMainCode": "2", "ExecMainStatus": "9"})
			h.MustRun(t, "systemctl reset-failed cocker@victim")
		}
	})
}

func TestRestart(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		// Fails twice and then succeeds.
		start(t, h, "thrice", "image = 'demo'\n"+sh("echo x >>/runs; [ $(wc -l </runs) -lt 3 ] && exit 7; sleep 1000")+
			"[service]\nRestart = 'on-failure'\nRestartSec = '10ms'\n")
		h.WaitFor(t, eventually, "the third run", `[ "$(systemctl show --value -p NRestarts,SubState cocker@thrice | sort | xargs)" = "2 running" ]`)

		start(t, h, "again", "image = 'demo'\n[service]\nRestart = 'always'\nRestartSec = '10ms'\n[network]\nports = ['8090:80']\n")
		before := mainPID(t, h, "again")
		h.MustRun(t, `kill -9 "$1"`, before)
		h.WaitFor(t, eventually, "the second run", `[ "$(systemctl show --value -p NRestarts,SubState cocker@again | sort | xargs)" = "1 running" ]`)
		h.WaitFor(t, eventually, "its port", "curl -sf http://127.0.0.1:8090/")

		// The status is the command's own: systemd decides by it.
		got := runJob(t, h, "prevented", "image = 'demo'\n"+sh("exit 9")+"[service]\nRestart = 'always'\nRestartPreventExitStatus = '9'\n")
		if got.Result != "exit-code" || got.Status != "9" {
			t.Errorf("RestartPreventExitStatus=9: %+v", got)
		}
	})
}

func TestStopSignals(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		importTree(t, h, "quits:1", "mkdir empty", "--stop-signal", "SIGQUIT")
		const says = "for s in TERM QUIT USR1 WINCH; do trap \"echo got $s; exit 0\" $s; done; echo up; while :; do sleep 0.02; done"
		tests := []struct{ name, toml, want string }{
			{"default", "image = 'demo'\n", "got TERM"},
			{"of-image", "images = ['demo', 'quits:1']\n", "got QUIT"},
			{"of-file", "images = ['demo', 'quits:1']\nstop_signal = 'SIGUSR1'\n", "got USR1"},
			{"no-init", "image = 'demo'\ninit = 'none'\n", "got TERM"},
			{"no-init-file", "image = 'demo'\ninit = 'none'\nstop_signal = 'SIGWINCH'\n", "got WINCH"},
		}
		for _, tt := range tests {
			since := now(t, h)
			start(t, h, tt.name, tt.toml+sh(says))
			h.WaitFor(t, eventually, "the traps", `journalctl -q -o cat --since="$2" -u cocker@"$1" | grep -qx up`, tt.name, since)
			h.MustRun(t, `timeout 60 systemctl stop cocker@"$1"`, tt.name)
			h.WaitFor(t, eventually, tt.want, `journalctl -q -o cat --since="$3" -u cocker@"$1" | grep -qx "$2"`, tt.name, tt.want, since)
			assertProperties(t, h, tt.name, map[string]string{"ActiveState": "inactive", "Result": "success"})
		}
	})
}

// What machined and systemd send to the PID 1 of a container: systemd(1), "Signals".
func TestSignalsOfTheContainerInterface(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		for _, signal := range []string{"RTMIN+3", "RTMIN+4", "TERM"} {
			start(t, h, "clean", "image = 'demo'\n")
			h.MustRun(t, `systemctl kill --kill-whom=main --signal="$1" cocker@clean`, signal)
			h.WaitFor(t, eventually, "its end", `[ "$(systemctl show --value -p ActiveState,Result,NRestarts cocker@clean | sort | xargs)" = "0 inactive success" ]`)
		}
		start(t, h, "boots", "image = 'demo'\n[network]\nports = ['8090:80']\n")
		before := mainPID(t, h, "boots")
		h.MustRun(t, `systemctl kill --kill-whom=main --signal=INT cocker@boots`)
		h.WaitFor(t, eventually, "the restart", `[ "$(systemctl show --value -p NRestarts,SubState cocker@boots | sort | xargs)" = "1 running" ] && [ "$(systemctl show -P MainPID cocker@boots)" != "$1" ]`, before)
		h.WaitFor(t, eventually, "its port", "curl -sf http://127.0.0.1:8090/")
	})
}

func TestOrphansAreReaped(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		start(t, h, "orphans", "image = 'demo'\n"+sh("for i in $(seq 100); do (sh -c 'sleep 0.0$((RANDOM % 9)); exit 3' &) ; done; exec sleep 1000"))
		h.WaitFor(t, eventually, "two processes left", `[ "$(wc -l <"/sys/fs/cgroup$(systemctl show -P ControlGroup cocker@orphans)/cgroup.procs")" = 2 ]`)
	})
}

// The container ends with its command; what it has started is killed.
func TestLeftoverProcesses(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		got := runJob(t, h, "parent", "image = 'demo'\n"+sh("sleep 1000 & setsid sleep 1001 & exit 5"))
		if got.Status != "5" {
			t.Errorf("ended with %+v", got)
		}
		if h.Release != host.Trixie { // it takes the five seconds that init allows
			return
		}
		got = runJob(t, h, "stubborn", "image = 'demo'\n"+sh("sh -c 'trap \"\" TERM; echo up >/up; while :; do sleep 1002; done' & until [ -e /up ]; do sleep 0.01; done; exit 6"))
		if got.Status != "6" {
			t.Errorf("ended with %+v", got)
		}
		h.MustRun(t, "! ps -e -o args= | grep '[s]leep 100'")
	})
}

func TestCommandAsPID1(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		if got := output(t, h, "first", "image = 'demo'\ninit = 'none'\n"+sh("echo $$ $(cat /proc/1/comm)")); got != "1 sh" {
			t.Errorf("got %q", got)
		}
		if got := output(t, h, "second", "image = 'demo'\n"+sh("cat /proc/1/comm; [ $$ != 1 ] && echo other")); got != "cocker-init\nother" {
			t.Errorf("got %q", got)
		}
	})
}

func TestUser(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		importTree(t, h, "users:1", `mkdir etc
			printf 'root:x:0:0::/root:/bin/sh\napp:x:1001:1001::/home/app:/bin/sh\n' >etc/passwd
			printf 'root:x:0:\napp:x:1001:\nstaff:x:50:\nextra:x:2000:app,other\n' >etc/group`)
		tests := []struct{ user, want string }{
			{"", "0 0 0 /root"},
			{"app", "1001 1001 1001 2000 /home/app"},
			{"1001", "1001 1001 1001 2000 /home/app"},
			{"app:staff", "1001 50 50 /home/app"},
			{"app:77", "1001 77 77 /home/app"},
			{"4242", "4242 0 0 /"},
			{"4242:4343", "4242 4343 4343 /"},
		}
		files, want := map[string]string{}, map[string]string{}
		for i, tt := range tests {
			for _, init := range inits {
				name := fmt.Sprintf("user-%d-%s", i, init)
				toml := "images = ['demo', 'users:1']\ninit = '" + init + "'\n" + sh("echo $(id -u) $(id -g) $(id -G) $HOME")
				if tt.user != "" {
					toml = "user = '" + tt.user + "'\n" + toml
				}
				files[name], want[name] = toml, tt.want
			}
		}
		declare(t, h, files)
		for name := range files {
			if got := runAgain(t, h, name); got.output != want[name] {
				t.Errorf("%s\ngot %+v, want %q", files[name], got, want[name])
			}
		}
		refused(t, h, "stranger", "images = ['demo', 'users:1']\nuser = 'stranger'\ncommand = ['true']\n", `user "stranger" is not in the container's /etc/passwd`)
		refused(t, h, "strangers", "images = ['demo', 'users:1']\nuser = 'app:strangers'\ncommand = ['true']\n", `group "strangers" is not in the container's /etc/group`)
	})
}

func TestEnvironmentOfTheCommand(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		importTree(t, h, "says:1", "mkdir empty", "-e", "FROM=image", "-e", "BOTH=image", "--workdir", "/made/by/image")
		got := output(t, h, "environment", `
			images = ["demo", "says:1"]
			hostname = "front.example.org"
			command = ["sh", "-c", "env | sort; pwd; hostname; stat -c %u .; tty; umask"]
			[environment]
			BOTH = "file"
			SPACE = "a  b"
			[network]
			address = "10.88.7.7"`)
		for _, want := range []string{"FROM=image", "BOTH=file", "SPACE=a  b", "container=cocker", "HOME=/root", "/made/by/image", "front.example.org", "0022", "not a tty"} {
			if !strings.Contains("\n"+got+"\n", "\n"+want+"\n") {
				t.Errorf("no line %q in:\n%s", want, got)
			}
		}
		for _, no := range []string{"NOTIFY_SOCKET", "INVOCATION_ID", "JOURNAL_STREAM", "LISTEN_"} {
			if strings.Contains(got, no) {
				t.Errorf("the host's %s reaches the command:\n%s", no, got)
			}
		}
		got = output(t, h, "workdir", "image = 'demo'\nworkdir = '/new/deep'\nuser = '1000:1000'\n"+sh("pwd; stat -c %u:%g:%a /new/deep /new"))
		if want := "/new/deep\n1000:1000:755\n0:0:755"; got != want {
			t.Errorf("a missing working directory: got %q, want %q", got, want)
		}
		importTree(t, h, "file:1", "touch notdir")
		refused(t, h, "workfile", "images = ['demo', 'file:1']\nworkdir = '/notdir'\ncommand = ['true']\n", "/notdir")
	})
}

func TestFilesOfTheContainer(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		const show = `cat /etc/hostname; grep -v '^#' /etc/hosts; cat /etc/resolv.conf; readlink /etc/mtab; echo id $(cat /etc/machine-id)`
		got := output(t, h, "files", "image = 'demo'\n"+sh(show)+"[network]\naddress = '10.88.7.7'\n")
		for _, want := range []string{"files", "127.0.0.1 localhost", "10.88.7.7 files", "nameserver 10.88.0.1", "search cocker0"} {
			if !strings.Contains("\n"+got, "\n"+want+"\n") {
				t.Errorf("no line %q in:\n%s", want, got)
			}
		}
		if got := output(t, h, "hosts", "image = 'demo'\n"+sh("cat /etc/resolv.conf")+"[network]\nmode = 'host'\n"); got != "nameserver 192.0.2.2" {
			t.Errorf("resolvers in the host's network:\n%s", got)
		}
		_, id, _ := strings.Cut(got, "id ")
		again := runAgain(t, h, "files")
		if len(id) != 32 || !strings.HasSuffix(again.output, "id "+id) {
			t.Errorf("the machine ID was %q at the first start, then:\n%s", id, again.output)
		}
		other := output(t, h, "others", "image = 'demo'\n"+sh("cat /etc/machine-id"))
		if host := h.MustRun(t, "cat /etc/machine-id"); other == id || id == host || len(other) != 32 {
			t.Errorf("machine IDs of two containers and the host: %q %q %q", id, other, host)
		}
	})
}

func TestWritableLayerSurvives(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		const count = "echo x >>/count; rm -f /srv/gone; mkdir -p /d; chown 5:6 /d; cat /count | wc -l; echo changed >/etc/kept; ls /run /tmp"
		importTree(t, h, "kept:1", "mkdir etc srv; echo original >etc/kept; touch srv/gone")
		toml := "images = ['demo', 'kept:1']\n" + sh(count)
		if got := output(t, h, "counter", toml); got != "1" && !strings.HasPrefix(got, "1\n") {
			t.Errorf("first run: %q", got)
		}
		if got := runAgain(t, h, "counter").output; !strings.HasPrefix(got, "2") {
			t.Errorf("second run: %q", got)
		}
		// The image is not changed by what a container of it does.
		got := output(t, h, "fresh", "images = ['demo', 'kept:1']\n"+sh("cat /etc/kept; ls /srv /count 2>&1 || :"))
		if !strings.HasPrefix(got, "original\n") || !strings.Contains(got, "\ngone\n") || !strings.Contains(got, "No such file") {
			t.Errorf("another container of the image sees:\n%s", got)
		}
	})
}

func TestStackedImages(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		importTree(t, h, "low:1", "mkdir -p etc opt/gone opt/opaque; echo low >etc/both; echo low >etc/low; touch etc/hidden opt/gone/f opt/opaque/low; chown 7:8 etc/low; chmod 640 etc/low")
		importTree(t, h, "high:1", "mkdir -p etc opt/opaque; echo high >etc/both; mknod etc/hidden c 0 0; mknod opt/gone c 0 0; setfattr -n trusted.overlay.opaque -v y opt/opaque; touch opt/opaque/high", "-e", "TOP=high")
		got := output(t, h, "stack", "images = ['demo', 'low:1', 'high:1']\n"+
			sh("cat /etc/both /etc/low; ls /etc/hidden /opt/gone 2>&1 | grep -c 'No such'; ls /opt /opt/opaque; stat -c %u:%g:%a /etc/low; echo $TOP"))
		if want := "high\nlow\n2\n/opt:\nopaque\n/opt/opaque:\nhigh\n7:8:640\nhigh"; got != want {
			t.Errorf("got:\n%s\nwant:\n%s", got, want)
		}
		// The same image twice, and the other way round: the later one is on top.
		got = output(t, h, "twice", "images = ['high:1', 'demo', 'low:1', 'demo']\n"+sh("cat /etc/both"))
		if got != "low" {
			t.Errorf("low above high: %q", got)
		}
	})
}

func TestOutput(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		const script = "echo plain; echo opened >/dev/stdout; echo error >/dev/stderr; echo appended >>/proc/self/fd/2; printf unfinished"
		const want = "plain\nopened\nerror\nappended\nunfinished"
		for _, user := range []string{"0", "1000:1000"} {
			if got := output(t, h, "output-"+user[:1], "image = 'demo'\nuser = '"+user+"'\n"+sh(script)); got != want {
				t.Errorf("user %s: got %q, want %q", user, got, want)
			}
		}
		if got := output(t, h, "long", "image = 'demo'\n"+sh("seq 20000")); strings.Count(got, "\n") != 19999 || !strings.HasSuffix(got, "\n20000") {
			t.Errorf("20000 lines became %d, the last of them %q", strings.Count(got, "\n")+1, got[max(0, len(got)-20):])
		}
		h.MustRun(t, `journalctl -q -u cocker@long -n 1 -o json MESSAGE=20000 | jq -e '._SYSTEMD_UNIT == "cocker@long.service" and .SYSLOG_IDENTIFIER == "long"'`)
	})
}
