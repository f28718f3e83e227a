package pid1

import (
	"errors"
	"os"
	"slices"
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

// supervisor is the state of init while the container runs.
type supervisor struct {
	loop
	plan      *handoff.Plan
	processes []*process // in the order of their start; at least the command
	main      *process   // its end is the container's
	stopping  bool       // everything is; nothing is started any more
	asked     bool       // somebody asked for the stop
	restart   bool
	announced bool // main was ready once
	over      bool // no process is left
	sessions  *sessions
	check     *check  // of the health; nil: there is none
	health    *health // nil: nobody asks how the container is, or main was not ready yet
}

// supervise starts the processes when the launcher says so, and returns main's exit
// status when nothing of the container is left.
func supervise(plan *handoff.Plan, processes []*process, channel *handoff.Init, kept int, bus <-chan *os.File) (int, error) {
	signals := listen() // before the first process starts: its end must not be missed
	forward, err := newForwarder(plan)
	if err != nil {
		return exitFailed, err
	}
	check, err := prepareHealth(plan)
	if err != nil {
		return exitCommand, err
	}
	s := &supervisor{loop: newLoop(signals), plan: plan, processes: processes, check: check}
	s.main = s.processes[slices.IndexFunc(s.processes, func(p *process) bool { return p.about.Main })]
	if err := s.listenNotifications(); err != nil {
		return exitFailed, err
	}
	if err := channel.WaitProceed(); err != nil {
		return exitFailed, err
	}
	s.advance()
	if s.main.err != nil {
		return exitCommand, s.main.err
	}
	if err := errors.Join(channel.Started(), channel.Close()); err != nil {
		return exitFailed, err
	}
	forward.run()
	s.sessions = openSessions(plan, kept, bus)
	watchKills(plan)
	control := s.listenControl()
	go keepThreads(spareThreads + len(s.processes))
	for !s.over {
		s.wait(s.handle)
	}
	_ = control.Close()
	s.health.stop()
	s.sessions.close()
	s.endOthers()
	s.drain()
	return s.exitStatus(), nil
}

func (s *supervisor) drain() {
	for _, p := range s.processes {
		p.output.drain()
	}
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
		s.main.signal(received)
	}
}

// killLater is for a stop that nobody else watches over.
func (s *supervisor) killLater() {
	if len(s.plan.Processes) == 0 { // each of several has a timeout of its own
		s.at(time.Now().Add(stopTimeout), s.main.killAll)
	}
}

// interrupt is what `machinectl reboot` sends, or Ctrl-C of a `cocker run`.
func (s *supervisor) interrupt() {
	if s.plan.Foreground {
		s.main.signal(unix.SIGINT)
		return
	}
	s.restart = true
	s.stop()
	s.killLater()
}

// stop is what somebody has asked the container for; a second time it asks those again
// that have been asked and still run.
func (s *supervisor) stop() {
	s.asked = true
	if !s.stopping {
		s.stopAll()
		return
	}
	for _, p := range s.processes {
		if p.state == stateStopping {
			p.askToStop()
		}
	}
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
	p := s.main
	switch {
	case s.restart:
		return exitRestart
	case s.asked && p.state == stateStopped && !p.stopped: // it did not run when it was to stop
		return 0
	case !p.ended, p.err != nil: // how it ended before it could not be started again counts no more
		return exitFailed
	case p.status.Exited():
		return p.status.ExitStatus()
	case s.asked && p.stopped && (int(p.status.Signal()) == p.about.StopSignal || p.status.Signal() == syscall.SIGTERM):
		return 0
	}
	return signalExit + int(p.status.Signal())
}
