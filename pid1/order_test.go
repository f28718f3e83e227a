package pid1

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/internal/handoff"
)

// family is a supervisor of shells. Each gets the file LOG to write to, whose lines tell
// what happened in which order.
type family struct {
	*supervisor
	t   *testing.T
	log string
}

// newFamily makes one. The processes are main last, and each must be in an order in which
// it can start.
func newFamily(t *testing.T, about ...handoff.Process) *family {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: processes are started with the groups of a user")
	}
	f := &family{t: t, log: filepath.Join(t.TempDir(), "log")}
	f.supervisor = &supervisor{loop: *testLoop(t), plan: &handoff.Plan{}}
	for i := range about {
		p := &about[i]
		p.StopSignal, p.StopTimeout = int(unix.SIGTERM), time.Minute
		f.processes = append(f.processes, &process{
			about: p, cgroup: -1, state: stateWaiting, files: []int{0, 1, 2},
			command: &command{
				within: new(confinement), path: "/bin/sh", arguments: append([]string{"sh", "-c"}, p.Command...), identity: new(identity),
				environment: []string{"LOG=" + f.log, "PATH=/bin:/usr/bin"},
			},
		})
	}
	f.main = f.processes[len(about)-1]
	f.main.about.Main = true
	t.Cleanup(func() {
		for _, p := range f.processes {
			p.signal(unix.SIGKILL)
		}
	})
	return f
}

// until runs the loop until something has happened.
func (f *family) until(done func() bool) {
	f.t.Helper()
	var tick func() // nobody tells what a shell has written
	var next *alarm
	tick = func() { next = f.at(time.Now().Add(5*time.Millisecond), tick) }
	tick()
	deadline := time.Now().Add(time.Minute)
	for !done() && time.Now().Before(deadline) {
		f.wait(f.handle)
	}
	f.cancel(next)
	if !done() {
		f.t.Fatalf("it has not happened within a minute; the log is %q, the states are %v", f.lines(), f.states())
	}
}

func (f *family) lines() []string {
	text, _ := os.ReadFile(f.log)
	return strings.Fields(string(text))
}

func (f *family) wrote(line string) func() bool {
	return func() bool { return slices.Contains(f.lines(), line) }
}

func (f *family) states() (states []string) {
	for _, p := range f.processes {
		states = append(states, p.about.Name+":"+p.state)
	}
	return states
}

func (f *family) assertStates(want ...string) {
	f.t.Helper()
	if got := f.states(); !slices.Equal(got, want) {
		f.t.Errorf("states %v, want %v", got, want)
	}
}

// stays is a shell that runs until its stop signal, and tells of both.
func stays(name string) []string {
	return []string{"trap 'echo " + name + "-stops >>$LOG; exit 0' TERM; echo " + name + "-up >>$LOG; while :; do sleep 0.01; done"}
}

func TestReverseOrderOfTheStop(t *testing.T) {
	f := newFamily(t,
		handoff.Process{Name: "a", Command: stays("a"), Ready: handoff.ReadyExec, Restart: handoff.RestartAlways},
		handoff.Process{Name: "b", Command: stays("b"), Ready: handoff.ReadyExec, Restart: handoff.RestartAlways, After: []string{"a"}},
		handoff.Process{Name: "main", Command: stays("main"), Ready: handoff.ReadyExec, After: []string{"b"}},
	)
	f.advance()
	for _, name := range []string{"a", "b", "main"} {
		f.until(f.wrote(name + "-up"))
	}
	f.stop()
	f.until(func() bool { return f.over })
	if got := f.lines()[3:]; !slices.Equal(got, []string{"main-stops", "b-stops", "a-stops"}) {
		t.Errorf("stopped in the order %q", got)
	}
	f.assertStates("a:stopped", "b:stopped", "main:stopped")
	if status := f.exitStatus(); status != 0 {
		t.Errorf("exit status %d", status)
	}
}

