package pid1

import (
	"fmt"
	"os"
	"strings"
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

// startProbe starts the command in a session of its own, as init starts any other.
func startProbe(c *command, output *tail, deadline time.Time) (*probe, error) {
	writer, err := output.open(c.identity)
	if err != nil {
		return nil, err
	}
	defer unix.Close(writer)
	pid, err := c.start(false, []uintptr{0, uintptr(writer), uintptr(writer)}, -1)
	if err != nil {
		output.close()
		return nil, err
	}
	return &probe{pid: pid, deadline: deadline, output: output}, nil
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
// wrong. It is used for one probe after the other, so that each leaves little garbage.
type tail struct {
	file  *os.File // the reading end
	fd    int      // of file
	kept  []byte
	lost  bool // something came before
	chunk []byte
	done  chan struct{}
}

// maxTail bounds what is kept. With it a message to systemd has less than the 4096
// bytes that systemd reads of one (NOTIFY_BUFFER_MAX).
const maxTail = 1024

func newTail() *tail {
	return &tail{kept: make([]byte, 0, 2*maxTail), chunk: make([]byte, maxTail), done: make(chan struct{}, 1)}
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
	t.file, t.fd = os.NewFile(uintptr(pipe[0]), "probe"), pipe[0]
	t.kept, t.lost = t.kept[:0], false
	go t.follow()
	return pipe[1], nil
}

func (t *tail) follow() {
	for {
		n, err := t.file.Read(t.chunk)
		t.add(t.chunk[:n])
		if err != nil { // or close has come
			t.done <- struct{}{}
			return
		}
	}
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
	_ = t.file.SetReadDeadline(time.Unix(1, 0))
	<-t.done
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
	_ = t.file.Close()
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
