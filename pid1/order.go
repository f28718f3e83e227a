package pid1

import (
	"fmt"
	"math"
	"syscall"
	"time"

	"github.com/cocker/cocker/internal/handoff"
)

// What follows from the start, the readiness and the end of a process for the others.

// advance starts each process that waits and no longer has to. The processes are in an order
// in which none comes before one that it waits for, so one pass will do.
func (s *supervisor) advance() {
	for _, p := range s.processes {
		if s.stopping {
			return
		}
		if p.state != stateWaiting {
			continue
		}
		switch blocker := s.blocker(p); {
		case blocker == nil:
			s.launch(p)
		case blocker.state == stateFailed:
			s.give(p, fmt.Errorf("process %s, for which %s waits, has failed: %s", blocker.about.Name, p.about.Name, blocker.result()))
		}
	}
}

// blocker is a process that p waits for, one that has failed if there is one; nil: none.
func (s *supervisor) blocker(p *process) (blocker *process) {
	for _, name := range p.about.After {
		for _, other := range s.processes {
			if other.about.Name == name && !other.ready && (blocker == nil || other.state == stateFailed) {
				blocker = other
			}
		}
	}
	return blocker
}

// launch starts a process.
func (s *supervisor) launch(p *process) {
	p.alarm, p.err = nil, nil
	if err := p.start(); err != nil {
		s.give(p, err)
		return
	}
	s.onEnd(p.pid, func(status syscall.WaitStatus) { s.end(p, status) })
	if p.about.Ready == handoff.ReadyExec {
		s.becomeReady(p)
	}
}

// becomeReady does what waits for a process, but for the start of others.
func (s *supervisor) becomeReady(p *process) {
	if p.state == stateStarting && p.about.Ready != handoff.ReadyExit {
		p.enter(stateRunning)
	}
	if p.about.Main && !s.announced { // once: it closes a descriptor
		s.announced = true
		announce(s.plan)
		s.health = watchHealth(s.plan, s.check, &s.loop)
	}
	p.ready = true
	p.answer(nil)
}

// give gives a process up: it could not be started.
func (s *supervisor) give(p *process, err error) {
	p.err = err
	p.enter(stateFailed)
	s.say(priorityError, "process %s has failed: %v", p.about.Name, err)
	p.answer(err)
	if p.about.Main {
		s.stopAll()
	}
}

// end is what follows from the end of a process: what it has started is killed, which would
// be in the way of the next, and is waited for.
func (s *supervisor) end(p *process, status syscall.WaitStatus) {
	s.cancel(p.alarm)
	p.pid, p.alarm, p.ended, p.status = 0, nil, true, status
	s.sweep(p, time.Millisecond)
}

// maxSweep bounds the wait for what was killed: a process may be stuck in the kernel.
const maxSweep = 2 * time.Second

// sweep goes on when the cgroup of the process is empty.
func (s *supervisor) sweep(p *process, pause time.Duration) {
	if p.leaving = p.killLeft() && pause < maxSweep; p.leaving {
		p.alarm = s.at(time.Now().Add(pause), func() { p.alarm = nil; s.sweep(p, 2*pause) })
		return
	}
	s.settle(p)
	switch {
	case s.stopping:
		s.stopNext()
	case p.about.Main && p.final():
		s.stopAll()
	default:
		s.advance()
	}
}

// final tells whether a process has ended for good.
func (p *process) final() bool {
	return p.state == stateStopped || p.state == stateEnded || p.state == stateFailed
}

// settle finds the state of a process that has ended.
func (s *supervisor) settle(p *process) {
	name := p.about.Name
	switch {
	case s.stopping && p.stopped:
		p.enter(stateStopped)
	case p.again && !s.stopping:
		p.again = false
		p.answerStopped()
		s.say(priorityInfo, "process %s has been stopped, and is started again", name)
		s.launch(p)
		return
	case p.stopped:
		p.enter(stateStopped)
		s.say(priorityInfo, "process %s has been stopped", name)
	case p.comesBack() && !s.stopping:
		s.bringBack(p)
		return
	case p.success():
		p.enter(stateEnded)
		p.ready = p.ready || p.about.Ready == handoff.ReadyExit
		s.say(priorityInfo, "process %s has ended: %s", name, p.result())
	default:
		p.enter(stateFailed)
		s.say(priorityError, "process %s has failed: %s", name, p.result())
	}
	if !p.ready && p.state == stateEnded && !s.stopping { // it was to say so, and now never will
		s.give(p, fmt.Errorf("it ended before it was ready: %s", p.result()))
	}
	p.answer(p.outcome())
}

// bringBack starts a process again after a while, unless it has had its chances.
func (s *supervisor) bringBack(p *process) {
	delay, more := p.nextDelay()
	if !more {
		p.enter(stateFailed)
		s.say(priorityError, "process %s has failed: %s, after %d restarts in a row", p.about.Name, p.result(), p.inARow)
		p.answer(p.outcome())
		return
	}
	p.enter(stateRestarting)
	s.say(priorityNotice, "process %s has ended: %s; restart %d follows in %v", p.about.Name, p.result(), p.restarts+1, delay)
	p.alarm = s.at(time.Now().Add(delay), func() {
		p.restarts++
		s.launch(p)
		s.advance()
	})
}

// stopAll stops everything, in the reverse order of the start.
func (s *supervisor) stopAll() {
	if s.stopping {
		return
	}
	s.stopping = true
	s.health.stop()
	for _, p := range s.processes {
		if !p.runs() && (p.state == stateWaiting || p.state == stateRestarting) {
			s.cancel(p.alarm)
			p.enter(stateStopped)
		}
		p.answer(errStopping)
	}
	s.stopNext()
}

// stopNext stops the last process that still runs, and nothing else until it has ended.
func (s *supervisor) stopNext() {
	for i := len(s.processes) - 1; i >= 0; i-- {
		if p := s.processes[i]; p.runs() {
			s.stopProcess(p)
			return
		}
	}
	s.over = true
}

// stopProcess asks a process to stop, unless it has been asked before.
func (s *supervisor) stopProcess(p *process) {
	if p.state == stateStopping {
		return
	}
	p.enter(stateStopping)
	if p.leaving {
		p.stopped = true
		return
	}
	p.askToStop()
	if p.about.StopTimeout != math.MaxInt64 {
		p.alarm = s.at(time.Now().Add(p.about.StopTimeout), func() {
			p.alarm = nil
			s.say(priorityNotice, "process %s has not stopped within %v, and is killed", p.about.Name, p.about.StopTimeout)
			p.killAll()
		})
	}
}
