package tests

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/tests/host"
)

// onEachRelease runs a test on a host of each release that has the demo image.
func onEachRelease(t *testing.T, test func(t *testing.T, h *host.Host)) {
	for _, release := range host.Releases() {
		t.Run(string(release), func(t *testing.T) {
			h := host.Shared(t, release)
			h.MustRun(t, "cocker image inspect demo >/dev/null 2>&1 || cocker image demo >/dev/null")
			t.Cleanup(func() { removeEverything(t, h) })
			test(t, h)
		})
	}
}

// removeEverything keeps a failed test from failing those that follow.
func removeEverything(t *testing.T, h *host.Host) {
	if !t.Failed() {
		return
	}
	cmd := h.Command(context.Background(), "sh", "-c", "cocker ps -a --json | jq -r '.[].name' | xargs -r cocker rm -f; rm -rf /etc/cocker/containers; systemctl reset-failed 'cocker*'; systemctl daemon-reload")
	if result, err := cmd.Exec(nil); err != nil || result.ExitCode != 0 {
		t.Logf("remove what the test left: %v %s", err, result.Stderr)
	}
}

// eventually is the deadline of what systemd does on its own account.
const eventually = time.Minute

func TestRunIsAPipe(t *testing.T) {
	onEachRelease(t, func(t *testing.T, h *host.Host) {
		tests := []struct {
			script, stdout string
			status         int
		}{
			{"echo hi | cocker run --rm -i demo cat", "hi\n", 0},
			{"echo hi | cocker run --rm demo cat", "", 0}, // without -i there is no input
			{"cocker run --rm demo sh -c 'echo out; echo err >&2; exit 7' 2>/dev/null", "out\n", 7},
			{"cocker run --rm demo false", "", 1},
			{"cocker run --rm demo sh -c 'kill -9 $$'", "", 137},
			{"cocker run --rm --init none demo sh -c 'exit 3'", "", 3},
			{"cocker run --rm -e A=1 -e 'B=x y' --hostname other -w /srv demo sh -c 'echo $A $B; hostname; pwd'", "1 x y\nother\n/srv\n", 0},
			{"cocker run --rm --user 1000:100 demo sh -c 'id -u; id -g'", "1000\n100\n", 0},
			{"cocker run --rm --network none demo sh -c 'ls /sys/class/net'", "lo\n", 0},
			{"cocker run --rm --tmpfs /scratch:1M demo sh -c 'df -k /scratch | tail -1 | tr -s \" \" | cut -d\" \" -f2'", "1024\n", 0},
			{"mkdir -p /srv/a && echo there >/srv/a/f && cocker run --rm -v /srv/a:/a:ro demo sh -c 'cat /a/f; touch /a/g 2>/dev/null || echo ro'", "there\nro\n", 0},
		}
		for _, tt := range tests {
			r := h.Run(t, tt.script)
			if r.Stdout != tt.stdout || r.ExitCode != tt.status {
				t.Errorf("%s\n got %q, exit status %d\nwant %q, exit status %d\nstderr: %s", tt.script, r.Stdout, r.ExitCode, tt.stdout, tt.status, r.Stderr)
			}
		}
		nothingLeft(t, h)
	})
}

// nothingLeft asserts that no container, unit, lease, rule or link is there.
func nothingLeft(t *testing.T, h *host.Host) {
	t.Helper()
	h.WaitFor(t, eventually, "nothing is left", `
		left=$(cocker ps -a --json | jq -r '.[].name'
		systemctl list-units --all --no-legend 'cocker*' | grep -v 'cocker-network\|cocker-dns@'
		ls -A /run/cocker/containers /run/cocker/state /run/cocker/networks/cocker0/by-name /run/cocker/networks/cocker0/by-address | grep -v '^/\|^$'
		ls -A /var/lib/cocker/containers /var/lib/cocker/idranges | grep -v '^/\|^$'
		ip -o link show type veth | grep -v eth0
		machinectl list --no-legend)
		[ -z "$left" ] || { echo "$left"; exit 1; }`)
}

