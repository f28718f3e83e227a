package launch

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/internal/handoff"
	"github.com/cocker/cocker/internal/linux"
)

// notifySource is the host's socket that a container sees when its command is
// PID 1 and speaks to systemd itself; it is the unit's main process, which
// NotifyAccess=exec lets in.
func notifySource(c *config.Container) string {
	if c.Init == config.InitCocker || c.Init == config.InitNone && !c.NotifyReady {
		return ""
	}
	return os.Getenv("NOTIFY_SOCKET")
}

// notifyConnection returns a socket that is connected to systemd's, for init to
// speak to it; -1 if nobody listens. It is opened before the host's file system
// is out of reach.
func notifyConnection(plan *handoff.Plan) (fd int, err error) {
	if plan.Announce == "" {
		return -1, nil
	}
	return dialNotify(os.Getenv("NOTIFY_SOCKET"))
}

func dialNotify(path string) (fd int, err error) {
	fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("notification socket: %w", err)
	}
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("connect to %q: %w", path, err)
	}
	return fd, nil
}

// Notify tells systemd something about the unit (sd_notify(3)) and waits until
// it has been handled, so that what is done next comes after it. Without NOTIFY_SOCKET nobody asked.
func Notify(message string) error {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	fd, err := dialNotify(path)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Send(fd, []byte(message), unix.MSG_NOSIGNAL); err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	return barrier(fd)
}

// barrierTimeout bounds the wait for systemd, which may be busy for a while when
// many units start at once; a start that takes too long is for TimeoutStartSec=.
const barrierTimeout = time.Minute

// barrier waits until systemd has handled all messages sent so far: it closes
// the pipe that comes with the message (sd_notify_barrier(3), systemd 246).
func barrier(fd int) error {
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	defer unix.Close(pipe[0])
	err := unix.Sendmsg(fd, []byte("BARRIER=1"), unix.UnixRights(pipe[1]), nil, unix.MSG_NOSIGNAL)
	unix.Close(pipe[1])
	if err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	if !linux.WaitReadable(pipe[0], barrierTimeout) {
		return fmt.Errorf("notify systemd: no answer within %v", barrierTimeout)
	}
	return nil
}
