package pid1

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/internal/handoff"
)

// listenNotifications opens the notification sockets of the processes that have one.
func (s *supervisor) listenNotifications() error {
	for _, p := range s.processes {
		if p.about.Ready != handoff.ReadyNotify {
			continue
		}
		socket, err := listenNotify(handoff.ProcessNotify(p.about.Name))
		if err != nil {
			return fmt.Errorf("process %s: %w", p.about.Name, err)
		}
		go s.takeNotifications(p, os.NewFile(uintptr(socket), "notify"))
	}
	return nil
}

// listenNotify makes a socket for sd_notify(3), for any user of the container.
func listenNotify(path string) (socket int, err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return -1, fmt.Errorf("notification socket: %w", err)
	}
	socket, err = unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err == nil {
		err = unix.Bind(socket, &unix.SockaddrUnix{Name: path})
	}
	if err == nil {
		err = os.Chmod(path, 0o666)
	}
	if err != nil {
		return -1, fmt.Errorf("notification socket: %w", err)
	}
	return socket, nil
}

// takeNotifications takes what a process says, for the rest of init's life. The descriptor
// does not block, so that waiting takes no thread.
func (s *supervisor) takeNotifications(p *process, socket *os.File) {
	raw, err := socket.SyscallConn()
	if err != nil {
		return
	}
	buffer, control := make([]byte, 4096), make([]byte, 256)
	for {
		var n, controlLength, flags int
		var receiveErr error
		err := raw.Read(func(fd uintptr) bool {
			n, controlLength, flags, _, receiveErr = unix.Recvmsg(int(fd), buffer, control, unix.MSG_CMSG_CLOEXEC)
			return receiveErr != unix.EAGAIN
		})
		if err != nil {
			return
		}
		if receiveErr != nil {
			continue
		}
		if message := string(buffer[:n]); flags&unix.MSG_TRUNC == 0 { // else it may end in half an assignment
			s.do(func() { s.notified(p, message) })
		}
		closeReceived(control[:controlLength]) // also the answer to sd_notify_barrier(3)
	}
}

// notified is what a process has said. What main says is passed on to systemd.
func (s *supervisor) notified(p *process, message string) {
	for line := range strings.Lines(message) {
		if strings.TrimSuffix(line, "\n") == "READY=1" && p.state == stateStarting {
			s.becomeReady(p)
			s.advance()
		}
	}
	if p.about.Main && s.plan.ForwardNotify {
		tell(s.plan, filterNotification(message))
	}
}
