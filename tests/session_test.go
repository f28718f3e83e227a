package tests

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/tests/host"
)

const sleeper = "image = \"demo\"\ncommand = [\"sleep\", \"100000\"]\n[network]\nmode = \"none\"\n"

func TestExecIsAPipe(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		start(t, h, "e1", sleeper+"[environment]\nB = \"file\"\n")
		tests := []struct {
			script, stdout, stderr string
			status                 int
		}{
			{"cocker exec e1 echo hi", "hi\n", "", 0},
			{"echo hi | cocker exec -i e1 cat", "hi\n", "", 0},
			{"echo hi | cocker exec e1 cat", "", "", 0}, // without -i there is no input
			{"cocker exec e1 -- sh -c 'echo out; echo err >&2; exit 7'", "out\n", "err\n", 7},
			{"cocker exec e1 sh -c 'kill -9 $$'", "", "", 137},
			{"cocker exec -e A=1 -e 'C=x y' -w /srv e1 sh -c 'echo $A $B $C; pwd'", "1 file x y\n/srv\n", "", 0},
			{"A=here cocker exec -e A e1 sh -c 'echo $A'", "here\n", "", 0},
			{"cocker exec -u 1000:100 e1 sh -c 'id -u; id -g; echo to stdout >/dev/stdout'", "1000\n100\nto stdout\n", "", 0},
			{"cocker exec -u nobody e1 id -un", "nobody\n", "", 0},
			{"cocker exec e1 sh -c 'head -c 3000000 /dev/zero' | wc -c", "3000000\n", "", 0},
			{"head -c 3000000 /dev/zero | cocker exec -i e1 wc -c", "3000000\n", "", 0},
			{"cocker exec e1 yes | head -1", "y\n", "", 0},
			// Neither more descriptors than the three and the one that reads them, nor more capabilities than the command's.
			{"exec 9</etc/passwd; cocker exec e1 ls /proc/self/fd | wc -l", "4\n", "", 0},
			{"for p in $(pgrep -oP $(systemctl show -P MainPID cocker@e1)); do grep -E '^(Cap|Seccomp|NoNew)' /proc/$p/status >/run/caps; cocker exec e1 grep -E '^(Cap|Seccomp|NoNew)' /proc/self/status | diff /run/caps -; done; rm /run/caps", "", "", 0},
			{"for p in $(systemctl show -P MainPID cocker@e1); do for n in user pid net mnt uts ipc; do test $(readlink /proc/$p/ns/$n) = $(cocker exec e1 readlink /proc/self/ns/$n) || echo $n; done; done", "", "", 0},
			{"echo 'echo $0; pwd; echo $HOME $USER' | cocker shell e1 | grep -v ^This", "-sh\n/root\n/root root\n", "", 0},
		}
		for _, tt := range tests {
			r := h.Run(t, tt.script)
			if r.Stdout != tt.stdout || r.Stderr != tt.stderr || r.ExitCode != tt.status {
				t.Errorf("%s\n got %q, %q, exit status %d\nwant %q, %q, exit status %d", tt.script, r.Stdout, r.Stderr, r.ExitCode, tt.stdout, tt.stderr, tt.status)
			}
		}
	})
}

func TestExecReportsWhatItCannotDo(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		start(t, h, "e2", sleeper)
		start(t, h, "e2none", "init = \"none\"\n"+sleeper)
		tests := []struct {
			script, want string
			status       int
		}{
			{"cocker exec e2 nosuch", `"nosuch" is not in the container`, 127},
			{"cocker exec e2 /nosuch", `"/nosuch" is not in the container`, 127},
			{"cocker exec e2 /etc/passwd", "not executable", 126},
			{"cocker exec e2 /etc", "is a directory", 126},
			{"cocker exec -u nosuch e2 true", `user "nosuch"`, 125},
			{"cocker exec -w /nosuch e2 true", `working directory "/nosuch"`, 125},
			{"cocker exec nosuch true", "not running", 125},
			{"cocker exec ../e2 true", "name", 125},
			{"cocker exec e2none true", `init = "none"`, 125},
			{"cocker exec -it e2 true </dev/null", "terminal", 125},
			{"cocker exec -i e2 ls /proc/self/fd/0/ </", "directory", 125},
			{"cocker exec -e NOTSET e2 true", "NOTSET", 125},
		}
		for _, tt := range tests {
			r := h.Run(t, tt.script)
			if r.ExitCode != tt.status || !strings.Contains(r.Stderr, tt.want) || r.Stdout != "" {
				t.Errorf("%s: exit status %d, want %d and %q\nstdout: %s\nstderr: %s", tt.script, r.ExitCode, tt.status, tt.want, r.Stdout, r.Stderr)
			}
		}
		// A frozen container cannot answer, whether the freeze comes before the request or after.
		h.MustRun(t, "systemctl freeze cocker@e2")
		r := h.Run(t, "timeout 60 cocker exec e2 true")
		h.MustRun(t, "systemctl thaw cocker@e2")
		if r.ExitCode != 125 || !strings.Contains(r.Stderr, "frozen") {
			t.Errorf("frozen: exit status %d, %s", r.ExitCode, r.Stderr)
		}
		h.MustRun(t, "cocker exec e2 true")
	})
}

