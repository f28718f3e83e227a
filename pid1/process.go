package pid1

import (
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/internal/handoff"
)

// The states of a process.
const (
	stateWaiting    = "waiting"    // for those that must be ready first
	stateStarting   = "starting"   // it runs, and is not ready yet
	stateRunning    = "running"    //
	stateStopping   = "stopping"   // it has got its stop signal
	stateRestarting = "restarting" // it has ended and will be started again
	stateStopped    = "stopped"    // because somebody asked for it
	stateEnded      = "ended"      // by itself, and well
	stateFailed     = "failed"     // it has ended, and will not be started again
)

// process is one of those that the supervisor starts. In most containers it is the only
// one, the command.
type process struct {
	about   *handoff.Process
	command *command
	output  *output
	cgroup  int    // a descriptor of its own cgroup; -1: it is init's
	files   []int  // its standard descriptors
	dir     string // where it starts; "": where init is
	tty     bool

	state    string
	since    time.Time // it has been in this state
	pid      int       // 0: it does not run
	leaving  bool      // it has ended, but what it has started is still there
	started  time.Time // it was, the last time
	ready    bool      // it was, since somebody asked for it
	stopped  bool      // it got its stop signal, from us
	again    bool      // it is to be started when it has ended
	ended    bool      // it has, at least once
	status   syscall.WaitStatus
	err      error  // why it could not be started
	restarts int    // since it was asked for
	inARow   int    // of these, those without a long run between
	alarm    *alarm // its restart, or SIGKILL
	askers   []asker
}

// onlyProcess is the process of a container that has but its command. Its stop has no
// timeout: systemd watches over that.
func onlyProcess(plan *handoff.Plan) (*process, error) {
	command, err := prepareCommand(plan)
	if err != nil {
		return nil, err
	}
	about := &handoff.Process{Name: "main", Main: true, Ready: handoff.ReadyExec, Restart: handoff.RestartNo,
		StopSignal: plan.StopSignal, StopTimeout: math.MaxInt64}
	p := &process{about: about, command: command, cgroup: -1, tty: plan.Terminal, state: stateWaiting}
	return p, p.openOutput(-1)
}

// openOutput gives the process what it writes to; stream is that to the journal, or -1.
func (p *process) openOutput(stream int) (err error) {
	if stream >= 0 {
		p.output, err = journalOutput(os.NewFile(uintptr(stream), "journal"), p.command.identity)
	} else {
		p.output, err = newOutput(p.command.identity)
	}
	if err != nil {
		return err
	}
	p.files = []int{0, p.output.stdout(), p.output.stderr()}
	return nil
}

// start executes the process.
func (p *process) start() error {
	if p.dir != "" { // looked at anew: what is at the path is the container's to say
		if err := enterDirectory(p.dir); err != nil {
			return err
		}
	}
	pid, err := p.command.start(p.tty, p.files, p.cgroup)
	if err != nil {
		return err
	}
	p.pid, p.started, p.stopped = pid, time.Now(), false
	p.enter(stateStarting)
	return nil
}

func (p *process) enter(state string) { p.state, p.since = state, time.Now() }

// runs tells whether there is something of the process.
func (p *process) runs() bool { return p.pid != 0 || p.leaving }

// signal sends the process a signal, if it runs: 0 would be a whole process group.
func (p *process) signal(number syscall.Signal) {
	if p.pid > 0 {
		_ = unix.Kill(p.pid, number)
	}
}

// askToStop sends the stop signal, and SIGCONT because a stopped process would not see it.
func (p *process) askToStop() {
	p.stopped = true
	p.signal(syscall.Signal(p.about.StopSignal))
	if p.cgroup >= 0 {
		p.signal(unix.SIGCONT)
	}
}

// killAll kills the process and all in its cgroup.
func (p *process) killAll() {
	p.signal(unix.SIGKILL)
	p.killLeft()
}

// killLeft kills what is in the cgroup of the process, if it has one, and tells whether
// something was. It does not use cgroup.kill: a process that is cloned into a cgroup that
// was killed once is killed at its birth, since the kernel compares the count of kills with
// that of another cgroup (kernel/cgroup/cgroup.c, cgroup_css_set_fork, seen with Linux 6.18).
func (p *process) killLeft() (left bool) {
	if p.cgroup < 0 {
		return false
	}
	fd, err := unix.Openat(p.cgroup, "cgroup.procs", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	members := os.NewFile(uintptr(fd), "cgroup.procs")
	defer members.Close()
	text, _ := io.ReadAll(members)
	for line := range strings.Lines(string(text)) { // numbers of the reader's pid namespace
		if pid, err := strconv.Atoi(strings.TrimSpace(line)); err == nil && pid > 1 {
			_ = unix.Kill(pid, unix.SIGKILL)
			left = true
		}
	}
	return left
}

// success tells whether the last end was one, as systemd sees it (systemd.service(5),
// SuccessExitStatus=).
func (p *process) success() bool {
	if p.status.Exited() {
		return p.status.ExitStatus() == 0
	}
	switch p.status.Signal() {
	case unix.SIGHUP, unix.SIGINT, unix.SIGTERM, unix.SIGPIPE:
		return true
	}
	return false
}

// comesBack tells whether the process is to be started again after its last end.
func (p *process) comesBack() bool {
	switch p.about.Restart {
	case handoff.RestartAlways:
		return true
	case handoff.RestartOnFailure:
		return !p.success()
	}
	return false
}

// result says how the process has ended.
func (p *process) result() string {
	switch {
	case p.err != nil:
		return p.err.Error()
	case !p.ended:
		return ""
	case p.status.Exited():
		return fmt.Sprintf("exit status %d", p.status.ExitStatus())
	}
	return fmt.Sprintf("signal %d (%s)", int(p.status.Signal()), unix.SignalName(p.status.Signal()))
}

// nextDelay is how long the process waits for its next restart; false: it has been started
// often enough.
func (p *process) nextDelay() (delay time.Duration, more bool) {
	if time.Since(p.started) >= p.about.DelayMax {
		p.inARow = 0
	}
	if limit := p.about.RestartLimit; limit > 0 && p.inARow >= limit {
		return 0, false
	}
	delay = p.about.RestartDelay
	for range p.inARow {
		if delay >= p.about.DelayMax/2 {
			delay = p.about.DelayMax
			break
		}
		delay *= 2
	}
	p.inARow++
	return delay, true
}
