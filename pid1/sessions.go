package pid1

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/internal/handoff"
	"github.com/cocker/cocker/internal/session"
)

// sessions takes requests for commands that shall run beside the container's own. All
// that init does for one is to start cocker-init once more, with the connection:
// whatever a session needs lives in a process that ends with it, and cannot bring down
// PID 1 or stay in its memory.
type sessions struct {
	plan      int     // descriptor of the kept plan
	rescue    uintptr // that of the rescue shell; -1: there is none
	listeners []*os.File
}

// sessionVariable tells a cocker-init what it serves.
const (
	sessionVariable  = "COCKER_INIT_SESSION"
	sessionOfControl = "control" // a client of the control socket
	sessionOfBus     = "bus"     // a client of the bus socket
	sessionsOfBooted = "booted"  // all clients of the control socket, in place of a PID 1 that is not ours
	sessionOfLogin   = "login"   // whoever is at the terminal, its standard descriptors
)

// The descriptors of a cocker-init that serves a session, beside standard error.
const (
	sessionClientFD = 3
	sessionPlanFD   = 4
	sessionRescueFD = 5 // only with Plan.Rescue
	sessionCgroupFD = 6 // the container's cgroup; only for a client of the bus socket
)

// openSessions begins to take requests: from the host's root on the socket that the
// launcher has made where nobody else gets at it, and from machined on that of the
// container's system bus, which comes through bus.
func openSessions(plan *handoff.Plan, kept int, bus <-chan *os.File) *sessions {
	const closed = ^uintptr(0)
	s := &sessions{plan: kept, rescue: closed}
	if plan.Rescue {
		s.rescue = handoff.RescueFD
	}
	if !plan.Sessions {
		return s
	}
	s.listen(os.NewFile(handoff.ControlFD, "control"), sessionOfControl)
	if listener := <-bus; listener != nil {
		s.listen(listener, sessionOfBus)
	}
	return s
}

// listen takes connections. The descriptor does not block, so that the runtime waits
// for all such in one place, without a thread.
func (s *sessions) listen(listener *os.File, kind string) {
	s.listeners = append(s.listeners, listener)
	go s.accept(listener, kind)
}

// accept serves one connection after the other until the listener is closed. It leaves
// next to no garbage: init's first collection would cost more memory than it frees.
func (s *sessions) accept(listener *os.File, kind string) {
	raw, err := listener.SyscallConn()
	if err != nil {
		return
	}
	var client uintptr
	var errno unix.Errno
	accept := func(fd uintptr) bool {
		client, _, errno = unix.RawSyscall6(unix.SYS_ACCEPT4, fd, 0, 0, unix.SOCK_CLOEXEC, 0, 0)
		return errno != unix.EAGAIN
	}
	start := s.starter(kind)
	for raw.Read(accept) == nil {
		if errno != 0 {
			continue // it has gone again
		}
		err := start(client)
		if err != nil && kind == sessionOfControl {
			_ = session.SendFailed(int(client), session.StatusFailed, fmt.Errorf("start a process for the session: %w", err))
		}
		_ = unix.Close(int(client))
	}
}

// starter returns a function that starts the process that serves a client.
// loop.reap collects it, or attend.
func (s *sessions) starter(kind string) func(client uintptr) error {
	program, err := newRepeated("/proc/self/exe", []string{"cocker-session"}, []string{sessionVariable + "=" + kind, oneProcessor}, nil)
	files := []int{-1, -1, 2, sessionClientFD: 0, sessionPlanFD: s.plan, sessionRescueFD: int(s.rescue)}
	if kind == sessionOfBus {
		files = append(files, handoff.CgroupFD)
	}
	return func(client uintptr) error {
		if err != nil {
			return err
		}
		files[sessionClientFD] = int(client)
		_, err := program.start(files)
		return err
	}
}

// close takes no more requests.
func (s *sessions) close() {
	for _, listener := range s.listeners {
		_ = listener.Close()
	}
}
