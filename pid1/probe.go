package pid1

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// probe is one run of the health command.
type probe struct {
	pid      int
	deadline time.Time
	output   *tail
	overdue  bool // it was killed, and its result is known
	excused  bool // it was given more time
}

// start starts the command in a session of its own, as init starts any other. The probe is
// that of before, which must have ended.
func (c *check) start(deadline time.Time) (*probe, error) {
	writer, err := c.output.open(c.command.identity)
	if err != nil {
		return nil, err
	}
	files := [...]int{0, writer, writer}
	pid, err := c.program.start(files[:])
	_ = unix.Close(writer)
	if err != nil {
		c.output.close()
		return nil, c.command.execError(err)
	}
	c.probe = probe{pid: pid, deadline: deadline, output: c.output}
	return &c.probe, nil
}

// kill kills the process group of the probe, which is that of its session at first.
func (p *probe) kill() { _ = unix.Kill(-p.pid, unix.SIGKILL) }

// outcome says why a probe that has ended has failed; "" if it has not.
func (p *probe) outcome(status syscall.WaitStatus) string {
	p.output.close()
	switch {
	case status.Signaled():
		return p.because(fmt.Sprintf("ended by signal %d", int(status.Signal())))
	case status.ExitStatus() != 0:
		return p.because(fmt.Sprintf("exit status %d", status.ExitStatus()))
	}
	return ""
}

// because adds the output to the reason of a failure.
func (p *probe) because(reason string) string {
	if output := oneLine(string(p.output.kept), p.output.lost); output != "" {
		return reason + ": " + output
	}
	return reason
}

// tail reads a pipe and keeps the end of what comes, where programs mostly say what is
// wrong. It is used for one probe after the other and leaves no garbage: of each pipe it has
// but the descriptor, in an epoll(7) that the runtime waits for as for a file.
type tail struct {
	poll  *os.File
	epoll int // of poll
	mutex sync.Mutex
	fd    int // the reading end; -1: there is none
	kept  []byte
	lost  bool // something came before
	chunk []byte
}

// maxTail bounds what is kept. With it a message to systemd has less than the 4096
// bytes that systemd reads of one (NOTIFY_BUFFER_MAX).
const maxTail = 1024

func newTail() (*tail, error) {
	poll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err == nil {
		err = unix.SetNonblock(poll, true)
	}
	if err != nil {
		return nil, fmt.Errorf("wait for the output of probes: %w", err)
	}
	t := &tail{poll: os.NewFile(uintptr(poll), "probes"), epoll: poll, fd: -1, kept: make([]byte, 0, 2*maxTail), chunk: make([]byte, maxTail)}
	raw, err := t.poll.SyscallConn()
	if err != nil {
		return nil, err
	}
	go t.follow(raw)
	return t, nil
}

// open returns a pipe's writing end and reads the other, which alone must not block. The
// writing end belongs to the user of the command: opening /dev/stderr checks that.
func (t *tail) open(id *identity) (writer int, err error) {
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return -1, fmt.Errorf("make output pipe: %w", err)
	}
	_ = unix.SetNonblock(pipe[0], true)
	_ = unix.Fchown(pipe[1], int(id.uid), int(id.gid)) // a container without CAP_CHOWN has to do without
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.fd, t.kept, t.lost = pipe[0], t.kept[:0], false
	_ = unix.EpollCtl(t.epoll, unix.EPOLL_CTL_ADD, t.fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(t.fd)})
	return pipe[1], nil
}

// follow reads what comes, for the rest of init's life.
func (t *tail) follow(raw syscall.RawConn) {
	var events [1]unix.EpollEvent
	_ = raw.Read(func(poll uintptr) bool {
		for {
			n, err := unix.EpollWait(int(poll), events[:], 0)
			if n == 0 || err != nil && err != unix.EINTR {
				return false
			}
			t.mutex.Lock()
			if t.fd >= 0 && !t.read() {
				_ = unix.EpollCtl(int(poll), unix.EPOLL_CTL_DEL, t.fd, nil)
			}
			t.mutex.Unlock()
		}
	})
}

// read reads once; false: that is the end of it.
func (t *tail) read() bool {
	n, err := unix.Read(t.fd, t.chunk)
	if n > 0 {
		t.add(t.chunk[:n])
	}
	return n > 0 || err == unix.EINTR || err == unix.EAGAIN
}

func (t *tail) add(text []byte) {
	t.kept = append(t.kept, text...)
	if excess := len(t.kept) - maxTail; excess > 0 {
		t.kept, t.lost = append(t.kept[:0], t.kept[excess:]...), true
	}
}

// maxPipe is what a pipe holds (pipe(7)), and what is read at most of one that is never
// empty.
const maxPipe = 64 << 10

// close reads what was written so far and closes the pipe: children of the command that
// go on may have it open for ever.
func (t *tail) close() {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	for total := 0; total < maxPipe; {
		n, err := unix.Read(t.fd, t.chunk)
		if err == unix.EINTR {
			continue
		}
		if n <= 0 {
			break
		}
		t.add(t.chunk[:n])
		total += n
	}
	_ = unix.Close(t.fd)
	t.fd = -1
}

// oneLine makes text out of anything: systemd takes no status with what it does not hold
// for text (unichar_is_valid), and a line of it might be another assignment.
func oneLine(text string, lost bool) string {
	var lines []string
	for line := range strings.SplitSeq(strings.ToValidUTF8(text, "?"), "\n") {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	text = strings.Join(lines, " | ")
	if lost {
		text = "..." + text
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r < ' ', r >= 0x7f && r < 0xa0, r == 0x2028, r == 0x2029:
			return ' '
		case r >= 0xfdd0 && r <= 0xfdef, r&0xfffe == 0xfffe:
			return '?'
		}
		return r
	}, text)
}