// onTerminal starts a command of the host on a terminal of its own.
func onTerminal(t *testing.T, h *host.Host, words ...string) (*host.Cmd, *screen, *os.File) {
	t.Helper()
	blocking, slave, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer slave.Close()
	if err := pty.Setsize(blocking, &pty.Winsize{Rows: 33, Cols: 111}); err != nil {
		t.Fatal(err)
	}
	master := closable(t, blocking)
	t.Cleanup(func() { master.Close() })
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	t.Cleanup(cancel)
	cmd := h.Command(ctx, words[0], words[1:]...)
	cmd.Env = append(cmd.Env, "TERM=vt100")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr.Setpgid, cmd.SysProcAttr.Setsid, cmd.SysProcAttr.Setctty = false, true, true
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, newScreen(t, master), master
}

// closable returns a file whose Close takes effect at once: that of one that blocks waits
// for the read(2) which another goroutine is in.
func closable(t *testing.T, blocking *os.File) *os.File {
	t.Helper()
	defer blocking.Close()
	fd, err := unix.FcntlInt(blocking.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		t.Fatal(err)
	}
	return os.NewFile(uintptr(fd), "terminal")
}

// useTerminal does what a person does at a shell's prompt: looks at the terminal, makes
// its window another size, interrupts a program.
func useTerminal(t *testing.T, screen *screen, master *os.File) {
	t.Helper()
	screen.say("stty size; echo end-of-$((1+1))\n")
	screen.expect("33 111", "end-of-2")
	if err := pty.Setsize(master, &pty.Winsize{Rows: 40, Cols: 90}); err != nil {
		t.Fatal(err)
	}
	screen.say("until [ \"$(stty size)\" = '40 90' ]; do sleep 0.05; done; echo new-$((2+2))\n")
	screen.expect("new-4")
	screen.say("sh -c 'echo asleep-$((2+3)); exec sleep 1000'\n")
	screen.expect("asleep-5")
	screen.say("\x03")
	screen.say("echo alive-$((3+3)); tty\n")
	screen.expect("alive-6", "/dev/pts/")
}

func TestExecGivesATerminal(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		start(t, h, "e3", sleeper)
		for _, words := range [][]string{{"cocker", "exec", "-it", "e3", "sh"}, {"cocker", "shell", "e3"}} {
			cmd, screen, master := onTerminal(t, h, words...)
			useTerminal(t, screen, master)
			// What is at /dev/pts is the container's own; the caller's terminal is nowhere in it.
			screen.say("ls /dev/pts | grep -vc ptmx; exit 9\n")
			screen.expect("1")
			_ = cmd.Wait()
			if cmd.ProcessState.ExitCode() != 9 {
				t.Errorf("%v: exit status %d, want 9", words, cmd.ProcessState.ExitCode())
			}
		}
		// Output to a terminal without -t: the command gets a pipe, no terminal to push input into.
		cmd, screen, _ := onTerminal(t, h, "cocker", "exec", "-i", "e3", "sh", "-c", "for n in 0 1 2; do test -t $n && has=\"$has $n\"; done; echo terminals:$has.")
		screen.expect("terminals:.")
		_ = cmd.Wait()
	})
}

