package agent

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/creack/pty"
	"github.com/hashicorp/yamux"
	"golang.org/x/sys/unix"
)

// pipeDelay is how long a finished command waits for what it left in the background
// with its standard output.
const pipeDelay = 10 * time.Second

// Serve runs the commands that are asked for on a virtio serial port, as many at a
// time as there are, until the port fails.
func Serve(port string) error {
	connection, err := os.OpenFile(port, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	session, err := yamux.Server(connection, Config(os.Stderr))
	if err != nil {
		return err
	}
	for {
		stream, err := session.AcceptStream()
		if err != nil {
			return fmt.Errorf("%s: %w", port, err)
		}
		go func() {
			defer stream.Close()
			f := &frames{stream: stream}
			if err := serveCommand(f); err != nil {
				f.write(frameFailure, []byte(err.Error()))
			}
		}()
	}
}

func serveCommand(f *frames) error {
	kind, content, err := f.read()
	if err != nil {
		return err
	}
	var r request
	if err := json.Unmarshal(content, &r); err != nil || kind != frameRequest || len(r.Args) == 0 {
		return fmt.Errorf("no request: %q %w", kind, err)
	}
	c, err := start(r, f)
	if err != nil {
		return err
	}
	go c.control(f)
	return f.write(frameExit, []byte{c.wait()})
}

// command is a command that runs.
type command struct {
	*exec.Cmd
	stdin    io.WriteCloser
	terminal *os.File      // its terminal's master, or nil
	copied   chan struct{} // closed when the terminal has nothing more to say
	mu       sync.Mutex    // of over
	over     bool          // it has ended, and its process ID may be another's
}

func start(r request, f *frames) (*command, error) {
	path, err := lookPath(r)
	if err != nil {
		return nil, err
	}
	c := &command{Cmd: &exec.Cmd{Path: path, Args: r.Args, Env: r.Env, Dir: r.Dir, WaitDelay: pipeDelay}}
	if r.Terminal {
		return c, c.startOnTerminal(f)
	}
	c.Stdout, c.Stderr = writer{f, frameStdout}, writer{f, frameStderr}
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if c.stdin, err = c.StdinPipe(); err != nil {
		return nil, err
	}
	return c, c.Start()
}

func (c *command) startOnTerminal(f *frames) (err error) {
	if c.terminal, err = pty.Start(c.Cmd); err != nil { // in a session, so a process group, of its own
		return err
	}
	c.stdin, c.copied = c.terminal, make(chan struct{})
	go func() {
		io.Copy(writer{f, frameStdout}, c.terminal)
		close(c.copied)
	}()
	return nil
}

// lookPath finds the program in the PATH of the request.
func lookPath(r request) (string, error) {
	name := r.Args[0]
	if strings.Contains(name, "/") {
		return name, nil
	}
	for _, variable := range r.Env {
		directories, ok := strings.CutPrefix(variable, "PATH=")
		if !ok {
			continue
		}
		for _, dir := range filepath.SplitList(directories) {
			if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
				return path, nil
			}
		}
	}
	return "", fmt.Errorf("%s: %w", name, exec.ErrNotFound)
}

// control does what the other end asks for while the command runs.
func (c *command) control(f *frames) {
	for {
		kind, content, err := f.read()
		if err != nil {
			c.signal(unix.SIGKILL)
			return
		}
		switch {
		case kind == frameStdin && len(content) == 0 && c.terminal == nil:
			c.stdin.Close()
		case kind == frameStdin:
			c.stdin.Write(content) // a command need not read what it is given
		case kind == frameSignal && len(content) == 1:
			c.signal(syscall.Signal(content[0]))
		case kind == frameSize && len(content) == 4 && c.terminal != nil:
			pty.Setsize(c.terminal, &pty.Winsize{
				Rows: binary.BigEndian.Uint16(content), Cols: binary.BigEndian.Uint16(content[2:])})
		}
	}
}

func (c *command) signal(s syscall.Signal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.over {
		unix.Kill(-c.Process.Pid, s)
	}
}

// wait waits for the command's end and returns its exit status as a shell would.
func (c *command) wait() byte {
	err := c.Wait()
	c.mu.Lock()
	c.over = true
	c.mu.Unlock()
	if c.terminal != nil {
		select {
		case <-c.copied:
		case <-time.After(pipeDelay):
		}
		c.terminal.Close()
	}
	if err != nil && c.ProcessState == nil || errors.Is(err, exec.ErrWaitDelay) {
		fmt.Fprintf(os.Stderr, "%s: %v\n", c.Path, err)
	}
	status := c.ProcessState.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		return 128 + byte(status.Signal())
	}
	return byte(status.ExitStatus())
}
