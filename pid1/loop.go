package pid1

import (
	"errors"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// loop is what init waits in: one goroutine does all that follows from signals, from the
// end of children, from the time and from what other goroutines ask for. Nothing of it
// needs a lock, and what is idle costs an entry in a list.
type loop struct {
	signals  incoming
	children map[int]func(syscall.WaitStatus) // whose end somebody wants to know
	alarms   []*alarm
	timer    *time.Timer // for the earliest alarm; nil until there was one
	calls    chan func() // of other goroutines
}

// alarm is a call at a time.
type alarm struct {
	when time.Time
	call func()
}

func newLoop(signals incoming) loop {
	return loop{signals: signals, children: map[int]func(syscall.WaitStatus){}, calls: make(chan func())}
}

// onEnd has ended called, once, when the child has ended and has been reaped. It must be
// registered by the goroutine of the loop, before that waits again: the number may be
// another process's afterwards.
func (l *loop) onEnd(pid int, ended func(syscall.WaitStatus)) { l.children[pid] = ended }

// at has call called once, at a time or soon after it.
func (l *loop) at(when time.Time, call func()) *alarm {
	a := new(alarm)
	l.set(a, when, call)
	return a
}

// set is at for an alarm that is used again and again, when it has rung or was cancelled.
func (l *loop) set(a *alarm, when time.Time, call func()) {
	*a = alarm{when, call}
	l.alarms = append(l.alarms, a)
}

// cancel takes an alarm back, if it has not rung yet; nil is none.
func (l *loop) cancel(a *alarm) {
	for i, other := range l.alarms {
		if other == a {
			l.alarms = append(l.alarms[:i], l.alarms[i+1:]...)
			return
		}
	}
}

// do has the loop call something. It is for other goroutines, and waits for its turn.
func (l *loop) do(call func()) { l.calls <- call }

// wait waits for the next that happens, and does what is to be done about it.
func (l *loop) wait(handle func(syscall.Signal)) {
	select {
	case <-l.signals.child:
		l.reap()
	case received := <-l.signals.other:
		handle(received.(syscall.Signal))
	case <-l.due():
		l.ring()
	case call := <-l.calls:
		call()
	}
}

// due is when the earliest alarm rings; nil, which never happens, if there is none.
func (l *loop) due() <-chan time.Time {
	a := l.earliest()
	switch {
	case a == nil:
		return nil
	case l.timer == nil:
		l.timer = time.NewTimer(time.Until(a.when))
	default:
		l.timer.Reset(time.Until(a.when)) // a tick from before is not seen any more (time.Timer, Go 1.23)
	}
	return l.timer.C
}

func (l *loop) earliest() *alarm {
	var first *alarm
	for _, a := range l.alarms {
		if first == nil || a.when.Before(first.when) {
			first = a
		}
	}
	return first
}

// ring calls what is due, the earliest first; an alarm that is set meanwhile comes later.
func (l *loop) ring() {
	now := time.Now()
	for a := l.earliest(); a != nil && !a.when.After(now); a = l.earliest() {
		l.cancel(a)
		a.call()
	}
}

// reap collects every process that has ended and tells whether some are left.
func (l *loop) reap() (left bool) {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil: // ECHILD
			return false
		case pid == 0:
			return true
		default:
			if ended := l.children[pid]; ended != nil {
				delete(l.children, pid)
				ended(status)
			}
		}
	}
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