func TestRunReportsWhatItCannotDo(t *testing.T) {
	onEachRelease(t, func(t *testing.T, h *host.Host) {
		tests := []struct{ script, want string }{
			{"cocker run --rm nosuch true", `image "nosuch"`},
			{"cocker run --rm demo nosuchcommand", "nosuchcommand"},
			{"cocker run --rm -v /nonexistent:/x demo true", "/nonexistent"},
			{"cocker run --rm --service Restart=always demo true", "--detach"},
			{"cocker run --rm --service Typo=1 demo true", "Typo"},
			{"cocker run --rm -d -t demo true", "detached"},
			{"cocker run --rm -it demo true </dev/null", "terminal"},
			{"cocker run --rm --name Not_A_Host demo true", "host name"},
			{"cocker run --rm -d demo nosuchcommand", "nosuchcommand"},
			{"cocker run --rm -d --service NFTSet=x demo true", "NFTSet"},
		}
		for _, tt := range tests {
			r := h.Run(t, tt.script)
			if r.ExitCode != 125 || !strings.Contains(r.Stderr, tt.want) || r.Stdout != "" {
				t.Errorf("%s: exit status %d, want 125 and %q\nstdout: %s\nstderr: %s", tt.script, r.ExitCode, tt.want, r.Stdout, r.Stderr)
			}
		}
		nothingLeft(t, h)
	})
}

// startRun starts "cocker run" and waits until the container has printed "up".
func startRun(t *testing.T, h *host.Host, args ...string) *host.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	t.Cleanup(cancel)
	cmd := h.Command(ctx, "cocker", append([]string{"run"}, args...)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, len("up\n"))); err != nil {
		t.Fatalf("the container did not come up: %v", err)
	}
	go io.Copy(io.Discard, out)
	return cmd
}

const waits = `trap 'exit 3' INT; trap 'exit 4' TERM; trap 'exit 5' HUP; trap 'exit 6' USR1; echo up; while :; do sleep 0.05; done`

func TestRunForwardsSignals(t *testing.T) {
	onEachRelease(t, func(t *testing.T, h *host.Host) {
		for signal, want := range map[unix.Signal]int{unix.SIGINT: 3, unix.SIGTERM: 4, unix.SIGHUP: 5, unix.SIGUSR1: 6} {
			cmd := startRun(t, h, "--rm", "--name", "sig", "demo", "sh", "-c", waits)
			if err := cmd.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); cmd.ProcessState.ExitCode() != want {
				t.Errorf("%v: %v, want exit status %d", signal, err, want)
			}
		}
		nothingLeft(t, h)
	})
}

func TestRunIsAScopeLikeAnyOther(t *testing.T) {
	onEachRelease(t, func(t *testing.T, h *host.Host) {
		cmd := startRun(t, h, "--rm", "--name", "scoped", "--memory", "64M", "--tasks-max", "50", "demo", "sh", "-c", waits)
		want := "active\nmachine.slice\n67108864\n50\nyes\n"
		got := h.MustRun(t, "systemctl show --value -p ActiveState -p Slice -p MemoryMax -p TasksMax -p Delegate cocker-scoped.scope | sort") + "\n"
		if sortLines(got) != sortLines(want) {
			t.Errorf("properties of the scope:\n%swant\n%s", got, want)
		}
		h.MustRun(t, "machinectl show scoped -p Unit | grep -qx Unit=cocker-scoped.scope")
		h.MustRun(t, `test "$(cocker ps --json | jq -r '.[]|.name+" "+.state+" "+.unit')" = "scoped running cocker-scoped.scope"`)
		if r := h.Run(t, "cocker restart scoped"); r.ExitCode == 0 || !strings.Contains(r.Stderr, "foreground") {
			t.Errorf("restart: %d %s", r.ExitCode, r.Stderr)
		}
		if r := h.Run(t, "cocker rm scoped"); r.ExitCode == 0 || !strings.Contains(r.Stderr, "running") {
			t.Errorf("rm: %d %s", r.ExitCode, r.Stderr)
		}
		h.MustRun(t, "cocker stop scoped")
		if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 4 {
			t.Errorf("stop: %v, want the status of the SIGTERM trap, 4", err)
		}
		nothingLeft(t, h)
	})
}