func TestSessionsAreSeenAndEnd(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		start(t, h, "e4", sleeper)
		begin := func(script string) *host.Cmd {
			t.Helper()
			h.MustRun(t, "rm -f /run/e4.up")
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
			t.Cleanup(cancel)
			cmd := h.Command(ctx, "cocker", "exec", "-u", "nobody", "e4", "sh", "-c", script)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			h.WaitFor(t, eventually, "the session's process", `cocker sessions e4 --json | jq -e '.[0].processes == 2'`)
			return cmd
		}
		const deaf = "trap '' HUP TERM INT; sleep 100000 & wait; sleep 100000"
		cmd := begin("sleep 100000 & wait")
		h.MustRun(t, `test "$(cocker sessions --json | jq -r '.[0] | "\(.container) \(.session) \(.user) \(.command[0])"')" = "e4 1 nobody sh"`)
		h.MustRun(t, `systemctl status --no-pager cocker@e4 | grep -q session-1`)
		h.MustRun(t, `cat "/sys/fs/cgroup$(systemctl show -P ControlGroup cocker@e4)/session-1/cgroup.procs" | grep -q .`)
		h.MustRun(t, `journalctl --sync; journalctl -u cocker@e4 -o cat COCKER_SESSION=1 + _UID=0 OBJECT_SYSTEMD_UNIT=cocker@e4.service | grep -q 'root runs as nobody: sh -c sleep'`)
		h.MustRun(t, `test "$(systemctl show -P MainPID cocker@e4)" = "$(machinectl show -P Leader e4 2>/dev/null || machinectl show --value -p Leader e4)"`)
		const none = `[ "$(cocker sessions --json)" = "[]" ]; ! find /sys/fs/cgroup -path '*e4*' -name 'session-*' | grep .`
		if err := cmd.Process.Signal(unix.SIGTERM); err != nil { // passed on to the command and its children
			t.Fatal(err)
		}
		if _ = cmd.Wait(); cmd.ProcessState.ExitCode() != 143 {
			t.Errorf("SIGTERM: exit status %d, want 143", cmd.ProcessState.ExitCode())
		}
		h.WaitFor(t, eventually, "the end of the session", none)

		cmd = begin(deaf) // a client that is killed, a command that does not hear of it
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		h.WaitFor(t, eventually, "the deaf session's end", "! cocker sessions e4 --json | grep -q processes && cocker exec e4 true && "+none)
		h.MustRun(t, `test "$(cocker exec e4 ps -o comm | grep -c sleep)" = 1`)

		cmd = begin(deaf) // the container stops
		h.MustRun(t, "timeout 60 systemctl stop cocker@e4")
		if _ = cmd.Wait(); cmd.ProcessState.ExitCode() < 125 {
			t.Errorf("stop: exit status %d", cmd.ProcessState.ExitCode())
		}
		h.MustRun(t, `test "$(systemctl show -P Result cocker@e4)" = success; ! ls /run/cocker/control/e4 2>/dev/null`)
	})
}

func TestManySessionsLeakNothing(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		start(t, h, "e5", sleeper)
		h.MustRun(t, "for i in $(seq 120); do cocker exec e5 true; done") // what a runtime gets once
		look := `p=$(systemctl show -P MainPID cocker@e5); ls /proc/$p/fd | wc -l; find /sys/fs/cgroup -path '*e5*' -type d; cocker exec e5 ps -o pid,comm,stat | grep -c -v 'ps\|cocker-session'`
		before := h.MustRun(t, look)
		const memory = `after=$(awk '/^Private_Dirty/ { print $2 }' /proc/$(systemctl show -P MainPID cocker@e5)/smaps_rollup)`
		used := h.MustRun(t, memory+"; echo $after")
		h.MustRun(t, "for i in $(seq 1000); do cocker exec e5 true || exit; done")
		if after := h.MustRun(t, look); after != before {
			t.Errorf("after 1000 sessions:\n%s\nbefore:\n%s", after, before)
		}
		// A fifth of a kilobyte for each would be garbage; a goroutine or a descriptor's record is more.
		h.MustRun(t, memory+`; [ $((after - $1)) -lt 100 ] || { echo "$1 kB, then $after kB"; exit 1; }`, used)
	})
}

// noSessions asks whether the container whose name follows has no session, and nothing is
// left of one.
const noSessions = `none() {
		[ "$(cocker sessions --json "$1")" = "[]" ] && set -- "/sys/fs/cgroup$(systemctl show -P ControlGroup cocker@"$1")" &&
			! find "$1" -name 'session-*' | grep . && [ "$(wc -l <"$1/cgroup.procs")" = 2 ]
	}; none `

