package cli

import (
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// What a container may still say when its PID 1 has ended. Its own processes are
// gone, but one of another container or of the host may hold its output open, and
// must not keep this program from ending.
const (
	lastWordsTime = 2 * time.Second // of waiting; that the reader is slow does not count
	lastWordsSize = 1 << 20         // bytes: the largest pipe (/proc/sys/fs/pipe-max-size)
)

// lastWords reads what a container says: to the end of the file or, after end, for
// a bounded time. It uses poll(2) and no deadlines, since a terminal's descriptor is
// a blocking one after the first ioctl of os.File.Fd.
type lastWords struct {
	from  *os.File
	over  int // an eventfd(2) that end makes readable
	ended bool
	time  time.Duration // what is left of it
	size  int
}

func newLastWords(from *os.File) (*lastWords, error) {
	over, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("eventfd", err)
	}
	return &lastWords{from: from, over: over, time: lastWordsTime, size: lastWordsSize}, nil
}

// end says that the container has ended; it may be called while another goroutine
// reads.
func (w *lastWords) end() {
	_, _ = unix.Write(w.over, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // only a full counter refuses
}

func (w *lastWords) Read(p []byte) (n int, err error) {
	ready, err := w.wait()
	if err != nil || !ready {
		return 0, cmpError(err, io.EOF)
	}
	if w.ended {
		p = p[:min(len(p), w.size)]
	}
	n, err = w.from.Read(p)
	if w.ended {
		w.size -= n
	}
	return n, err
}

// wait tells whether there is something to read, the end of the file among it.
func (w *lastWords) wait() (ready bool, err error) {
	fds := []unix.PollFd{{Fd: int32(w.from.Fd()), Events: unix.POLLIN}, {Fd: int32(w.over), Events: unix.POLLIN}}
	for !w.ended {
		if _, err := unix.Poll(fds, -1); err != nil && err != unix.EINTR {
			return false, os.NewSyscallError("poll", err)
		}
		if fds[0].Revents != 0 {
			return true, nil
		}
		w.ended = fds[1].Revents != 0
	}
	for w.size > 0 {
		began := time.Now()
		n, err := unix.Poll(fds[:1], int(max(w.time, 0)/time.Millisecond))
		w.time -= time.Since(began)
		if err != unix.EINTR {
			return n > 0, os.NewSyscallError("poll", err)
		}
	}
	return false, nil
}
