package pid1

import (
	"errors"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/internal/handoff"
)

// The real-time signals by which systemd asks a container to stop
// (systemd(1), "Signals"; SIGRTMIN is 34 in the C library's numbering).
const (
	signalHalt     = syscall.Signal(34 + 3)
	signalPowerOff = syscall.Signal(34 + 4)
)

const (
	// stopTimeout is for a stop that machined or another process in the container
	// asked for; systemd watches over its own with TimeoutStopSec=.
	stopTimeout = 90 * time.Second
	// leftoverTimeout is what the other processes get when the command has ended.
	leftoverTimeout = 5 * time.Second
)

// supervisor is the state of init while the command runs.
type supervisor struct {
	loop
	plan     *handoff.Plan
	pid      int // of the command
	status   syscall.WaitStatus
	ended    bool // the command has
	stopping bool
	restart  bool
	sessions *sessions
	health   *health // nil: nobody asks how the container is
}

// supervise starts the command when the launcher says so, and returns its exit
// status when nothing of the container is left.
func supervise(plan *handoff.Plan, command *command, channel *handoff.Init, kept int) (int, error) {
	signals := listen() // before the command starts: its end must not be missed
	forward, err := newForwarder(plan)
	if err != nil {
		return exitFailed, err
	}
	check, err := prepareHealth(plan)
	if err != nil {
		return exitCommand, err
	}
	output, err := newOutput(command.identity)
	if err != nil {
		return exitFailed, err
	}
	if err := channel.WaitProceed(); err != nil {
		return exitFailed, err
	}
	pid, err := command.start(plan.Terminal, output.stdout(), output.stderr())
	if err != nil {
		return exitCommand, err
	}
	output.closeWriters()
	announce(plan)
	if err := errors.Join(channel.Started(), channel.Close()); err != nil {
		return exitFailed, err
	}
	forward.run()
	s := &supervisor{loop: newLoop(signals), plan: plan, pid: pid, sessions: openSessions(plan, kept)}
	s.onEnd(pid, func(status syscall.WaitStatus) { s.ended, s.status = true, status })
	s.health = watchHealth(plan, check, &s.loop)
	for !s.ended {
		s.wait(s.handle)
	}
	s.health.stop()
	s.sessions.close()
	s.endOthers()
	output.drain()
	return s.exitStatus(), nil
}

func (s *supervisor) handle(received syscall.Signal) {
	switch received {
	case syscall.SIGTERM:
		s.stop()
	case signalHalt, signalPowerOff:
		s.stop()
		s.killLater()
	case syscall.SIGINT:
		s.interrupt()
	default:
		_ = unix.Kill(s.pid, received)
	}
}

// killLater is for a stop that nobody else watches over.
func (s *supervisor) killLater() {
	s.at(time.Now().Add(stopTimeout), func() { _ = unix.Kill(s.pid, unix.SIGKILL) })
}

func (s *supervisor) stop() {
	s.stopping = true
	s.health.stop()
	_ = unix.Kill(s.pid, syscall.Signal(s.plan.StopSignal))
}

// interrupt is what `machinectl reboot` sends, or Ctrl-C of a `cocker run`.
func (s *supervisor) interrupt() {
	if s.plan.Foreground {
		_ = unix.Kill(s.pid, unix.SIGINT)
		return
	}
	s.restart = true
	s.stop()
	s.killLater()
}

// endOthers stops what the command has left behind: kill(-1) reaches every
// process of the namespace but init itself (kill(2)).
func (s *supervisor) endOthers() {
	if !s.reap() {
		return
	}
	_ = unix.Kill(-1, unix.SIGTERM)
	_ = unix.Kill(-1, unix.SIGCONT) // a stopped process would not see it
	killAll := func() { _ = unix.Kill(-1, unix.SIGKILL) }
	s.alarms = nil // what they are for has ended
	clear(s.children)
	s.at(time.Now().Add(leftoverTimeout), killAll)
	for s.reap() {
		s.wait(func(received syscall.Signal) {
			if received == syscall.SIGTERM || received == syscall.SIGINT {
				killAll() // asked a second time
			}
		})
	}
}

// exitStatus is what systemd shall see. An end by the signal that we sent on
// request is a clean one, as systemd counts SIGTERM for any service.
func (s *supervisor) exitStatus() int {
	switch {
	case s.restart:
		return exitRestart
	case s.status.Exited():
		return s.status.ExitStatus()
	case s.stopping && (int(s.status.Signal()) == s.plan.StopSignal || s.status.Signal() == syscall.SIGTERM):
		return 0
	}
	return signalExit + int(s.status.Signal())
}