// escape types what ends machinectl, until it does: the three have to come within a
// second, which a busy machine may miss.
func escape(s *screen) {
	s.t.Helper()
	deadline := time.Now().Add(eventually)
	for !strings.Contains(s.seen, "terminated") {
		if time.Now().After(deadline) {
			s.t.Fatalf("machinectl does not end; seen:\n%s", s.seen)
		}
		s.say("\x1d\x1d\x1d")
		select {
		case more := <-s.shown:
			s.seen += more
		case <-time.After(2 * time.Second):
		}
	}
}

// The real machinectl, in an image without systemd, D-Bus and /var/run.
func TestMachinectlShell(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		importTree(t, h, "bare", "mkdir bin etc root home; cp /usr/bin/busybox bin/; for n in sh id tty stty sleep env; do ln -s busybox bin/$n; done; "+
			`printf 'root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/home:/bin/sh\n' >etc/passwd; chown 1000:1000 home`)
		start(t, h, "m1", strings.ReplaceAll(sleeper, "demo", "bare"))
		for _, words := range [][]string{{"m1"}, {"root@m1"}, {"m1", "/bin/sh"}} {
			cmd, screen, master := onTerminal(t, h, append([]string{"machinectl", "shell"}, words...)...)
			useTerminal(t, screen, master)
			screen.say("echo $HOME; exit\n")
			screen.expect("/root", "terminated")
			if err := cmd.Wait(); err != nil {
				t.Errorf("%v: %v", words, err)
			}
		}
		// A second shell beside the first, Ctrl-D, and the escape.
		first, one, _ := onTerminal(t, h, "machinectl", "shell", "user@m1")
		one.expect("$ ") // only then it is the first
		second, two, _ := onTerminal(t, h, "machinectl", "shell", "--uid=user", "--setenv=A=b c", "m1", "/bin/sh", "-c", "id -u; id -g; echo $A; tty; exec sh")
		two.expect("1000", "1000", "b c", "/dev/pts/")
		one.say("echo $USER $((5+5)); tty\n")
		one.expect("user 10", "/dev/pts/", "$ ") // the prompt: only then ^D is the shell's own to read
		const seen = `"\(.session) \(.caller) \(.user) \(.processes) \(.command // ["-"] | join(" "))"`
		h.MustRun(t, `test "$(cocker sessions m1 --json | jq -r '.[] | `+seen+`')" = "$(printf '%s\n' '1 machinectl user 1 -' '2 machinectl user 1 /bin/sh -c id -u; id -g; echo $A; tty; exec sh')"`)
		h.MustRun(t, `systemctl status --no-pager cocker@m1 | grep session-2; [ "$(cat "/sys/fs/cgroup$(systemctl show -P ControlGroup cocker@m1)/cgroup.procs" | wc -l)" = 2 ]`)
		one.say("\x04")
		one.expect("terminated")
		escape(two)
		_, _ = first.Wait(), second.Wait()
		h.WaitFor(t, eventually, "the shells' end", noSessions+"m1")

		for words, want := range map[string]string{"nosuch@m1": `user "nosuch"`, "m1 /bin/nosuch": `"/bin/nosuch" is not in the container`} {
			cmd, screen, _ := onTerminal(t, h, append([]string{"machinectl", "shell"}, strings.Fields(words)...)...)
			screen.expect(want)
			if err := cmd.Wait(); err == nil {
				t.Errorf("%s: no error", words)
			}
		}
		h.MustRun(t, `journalctl --sync; journalctl -u cocker@m1 -o cat | grep -q 'Session: session-[12]: machinectl runs as user: '`)
		// Others than root of the container do not even get to connect, and for what runs there it is no bus.
		h.MustRun(t, `p=$(systemctl show -P MainPID cocker@m1); set -- $(cat /proc/$p/uid_map)
			test "$(stat -c '%a %u' /proc/$p/root/run/dbus/system_bus_socket)" = "600 $2"`)
		h.MustRun(t, `test -z "$(cocker exec m1 busybox ls /run/dbus)"`)
	})
}

