package pid1

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/internal/handoff"
	"github.com/cocker/cocker/internal/session"
)

var errStopping = errors.New("the container is stopping")

// asker waits for what it has asked for.
type asker struct {
	socket  int
	stopped bool // it is answered when the process has stopped, else when it is ready
}

// reply answers and closes the connection.
func (a asker) reply(reply handoff.ProcessReply) {
	if packet, err := json.Marshal(reply); err == nil {
		_ = unix.Send(a.socket, packet, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL) // to a client that may be gone
	}
	_ = unix.Close(a.socket)
}

// answer tells those who wait for a process what has become of it; nil is what they want,
// if it is so.
func (p *process) answer(err error) {
	left := p.askers[:0]
	for _, a := range p.askers {
		switch {
		case err != nil:
			a.reply(handoff.ProcessReply{Error: err.Error()})
		case a.stopped && p.runs(): // it is ready, which another has waited for
			left = append(left, a)
		case !a.stopped && !p.ready:
			a.reply(handoff.ProcessReply{Error: "process " + p.about.Name + " has been stopped"})
		default:
			a.reply(handoff.ProcessReply{})
		}
	}
	p.askers = left
}

// answerStopped tells those who wait for the stop of a process that it has stopped.
func (p *process) answerStopped() {
	p.askers = slices.DeleteFunc(p.askers, func(a asker) bool {
		if a.stopped {
			a.reply(handoff.ProcessReply{})
		}
		return a.stopped
	})
}

// outcome is what somebody is told who waited for a process that has ended.
func (p *process) outcome() error {
	switch p.state {
	case stateStopped, stateEnded:
		return nil
	}
	return fmt.Errorf("process %s has failed: %s", p.about.Name, p.result())
}

// listenControl takes what "cocker ps" and "cocker process" ask, if there are several
// processes. Only the host's root gets at the socket.
func (s *supervisor) listenControl() *os.File {
	if len(s.plan.Processes) == 0 {
		return nil
	}
	listener := os.NewFile(handoff.ProcessesFD, "processes")
	go s.acceptControl(listener)
	return listener
}

func (s *supervisor) acceptControl(listener *os.File) {
	raw, err := listener.SyscallConn()
	if err != nil {
		return
	}
	for {
		client := -1
		var acceptErr error
		err := raw.Read(func(fd uintptr) bool {
			client, _, acceptErr = unix.Accept4(int(fd), unix.SOCK_CLOEXEC)
			return acceptErr != unix.EAGAIN
		})
		if err != nil {
			return // it is closed
		}
		if acceptErr == nil {
			s.receive(client)
		}
	}
}

// receive takes one request, which comes with the connection.
func (s *supervisor) receive(client int) {
	a := asker{socket: client}
	credentials, err := unix.GetsockoptUcred(client, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil || credentials.Pid != 0 { // see monitor.receive
		_ = unix.Close(client)
		return
	}
	_ = unix.SetsockoptTimeval(client, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &requestTimeout)
	packet, files, err := session.Receive(client, 256, 1)
	session.CloseAll(files)
	if err != nil {
		_ = unix.Close(client)
		return
	}
	s.do(func() { s.serve(a, string(packet)) })
}

// serve does what is asked for.
func (s *supervisor) serve(a asker, request string) {
	verb, name, _ := strings.Cut(request, " ")
	if verb == handoff.ProcessList {
		a.reply(handoff.ProcessReply{Processes: s.list()})
		return
	}
	p := s.processNamed(name)
	err := s.refuse(p, verb, name)
	if err != nil {
		a.reply(handoff.ProcessReply{Error: err.Error()})
		return
	}
	a.stopped = verb == handoff.ProcessStop
	p.askers = append(p.askers, a)
	switch {
	case verb == handoff.ProcessStart && p.runs():
		if p.ready {
			p.answer(nil)
		}
	case verb == handoff.ProcessStop:
		p.again = false
		s.stopOne(p)
	case p.runs():
		p.again, p.ready = true, false
		s.stopProcess(p)
	default:
		s.startOne(p)
	}
}

// refuse says why something can't be done.
func (s *supervisor) refuse(p *process, verb, name string) error {
	switch {
	case verb != handoff.ProcessStart && verb != handoff.ProcessStop && verb != handoff.ProcessRestart:
		return fmt.Errorf("the container's init does not know %q: it is of another version of cocker", verb)
	case p == nil:
		return fmt.Errorf("there is no process %q", name)
	case s.stopping:
		return errStopping
	case p.about.Main && verb == handoff.ProcessStop:
		return fmt.Errorf("the container ends with process %s; stop the container", name)
	case verb == handoff.ProcessStart && p.state == stateStopping:
		return fmt.Errorf("process %s is stopping; restart it", name)
	}
	return nil
}

// startOne starts a process that does not run, if it need not wait for others.
func (s *supervisor) startOne(p *process) {
	s.cancel(p.alarm)
	p.alarm, p.ready, p.restarts, p.inARow, p.err = nil, false, 0, 0, nil
	p.enter(stateWaiting)
	s.advance()
}

// stopOne stops a process and keeps it from coming back.
func (s *supervisor) stopOne(p *process) {
	if p.runs() {
		s.stopProcess(p)
		return
	}
	s.cancel(p.alarm)
	p.alarm = nil
	if p.state != stateFailed && p.state != stateEnded {
		p.enter(stateStopped)
	}
	p.answer(nil)
}

func (s *supervisor) processNamed(name string) *process {
	for _, p := range s.processes {
		if p.about.Name == name {
			return p
		}
	}
	return nil
}

func (s *supervisor) list() []handoff.ProcessStatus {
	all := make([]handoff.ProcessStatus, len(s.processes))
	for i, p := range s.processes {
		all[i] = handoff.ProcessStatus{Name: p.about.Name, State: p.state, PID: p.pid, Since: p.since.UnixMicro(), Restarts: p.restarts, Result: p.result()}
		if p.since.IsZero() { // it waits from the beginning
			all[i].Since = 0
		}
	}
	return all
}