func sortLines(s string) string {
	lines := strings.Fields(s)
	for i := range lines {
		for j := i + 1; j < len(lines); j++ {
			if lines[j] < lines[i] {
				lines[i], lines[j] = lines[j], lines[i]
			}
		}
	}
	return strings.Join(lines, "\n")
}

// A client that is killed can do nothing any more: the kernel ends the container
// and systemd cleans up after it.
func TestKilledClientLeavesNothing(t *testing.T) {
	onEachRelease(t, func(t *testing.T, h *host.Host) {
		for _, options := range [][]string{{"--rm"}, {"--rm", "--init", "none"}, nil} {
			cmd := startRun(t, h, append(options, "--name", "orphan", "-p", "8099:80", "demo", "sh", "-c", "echo up; sleep 1000")...)
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			if options == nil {
				h.WaitFor(t, eventually, "the lease is free", `[ ! -L /run/cocker/networks/cocker0/by-name/orphan ]`)
				h.MustRun(t, "cocker rm orphan")
			}
			nothingLeft(t, h)
		}
		h.WaitFor(t, eventually, "the port", `! nft list ruleset | grep -q 8099`) // it expires
	})
}

func TestRunGivesATerminal(t *testing.T) {
	onEachRelease(t, func(t *testing.T, h *host.Host) {
		master, slave, err := pty.Open()
		if err != nil {
			t.Fatal(err)
		}
		defer master.Close()
		if err := pty.Setsize(master, &pty.Winsize{Rows: 33, Cols: 111}); err != nil {
			t.Fatal(err)
		}
		before, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		defer cancel()
		cmd := h.Command(ctx, "cocker", "run", "--rm", "-it", "demo", "sh")
		cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
		cmd.SysProcAttr.Setpgid, cmd.SysProcAttr.Setsid, cmd.SysProcAttr.Setctty = false, true, true
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		screen := newScreen(t, master)
		screen.say("stty size; echo end-of-$((1+1))\n")
		screen.expect("33 111", "end-of-2")
		if err := pty.Setsize(master, &pty.Winsize{Rows: 40, Cols: 90}); err != nil {
			t.Fatal(err)
		}
		// The shell's own answer to SIGWINCH is not visible; ask until the size is new.
		screen.say("until [ \"$(stty size)\" = '40 90' ]; do sleep 0.05; done; echo new-$((2+2))\n")
		screen.expect("new-4")
		screen.say("sh -c 'echo asleep-$((2+3)); exec sleep 1000'\n")
		screen.expect("asleep-5")
		screen.say("\x03") // Ctrl-C ends the sleep, not the shell
		screen.say("echo alive-$((3+3)); test -t 0 && tty; exit 9\n")
		screen.expect("alive-6", "/dev/")
		_ = cmd.Wait()
		if cmd.ProcessState.ExitCode() != 9 {
			t.Errorf("exit status %d, want 9", cmd.ProcessState.ExitCode())
		}
		after, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
		if err != nil || *after != *before {
			t.Errorf("the terminal is not as it was: %v\n%+v\n%+v", err, before, after)
		}
		slave.Close()
		nothingLeft(t, h)
	})
}

// screen is a person at the other end of a terminal.
type screen struct {
	t     *testing.T
	to    io.Writer
	shown chan string // closed when the terminal is
	seen  string      // shown and not yet expected
	past  string      // expected, and what was before it
}

