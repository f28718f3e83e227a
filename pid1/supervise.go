package pid1

import (
	"errors"
	"os"
	"os/signal"
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
	plan     *handoff.Plan
	pid      int // of the command
	status   syscall.WaitStatus
	ended    bool // the command has
	stopping bool
	restart  bool
	deadline <-chan time.Time // SIGKILL for the command
	sessions *sessions
}

// supervise starts the command when the launcher says so, and returns its exit
// status when nothing of the container is left.
func supervise(plan *handoff.Plan, command *command, channel *handoff.Init, kept int, bus <-chan *os.File) (int, error) {
	signals := listen() // before the command starts: its end must not be missed
	forward, err := newForwarder(plan)
	if err != nil {
		return exitFailed, err
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
	s := &supervisor{plan: plan, pid: pid, sessions: openSessions(plan, kept, bus)}
	s.wait(signals)
	s.sessions.close()
	s.endOthers(signals)
	output.drain()
	return s.exitStatus(), nil
}

// incoming are the signals that init gets. SIGCHLD has a channel of its own: os/signal
// drops what does not fit, and a flood of others must not cost us a child's end.
type incoming struct{ child, other chan os.Signal }

func listen() incoming {
	in := incoming{child: make(chan os.Signal, 1), other: make(chan os.Signal, 64)}
	signal.Notify(in.child, syscall.SIGCHLD)
	signal.Notify(in.other, forwardable()...)
	return in
}

// forwardable are all signals that a process can handle but SIGCHLD and those
// that the Go runtime or the C library use themselves.
func forwardable() []os.Signal {
	var signals []os.Signal
	for number := syscall.Signal(1); number <= 64; number++ {
		switch number {
		case syscall.SIGCHLD, syscall.SIGURG, syscall.SIGPIPE, syscall.SIGPROF, syscall.SIGVTALRM,
			syscall.SIGKILL, syscall.SIGSTOP, syscall.SIGSEGV, syscall.SIGBUS, syscall.SIGFPE, syscall.SIGILL, 32, 33:
		default:
			signals = append(signals, number)
		}
	}
	return signals
}

// wait handles signals until the command has ended.
func (s *supervisor) wait(signals incoming) {
	for !s.ended {
		select {
		case <-signals.child:
			s.reap()
		case received := <-signals.other:
			s.handle(received.(syscall.Signal))
		case <-s.deadline:
			_ = unix.Kill(s.pid, unix.SIGKILL)
		}
	}
}

func (s *supervisor) handle(received syscall.Signal) {
	switch received {
	case syscall.SIGTERM:
		s.stop()
	case signalHalt, signalPowerOff:
		s.stop()
		s.deadline = time.After(stopTimeout)
	case syscall.SIGINT:
		s.interrupt()
	default:
		_ = unix.Kill(s.pid, received)
	}
}

func (s *supervisor) stop() {
	s.stopping = true
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
	s.deadline = time.After(stopTimeout)
}

// reap collects every process that has ended and tells whether some are left.
func (s *supervisor) reap() (left bool) {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil: // ECHILD
			return false
		case pid == 0:
			return true
		case pid == s.pid && !s.ended:
			s.ended, s.status = true, status
		}
	}
}

// endOthers stops what the command has left behind: kill(-1) reaches every
// process of the namespace but init itself (kill(2)).
func (s *supervisor) endOthers(signals incoming) {
	if !s.reap() {
		return
	}
	_ = unix.Kill(-1, unix.SIGTERM)
	_ = unix.Kill(-1, unix.SIGCONT) // a stopped process would not see it
	timeout := time.After(leftoverTimeout)
	for s.reap() {
		select {
		case <-signals.child:
		case received := <-signals.other:
			if received == syscall.SIGTERM || received == syscall.SIGINT {
				_ = unix.Kill(-1, unix.SIGKILL) // asked a second time
			}
		case <-timeout:
			_ = unix.Kill(-1, unix.SIGKILL)
		}
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
