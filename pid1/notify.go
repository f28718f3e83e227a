package pid1

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/internal/handoff"
)

// forwarder passes what the command says by sd_notify(3) on to systemd, which
// listens to the main process only. The container speaks for its own state, not
// for systemd's book-keeping: MAINPID= and FDSTORE= are not passed on, and
// EXTEND_TIMEOUT_USEC= is not because it could put off the kill after
// TimeoutStopSec= for ever.
type forwarder struct{ socket int }

// forwarded are the assignments that pass (sd_notify(3)).
var forwarded = []string{"READY", "RELOADING", "STOPPING", "STATUS", "ERRNO", "EXIT_STATUS", "MONOTONIC_USEC", "WATCHDOG"}

func newForwarder(plan *handoff.Plan) (*forwarder, error) {
	if !plan.ForwardNotify || len(plan.Processes) > 0 { // each of several has a socket of its own
		return &forwarder{socket: -1}, nil
	}
	if err := os.MkdirAll(filepath.Dir(handoff.NotifySocket), 0o755); err != nil {
		return nil, fmt.Errorf("notification socket: %w", err)
	}
	socket, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("notification socket: %w", err)
	}
	if err := unix.Bind(socket, &unix.SockaddrUnix{Name: handoff.NotifySocket}); err != nil {
		return nil, fmt.Errorf("notification socket: %w", err)
	}
	if err := os.Chmod(handoff.NotifySocket, 0o666); err != nil { // the command may run as any user
		return nil, fmt.Errorf("notification socket: %w", err)
	}
	return &forwarder{socket: socket}, nil
}

// run forwards in the background for the rest of the process's life.
func (f *forwarder) run() {
	if f.socket >= 0 {
		go f.loop()
	}
}

func (f *forwarder) loop() {
	buffer := make([]byte, 4096)
	control := make([]byte, 256)
	for {
		n, controlLength, flags, _, err := unix.Recvmsg(f.socket, buffer, control, unix.MSG_CMSG_CLOEXEC)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return
		}
		// A message that did not fit may end in half an assignment.
		if message := filterNotification(string(buffer[:n])); message != "" && flags&unix.MSG_TRUNC == 0 {
			_ = unix.Send(handoff.NotifyFD, []byte(message), 0)
		}
		// Closing what came along is also the answer to sd_notify_barrier(3).
		closeReceived(control[:controlLength])
	}
}

// announce tells systemd that the command runs. If that is all it is to be told,
// the connection is closed: nobody who takes init over shall have it. Of a container
// whose health is checked watchHealth tells.
func announce(plan *handoff.Plan) {
	if plan.Health != nil {
		return
	}
	tell(plan, plan.Announce)
	if plan.Announce != "" && !plan.ForwardNotify {
		_ = unix.Close(handoff.NotifyFD)
	}
}

// statusText is the status text in a message to systemd.
func statusText(message string) string {
	for line := range strings.SplitSeq(message, "\n") {
		if status, ok := strings.CutPrefix(line, "STATUS="); ok {
			return status
		}
	}
	return ""
}

// tell sends systemd a message, if it listens.
func tell(plan *handoff.Plan, message string) {
	if plan.Announce != "" {
		_ = unix.Send(handoff.NotifyFD, []byte(message), unix.MSG_NOSIGNAL)
	}
}

func filterNotification(message string) string {
	lines := strings.Split(message, "\n")
	lines = slices.DeleteFunc(lines, func(line string) bool {
		name, _, found := strings.Cut(line, "=")
		return !found || !slices.Contains(forwarded, name)
	})
	return strings.Join(lines, "\n")
}

func closeReceived(control []byte) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return
	}
	for i := range messages {
		descriptors, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			continue
		}
		for _, fd := range descriptors {
			_ = unix.Close(fd)
		}
	}
}