func newScreen(t *testing.T, master *os.File) *screen {
	s := &screen{t: t, to: master, shown: make(chan string, 1024)}
	go func() {
		defer close(s.shown)
		buffer := make([]byte, 4096)
		for {
			n, err := master.Read(buffer)
			if err != nil {
				return
			}
			s.shown <- string(buffer[:n])
		}
	}()
	return s
}

func (s *screen) say(text string) {
	s.t.Helper()
	if _, err := io.WriteString(s.to, text); err != nil {
		s.t.Fatal(err)
	}
}

// expect waits until all texts have been shown in order.
func (s *screen) expect(texts ...string) {
	s.t.Helper()
	deadline := time.After(eventually)
	for _, text := range texts {
		for !strings.Contains(s.seen, text) {
			select {
			case more, ok := <-s.shown:
				s.seen += more
				if !ok {
					s.t.Fatalf("waiting for %q: the terminal was closed; seen:\n%s", text, s.seen)
				}
			case <-deadline:
				s.t.Fatalf("waiting for %q; seen:\n%s", text, s.seen)
			}
		}
		before, rest, _ := strings.Cut(s.seen, text)
		s.past, s.seen = s.past+before+text, rest
	}
}

func TestRunDetached(t *testing.T) {
	onEachRelease(t, func(t *testing.T, h *host.Host) {
		name := h.MustRun(t, "cocker run -d --rm -p 8098:80 demo")
		if !strings.HasPrefix(name, "demo-") {
			t.Errorf("invented the name %q", name)
		}
		h.MustRun(t, `systemctl is-active --quiet "cocker-$1.service" && curl -sf --retry 20 --retry-connrefused http://127.0.0.1:8098/ | grep -q cocker`, name)
		h.MustRun(t, `cocker stop "$1"`, name)
		nothingLeft(t, h) // --rm, and no daemon-reload was needed

		h.MustRun(t, "cocker run -d --name keep demo sleep 1000 && cocker stop keep")
		h.MustRun(t, `test "$(cocker ps -a --json | jq -r '.[]|.name+" "+.state')" = "keep stopped"`)
		h.MustRun(t, "cocker start keep && cocker rm -f keep")
		nothingLeft(t, h)
	})
}

// With --rm a service that systemd restarts keeps its data until it has ended.
func TestRemovalWaitsForTheLastRestart(t *testing.T) {
	onEachRelease(t, func(t *testing.T, h *host.Host) {
		h.MustRun(t, "cocker run -d --rm --name again --service Restart=on-failure --service RestartSec=50ms demo sh -c 'echo x >>/starts; sleep 1000'")
		starts := `[ "$(nsenter -t $(cocker inspect --json again | jq .running.leader) -m cat /starts | wc -l)" = "$1" ]`
		h.WaitFor(t, eventually, "the first start", starts, "1")
		h.MustRun(t, "machinectl reboot again")
		h.WaitFor(t, eventually, "the second start", starts, "2")
		h.MustRun(t, "cocker kill again")
		h.WaitFor(t, eventually, "the third start", starts, "3")
		h.MustRun(t, "machinectl poweroff again")
		nothingLeft(t, h)
	})
}

