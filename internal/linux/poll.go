package linux

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// WaitReadable waits until fd can be read or its other end is closed, and tells
// whether that was so before the timeout. A pidfd becomes readable when its
// process has ended (pidfd_open(2)).
func WaitReadable(fd int, timeout time.Duration) bool {
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	deadline := time.Now().Add(timeout)
	for {
		left := time.Until(deadline)
		n, err := unix.Poll(poll, max(0, int(left.Milliseconds())))
		if n > 0 {
			return true
		}
		if (err != nil && !errors.Is(err, unix.EINTR)) || left <= 0 {
			return false
		}
	}
}