func TestMainsEndIsTheContainers(t *testing.T) {
	f := newFamily(t,
		handoff.Process{Name: "once", Command: []string{"echo once >>$LOG"}, Ready: handoff.ReadyExit},
		handoff.Process{Name: "a", Command: stays("a"), Ready: handoff.ReadyExec, After: []string{"once"}},
		handoff.Process{Name: "main", Command: []string{"until grep -q a-up $LOG; do sleep 0.01; done; exit 7"}, Ready: handoff.ReadyExec, After: []string{"once"}},
	)
	f.advance()
	f.assertStates("once:starting", "a:waiting", "main:waiting")
	f.until(func() bool { return f.over })
	f.assertStates("once:ended", "a:stopped", "main:failed")
	if got, want := f.lines(), []string{"once", "a-up", "a-stops"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if status := f.exitStatus(); status != 7 {
		t.Errorf("exit status %d, want 7", status)
	}
}

func TestFailureOfWhatMainWaitsFor(t *testing.T) {
	f := newFamily(t,
		handoff.Process{Name: "once", Command: []string{"exit 3"}, Ready: handoff.ReadyExit, Restart: handoff.RestartNo},
		handoff.Process{Name: "main", Command: stays("main"), Ready: handoff.ReadyExec, After: []string{"once"}},
	)
	f.advance()
	f.until(func() bool { return f.over })
	f.assertStates("once:failed", "main:failed")
	if status := f.exitStatus(); status != exitFailed {
		t.Errorf("exit status %d", status)
	}
	if got := f.main.err.Error(); !strings.Contains(got, "process once, for which main waits, has failed: exit status 3") {
		t.Errorf("the reason is %q", got)
	}
}

func TestRestartsUpToTheLimit(t *testing.T) {
	f := newFamily(t,
		handoff.Process{Name: "crash", Command: []string{"echo run >>$LOG; exit 1"}, Ready: handoff.ReadyExec, Restart: handoff.RestartOnFailure,
			RestartDelay: time.Millisecond, DelayMax: time.Minute, RestartLimit: 3},
		handoff.Process{Name: "main", Command: stays("main"), Ready: handoff.ReadyExec},
	)
	f.advance()
	f.until(func() bool { return f.processes[0].state == stateFailed })
	f.until(f.wrote("main-up"))
	runs := slices.DeleteFunc(f.lines(), func(line string) bool { return line != "run" })
	if len(runs) != 4 || f.processes[0].restarts != 3 {
		t.Errorf("%d runs, %d restarts; want 4 and 3", len(runs), f.processes[0].restarts)
	}
	f.assertStates("crash:failed", "main:running")
}

// A stop finds a process that waits for its restart, and it is not started any more.
func TestStopOfWhatWaits(t *testing.T) {
	f := newFamily(t,
		handoff.Process{Name: "crash", Command: []string{"exit 1"}, Ready: handoff.ReadyExec, Restart: handoff.RestartOnFailure,
			RestartDelay: time.Hour, DelayMax: time.Hour},
		handoff.Process{Name: "main", Command: []string{"exit 1"}, Ready: handoff.ReadyExec, Restart: handoff.RestartOnFailure,
			RestartDelay: time.Hour, DelayMax: time.Hour},
	)
	f.advance()
	f.until(func() bool { return f.processes[0].state == stateRestarting && f.main.state == stateRestarting })
	f.stop()
	f.until(func() bool { return f.over })
	f.assertStates("crash:stopped", "main:stopped")
	if status := f.exitStatus(); status != 0 {
		t.Errorf("exit status %d: somebody has asked for the stop, and nothing ran", status)
	}
}

func TestDelays(t *testing.T) {
	p := &process{about: &handoff.Process{RestartDelay: time.Second, DelayMax: 5 * time.Second, RestartLimit: 5}, started: time.Now()}
	for _, want := range []time.Duration{1, 2, 4, 5, 5} {
		if delay, more := p.nextDelay(); !more || delay != want*time.Second {
			t.Errorf("%v, %v; want %v", delay, more, want*time.Second)
		}
	}
	if _, more := p.nextDelay(); more {
		t.Error("a sixth restart")
	}
	p.started = time.Now().Add(-6 * time.Second) // it has run for longer than the longest delay
	if delay, more := p.nextDelay(); !more || delay != time.Second {
		t.Errorf("after a long run: %v, %v", delay, more)
	}
}

// SuccessExitStatus= in systemd.service(5): 0 and these four signals are no failure.
func TestSuccess(t *testing.T) {
	exited := func(code int) syscall.WaitStatus { return syscall.WaitStatus(code << 8) }
	for status, want := range map[syscall.WaitStatus]bool{
		exited(0): true, exited(1): false, exited(143): false,
		1: true, 2: true, 15: true, 13: true, 9: false, 11: false, 6: false,
	} {
		p := &process{about: &handoff.Process{Restart: handoff.RestartOnFailure}, status: status}
		if p.success() != want || p.comesBack() == want {
			t.Errorf("wait status %#x: success %v, restart %v", status, p.success(), p.comesBack())
		}
	}
}

// A main process that cannot be started again after a clean end is no clean end of the
// container.
func TestMainThatCannotComeBack(t *testing.T) {
	f := newFamily(t, handoff.Process{Name: "main", Command: []string{"exit 0"}, Ready: handoff.ReadyExec, Restart: handoff.RestartAlways})
	f.advance()
	f.main.command.path = "/gone"
	f.until(func() bool { return f.over })
	f.assertStates("main:failed")
	if status := f.exitStatus(); status == 0 {
		t.Error("exit status 0")
	}
}
