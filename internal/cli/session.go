package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"sync/atomic"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/internal/linux"
	"github.com/cocker/cocker/internal/session"
	"github.com/cocker/cocker/launch"
)

// answerTimeout bounds the wait for the container's init to begin a session. It may be
// one of many that a busy machine starts at once.
const answerTimeout = time.Minute

// client is one command in a running container. The container's init starts it: this
// process enters nothing of the container, and gives it nothing but three descriptors
// none of which is a terminal or a directory, and the session's cgroup.
type client struct {
	name      string
	state     *launch.State
	container string // directory of the container's cgroup
	request   *session.Request
	cgroup    *sessionCgroup
	socket    int
	stdio     *stdio
	signals   chan os.Signal
	left      atomic.Bool // by the escape of a login
}

// inSession runs a command in a container; without words it is a login shell. The
// error is an exitError if the command's exit status is not 0.
func inSession(ctx context.Context, s *streams, name string, words []string, o sessionOptions) (err error) {
	if o.terminal && o.interactive && !isTerminal(s.in) {
		return errors.New("-t needs a terminal as the standard input; use -i alone for a pipe")
	}
	request, err := o.request(words)
	if err != nil {
		return err
	}
	c := &client{name: name, request: request, socket: -1, signals: make(chan os.Signal, 16)}
	signal.Notify(c.signals, forwarded()...)
	if c.state, err = runningState(name); err != nil {
		return err
	}
	if c.container, err = c.state.CgroupDir(); err != nil {
		return fmt.Errorf("find the cgroup of %s: %w", name, err)
	}
	// First of all: what serves the session starts while the rest is made ready here.
	if c.socket, err = c.connect(ctx); err != nil {
		return err
	}
	defer unix.Close(c.socket)
	if c.cgroup, err = newSessionCgroup(c.state, c.container, aboutSession(request)); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.cgroup.close()) }()
	if err := c.openStdio(s, o); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.stdio.restore()) }()
	if err := c.begin(); err != nil {
		return err
	}
	return c.run()
}

// runningState is the state of a container in which a session can begin.
func runningState(name string) (*launch.State, error) {
	if err := config.ValidName(name); err != nil {
		return nil, err
	}
	state, err := launch.ReadState(name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !state.Running() {
		return nil, fmt.Errorf("container %s is not running; \"cocker start %s\" starts it", name, name)
	}
	return state, err
}

// openStdio finds what the command gets as standard descriptors.
func (c *client) openStdio(s *streams, o sessionOptions) (err error) {
	if o.terminal { // it gets one of the container's; ours stays here
		c.stdio = &stdio{streams: s, interactive: o.interactive}
		if size, err := pty.GetsizeFull(s.in); err == nil {
			c.request.Rows, c.request.Columns = size.Rows, size.Cols
		}
		return nil
	}
	c.stdio, err = openStdio(s, runOptions{interactive: o.interactive})
	return err
}

// begin sends the request.
func (c *client) begin() error {
	request, err := c.request.Save()
	if err != nil {
		return err
	}
	defer request.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	cgroup, err := c.cgroup.confined()
	if err != nil {
		return err
	}
	defer unix.Close(cgroup)
	files := [session.Files]int{
		session.FileRequest: int(request.Fd()),
		session.FileCgroup:  cgroup, session.FileCgroupKill: int(c.cgroup.kill.Fd()),
	}
	for i, file := range []*os.File{c.stdio.in, c.stdio.out, c.stdio.err} {
		if file == nil {
			file = null
		}
		if err := prepareToShare(file); err != nil {
			return err
		}
		files[session.FileStdin+i] = int(file.Fd())
	}
	err = session.SendRequest(c.socket, files)
	if errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) {
		return nil // it has ended already, and awaitRunning reads why
	}
	return err
}

// prepareToShare looks at what a container is to get. A directory would be its way to
// the host's files (CVE-2024-21626). A pipe is made readable and writable for all, as
// only those who have it can find it: the container's ids open /dev/stdout, too.
func prepareToShare(file *os.File) error {
	var stat unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &stat); err != nil {
		return &fs.PathError{Op: "stat", Path: file.Name(), Err: err}
	}
	switch stat.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return fmt.Errorf("%s is a directory, which would give the container a way to the host's files", file.Name())
	case unix.S_IFIFO:
		var system unix.Statfs_t
		if unix.Fstatfs(int(file.Fd()), &system) == nil && system.Type == unix.PIPEFS_MAGIC {
			_ = unix.Fchmod(int(file.Fd()), 0o666) // the pipe works without
		}
	}
	return nil
}