// An image with a D-Bus of its own has that, and machinectl shell too, whichever way its
// old name of /run leads there.
func TestMachinectlShellBesideDBus(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		const tree = `mkdir -p usr/bin bin etc root run var/tmp tmp usr/share; cp /usr/bin/busybox bin/
			for n in sh id tty ls cat sleep test; do ln -s busybox bin/$n; done
			for f in /usr/bin/dbus-daemon /usr/bin/dbus-send $(ldd /usr/bin/dbus-daemon /usr/bin/dbus-send | grep -o '/[^ :]*' | sort -u); do
				mkdir -p .${f%/*}; cp -L $f .$f; done
			cp -a /usr/share/dbus-1 usr/share/; cp -a /etc/dbus-1 etc/
			printf 'root:x:0:0::/root:/bin/sh\nmessagebus:x:100:100::/:/bin/false\nuser:x:1000:1000::/:/bin/sh\n' >etc/passwd
			printf 'root:x:0:\nmessagebus:x:100:\n' >etc/group; `
		for name, link := range map[string]string{"b1": "ln -s /run var/run", "b2": "ln -s ../run var/run", "b3": "mkdir var/run", "b4": ":"} {
			importTree(t, h, name, tree+link)
			start(t, h, name, "image = \""+name+"\"\ncommand = [\"/usr/bin/dbus-daemon\", \"--system\", \"--nofork\", \"--nopidfile\"]\n[network]\nmode = \"none\"\n")
			const ask = "dbus-send --system --print-reply --dest=org.freedesktop.DBus / org.freedesktop.DBus.GetId"
			h.WaitFor(t, eventually, "the bus of the image", "cocker exec -u user "+name+" "+ask)
			for _, user := range []string{"root", "user"} {
				cmd, screen, _ := onTerminal(t, h, "machinectl", "shell", user+"@"+name, "/bin/sh", "-c", "tty; id -un; "+ask)
				screen.expect("/dev/pts/", user, "method return", "string", "terminated")
				if err := cmd.Wait(); err != nil {
					t.Errorf("%s: machinectl shell: %v", name, err)
				}
			}
			h.MustRun(t, `echo copied >/run/m.txt; machinectl copy-to "$1" /run/m.txt /tmp/m.txt; rm /run/m.txt; test "$(cocker exec "$1" cat /tmp/m.txt)" = copied`, name)
			h.MustRun(t, `if cocker diff "$1" | grep -v tmp/m.txt | grep -w dbus; then exit 1; fi`, name)
		}
	})
}

// An image with one static program and nothing else.
func TestMachinectlShellInAScratchImage(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		importTree(t, h, "scratch", "cp /usr/bin/busybox .")
		start(t, h, "m2", "image = \"scratch\"\ncommand = [\"/busybox\", \"sleep\", \"100000\"]\n[network]\nmode = \"none\"\n")
		cmd, screen, _ := onTerminal(t, h, "machinectl", "shell", "m2", "/busybox", "id")
		screen.expect("uid=0", "terminated")
		_ = cmd.Wait()
		rescued := func(words ...string) {
			t.Helper()
			cmd, screen, _ := onTerminal(t, h, words...)
			screen.say("ls -d /busybox /proc/1; ls /bin | wc -l; id -u; echo of $0-$((1+1)); exit\n")
			screen.expect("/busybox", "/proc/1", "of -sh-2")
			_ = cmd.Wait()
		}
		rescued("machinectl", "shell", "m2")
		rescued("cocker", "shell", "m2")
		// For the container's root the host's program is not there to be written.
		h.MustRun(t, `before=$(sha256sum </usr/bin/busybox); echo 'cat /busybox >/proc/self/exe' | cocker shell m2 2>&1 | grep -q 'ermission denied\|ext file busy'; test "$before" = "$(sha256sum </usr/bin/busybox)"`)
		h.MustRun(t, `test "$(cocker exec m2 /busybox id -u)" = 0`)
	})
}

func TestMachinectlLogin(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		start(t, h, "m3", sleeper)
		h.MustRun(t, `cocker exec m3 sh -c 'sed -i "s|^root:[^:]*|root:$1|" /etc/passwd; rm -f /etc/shadow' sh "$(openssl passwd -6 secret)"`)
		cmd, screen, _ := onTerminal(t, h, "machinectl", "login", "m3")
		for round := range 2 { // a new prompt after each logout
			screen.expect("login: ")
			screen.say("root\n")
			screen.expect("assword: ")
			screen.say("secret\n")
			screen.say(fmt.Sprintf("echo in-$((%d+40)); tty; exit\n", round))
			screen.expect(fmt.Sprintf("in-%d", round+40), "/dev/pts/")
		}
		screen.expect("login: ")
		escape(screen)
		_ = cmd.Wait()
		h.WaitFor(t, eventually, "the login's end", noSessions+"m3")
	})
}