// A transient service has the properties that the generator would have written
// for the same container: systemd itself compares.
func TestTransientServiceEqualsAGeneratedOne(t *testing.T) {
	flags := strings.Join([]string{
		"--memory=64M", "--memory-high=10%", "--cpu-quota=150%", "--cpu-weight=30", "--cpus=0", "--tasks-max=20%", "--io-weight=50",
		"--memory-low=1M", "--memory-min=1%", "--memory-swap-max=0", "--memory-nodes=0",
		"--io-read-bandwidth-max='/srv/disk% 10M'", "--io-write-bandwidth-max='/srv/disk% 1.5K'",
		"--io-read-iops-max='/srv/disk% 100'", "--io-write-iops-max='/srv/disk% 1G'", "--io-read-iops-max='/srv/other 7'",
		"--description='100% \"of\" it'", "-p 8097:80", "-v /srv:/srv", "--unit=After=network.target", "--unit=Wants=nonexistent.service",
		"--unit=StartLimitIntervalSec='1min 30s'", "--unit=ConditionPathExists='|!/nonexistent'", "--service=Restart=on-failure",
		"--service=RestartSec=3s", "--service=TimeoutStopSec=0", "--service=RuntimeMaxSec=1h", "--service=Nice=-3", "--service=OOMScoreAdjust=100",
		"--service=LimitNOFILE=1024:4096", "--service=LogLevelMax=info", "--service=SyslogFacility=local3", "--service=ExecStartPre='-/bin/echo \"%i x\" $$HOME'",
		"--service=ExecStartPost='+/bin/true'", "--service=SuccessExitStatus='3 SIGUSR1'", "--service=IPAddressDeny='192.0.2.99/32 2001:db8::/64'",
		"--service=IOSchedulingClass=best-effort", "--service=CPUSchedulingPolicy=batch", "--service=CPUAffinity=0",
		"--health-cmd=true", "--health-interval=1min", "--health-start-period=5min", "--health-retries=2",
		"--service=RuntimeDirectory='one two'", "--service=RuntimeDirectoryMode=0700",
	}, " ")
	onEachRelease(t, func(t *testing.T, h *host.Host) {
		h.MustRun(t, "mknod '/srv/disk%' b 7 0 && mknod /srv/other b 7 1") // a limit needs a disk
		h.MustRun(t, fmt.Sprintf("cocker create %s same demo sleep 1000 && cocker start same && %s", flags, showUnit("cocker@same.service")+" >/tmp/generated; cocker rm -f same"))
		h.MustRun(t, fmt.Sprintf("cocker run -d --name same %s demo sleep 1000 && %s", flags, showUnit("cocker-same.service")+" >/tmp/transient; cocker rm -f same"))
		if r := h.Run(t, "diff /tmp/generated /tmp/transient"); r.ExitCode != 0 {
			t.Errorf("generated < > transient:\n%s", r.Stdout)
		}
		if got := h.MustRun(t, "grep ^IO.*Max= /tmp/transient"); strings.Count(got, "/srv/disk% ") != 4 || !strings.Contains(got, "/srv/other 7") {
			t.Errorf("limits of disks:\n%s", got)
		}
		h.MustRun(t, "rm '/srv/disk%' /srv/other")
		nothingLeft(t, h)
	})
}

// showUnit prints the settings of a unit without what identifies it and without
// what it measures.
func showUnit(unit string) string {
	return `systemctl show ` + unit + ` | sed 's/cocker[@-]same/SAME/g; s/\\x2d/-/g' |
		grep -Ev 'Timestamp|^(Exec|Main|Control)[A-Za-z]*PID|^(Id|Names|InvocationID|FragmentPath|DropInPaths|SourcePath|Transient|UnitFileState|UnitFilePreset|CollectMode|StatusText|NeedDaemonReload)=|^(CPUUsage|Memory(Current|Peak|Available|SwapCurrent|SwapPeak|ZSwapCurrent)|TasksCurrent|IP(In|E)gress(Bytes|Packets)|IO(Read|Write)(Bytes|Operations)|Effective(Memory|Tasks|CPU)[A-Za-z]*)|^ControlGroupId|^Triggers=|^RequiredBy|^WantedBy|^Perpetual|start_time' |
		sed -E 's/ ; (start_time|stop_time|pid|code|status)=[^;}]*//g' |
		perl -pe 's/=(.*)/"=".join(" ", sort split(" ", $1))/e if /^(After|Before|Requires|RequiresMountsFor|Wants|Conflicts|IPAddressDeny)=/' | sort`
}