// connect connects to the socket that the container's init listens on. Its queue may
// be full for a moment: connect(2), EAGAIN.
func (c *client) connect(ctx context.Context) (fd int, err error) {
	if err := c.checkFrozen(); err != nil {
		return -1, err
	}
	fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	deadline := time.Now().Add(answerTimeout)
	for {
		err = unix.Connect(fd, &unix.SockaddrUnix{Name: launch.ControlSocket(c.name)})
		if err == nil {
			return fd, unix.SetNonblock(fd, false)
		}
		if err != unix.EAGAIN && err != unix.EINTR || ctx.Err() != nil || time.Now().After(deadline) {
			return -1, errors.Join(c.explain(err), unix.Close(fd))
		}
		if err := c.checkFrozen(); err != nil {
			return -1, errors.Join(err, unix.Close(fd))
		}
		time.Sleep(time.Millisecond)
	}
}

func (c *client) explain(err error) error {
	switch {
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf(`container %s has no init that could start another command: it has init = "none", or was started by an older cocker. `+
			`"nsenter --all --target %d" enters it as root of the host, without its limits`, c.name, c.state.Leader)
	case errors.Is(err, unix.ECONNREFUSED), errors.Is(err, unix.ECONNRESET), errors.Is(err, unix.EPIPE):
		return fmt.Errorf("container %s is stopping, or somebody in it has killed what serves sessions", c.name)
	}
	return fmt.Errorf("connect to the init of %s: %w", c.name, err)
}

func (c *client) checkFrozen() error {
	if linux.CgroupFrozen(c.container) {
		return fmt.Errorf("container %s is frozen; \"systemctl thaw\" of its unit thaws it", c.name)
	}
	return nil
}

// run waits for the command to begin and to end.
func (c *client) run() error {
	defer c.stdio.closeTheirs()
	if err := c.awaitRunning(); err != nil {
		return err
	}
	c.cgroup.log(c.state.Leader)
	if c.request.Login {
		c.greet()
	}
	stop := c.stdio.start()
	over := make(chan struct{})
	go c.forward(over)
	status, err := c.awaitEnd()
	close(over)
	stop()
	if c.left.Load() {
		fmt.Fprintf(c.stdio.streams.out, "\r\nConnection to container %s terminated.\r\n", c.name)
		return nil
	}
	return cmpError(err, status)
}

// awaitRunning waits until the command is about to be executed.
func (c *client) awaitRunning() error {
	deadline := time.Now().Add(answerTimeout)
	for {
		if !linux.WaitReadable(c.socket, time.Second) {
			if err := c.checkFrozen(); err != nil {
				return err
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("the init of %s does not answer; see \"cocker logs %s\"", c.name, c.name)
			}
			continue
		}
		report, err := c.receive()
		if err != nil {
			return err
		}
		switch report.Kind {
		case session.Running:
			return nil
		case session.Terminal:
			if err := c.takeTerminal(report.File); err != nil {
				return err
			}
		case session.Ended:
			return fmt.Errorf("the command was killed before it ran: %w", cmpError(exitOf(report.Wait), errors.New("exit status 0")))
		}
	}
}

// receive waits for a report; that the command was not started is an error.
func (c *client) receive() (*session.Report, error) {
	report, err := session.ReceiveReport(c.socket)
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, unix.ECONNRESET):
		return nil, fmt.Errorf("the connection to the session is lost: container %s has ended, or somebody in it has killed cocker-session", c.name)
	case err != nil:
		return nil, err
	case report.Kind == session.Failed:
		return nil, &statusError{report.Status, errors.New(oneLine(report.Reason))}
	}
	return report, nil
}

// takeTerminal takes the end of the container's terminal that is ours.
func (c *client) takeTerminal(master *os.File) (err error) {
	x := c.stdio
	if x.master != nil || !c.request.Terminal {
		return errors.Join(errors.New("the container's init sent a terminal that nobody asked for"), master.Close())
	}
	x.master = master
	if x.words, err = newLastWords(master); err != nil {
		return err
	}
	if x.interactive {
		x.raw, err = term.MakeRaw(int(x.streams.in.Fd()))
	}
	return err
}

// awaitEnd waits for the command's end.
func (c *client) awaitEnd() (status, err error) {
	for {
		report, err := c.receive()
		if err != nil {
			return nil, err
		}
		if report.Kind == session.Ended {
			return exitOf(report.Wait), nil
		}
		if report.File != nil {
			_ = report.File.Close()
		}
	}
}

// forward passes signals on to the command.
func (c *client) forward(over <-chan struct{}) {
	for {
		select {
		case s := <-c.signals:
			_ = session.SendSignal(c.socket, s.(unix.Signal)) // it may have ended just now
		case <-over:
			return
		}
	}
}