// A client is killed whose output nobody reads: neither the command, which waits to write, nor
// the process that watches it may stay.
func TestKilledClientsWithFullPipes(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		start(t, h, "e6", sleeper)
		for _, flags := range []string{"", "-t"} {
			reader, writer, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer reader.Close()
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
			defer cancel()
			cmd := h.Command(ctx, "sh", "-c", "exec cocker exec "+flags+" e6 yes")
			cmd.Stdout = writer
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			_ = writer.Close()
			// It sleeps: there is no room in the pipe, or in the terminal, which the client empties into the pipe.
			h.WaitFor(t, eventually, "a full pipe", `p=$(cat "/sys/fs/cgroup$(systemctl show -P ControlGroup cocker@e6)/session-1/cgroup.procs") && [ -n "$p" ] &&
				for n in 1 2 3; do grep -q '^State:.S' /proc/$p/status && [ "$(cat /proc/$p/comm)" = yes ] || exit; done`)
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			h.WaitFor(t, eventually, "the end of the session", noSessions+"e6")
			h.MustRun(t, `if cocker exec e6 ps -o comm,stat | grep -v cocker-session | grep 'yes\|Z'; then exit 1; fi`)
		}
	})
}

// Shells of machinectl leave as little as sessions of cocker exec: of the last of them, whose
// process no program of cocker's waited for, an empty cgroup, until the next look.
func TestMachinectlShellLeaksNothing(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		start(t, h, "m4", sleeper)
		shell := func() {
			cmd, screen, _ := onTerminal(t, h, "machinectl", "shell", "m4", "/bin/true")
			screen.expect("terminated")
			_ = cmd.Wait()
		}
		shell()
		const look = `p=$(systemctl show -P MainPID cocker@m4); ls /proc/$p/fd | wc -l; cocker exec m4 ps -o pid,comm,stat | grep -c -v 'ps\|cocker-session'`
		before := h.MustRun(t, look)
		for range 20 {
			shell()
		}
		h.MustRun(t, `[ "$(find "/sys/fs/cgroup$(systemctl show -P ControlGroup cocker@m4)" -name 'session-*' | wc -l)" -le 2 ]`)
		h.WaitFor(t, eventually, "the shells' end", noSessions+"m4")
		if after := h.MustRun(t, look); after != before {
			t.Errorf("after 20 shells:\n%s\nbefore:\n%s", after, before)
		}
	})
}

// CVE-2019-5736: root of the container opens whatever is executed there, while sessions
// come and go, one of which is asked to execute itself, and writes to it when it has ended.
// Without a user namespace it owns the programs.
func TestSessionsDoNotLendTheHostsPrograms(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		for name, security := range map[string]string{"e7": "", "e8": noUsers + "seccomp = 'none'\n"} {
			start(t, h, name, sleeper+security)
			h.MustRun(t, `cocker exec "$1" ln -s /proc/self/exe /self
				sums() { for f in /usr/libexec/cocker/* /usr/bin/cocker /usr/bin/busybox; do sha256sum $f; stat -c %a:%u:%Y $f; done; }; before=$(sums)
				cocker exec "$1" sh -c "$2" & writer=$!
				timeout 60 sh -c 'until cocker exec "$0" test -e /tries; do :; done' "$1"
				for i in $(seq 30); do cocker exec "$1" /self >/dev/null 2>&1; cocker exec "$1" true || exit; done
				cocker exec "$1" touch /stop; wait $writer
				[ "$(sums)" = "$before" ] || { sums; echo "$before"; } >&2
				[ "$(sums)" = "$before" ]`, name, `touch /tries; while [ ! -e /stop ]; do for p in /proc/[0-9]*/exe; do
				case $(readlink $p) in *busybox) continue; esac
				(chmod 4777 $p; exec 3<$p && for i in $(seq 200); do (echo broken >/proc/self/fd/3) && break; done) 2>/dev/null; done; done`)
		}
	})
}
