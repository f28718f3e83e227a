package host

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// pipeDelay is how long a finished command waits for what it left in the background
// with its standard output; then it fails instead of waiting for good.
const pipeDelay = 10 * time.Second

// Cmd is a command in a host. It is an exec.Cmd whose process is a direct child of
// the test: signals, exit status and pipes are the command's own. Set its fields as
// usual before it starts.
type Cmd struct {
	*exec.Cmd
	enter func(*exec.Cmd) error // starts it in the host
}

// Command returns a command that will run as root in the host. When ctx ends the
// command's whole process group is killed.
func (h *Host) Command(ctx context.Context, name string, args ...string) *Cmd {
	return h.boot.command(ctx, name, args)
}

// OutsideCommand is Command, but in the network beyond the host's eth0.
func (h *Host) OutsideCommand(ctx context.Context, name string, args ...string) *Cmd {
	return h.boot.outsideCommand(ctx, name, args)
}

// localCommand returns a command of this machine that is prepared to run in a host:
// with the environment of a root shell there, in a process group of its own.
func localCommand(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Err = nil // the machine may lack the program where the host has it
	cmd.Env = []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/root", "USER=root", "LOGNAME=root", "SHELL=/bin/bash", "LANG=C.UTF-8", "TERM=dumb",
		"SYSTEMD_PAGER=", "SYSTEMD_COLORS=0",
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return killGroup(cmd) }
	cmd.WaitDelay = pipeDelay
	return cmd
}

// tellDelay is how long a command that hangs has to say where.
const tellDelay = 2 * time.Second

// killGroup ends a command that hangs. SIGQUIT makes a Go program write what each of
// its goroutines waits for, see os/signal.
func killGroup(cmd *exec.Cmd) error {
	if !cmd.SysProcAttr.Setpgid && !cmd.SysProcAttr.Setsid {
		return cmd.Process.Kill()
	}
	group := -cmd.Process.Pid
	if err := unix.Kill(group, unix.SIGQUIT); err != nil {
		return err
	}
	time.AfterFunc(tellDelay, func() { unix.Kill(group, unix.SIGKILL) })
	return nil
}

// Start starts the command in the host.
func (c *Cmd) Start() error { return c.enter(c.Cmd) }

// Run starts the command and waits for its end.
func (c *Cmd) Run() error {
	if err := c.Start(); err != nil {
		return err
	}
	return c.Wait()
}

// Output runs the command and returns its standard output.
func (c *Cmd) Output() ([]byte, error) {
	var out bytes.Buffer
	c.Stdout = &out
	err := c.Run()
	return out.Bytes(), err
}

// CombinedOutput runs the command and returns its standard output and error.
func (c *Cmd) CombinedOutput() ([]byte, error) {
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	err := c.Run()
	return out.Bytes(), err
}

// Result is what a finished command left.
type Result struct {
	Stdout, Stderr string
	ExitCode       int // 128 plus the signal's number when a signal ended it
}

// Exec runs a command to its end with the given standard input. A command that ran
// and failed is no error: see the result's exit code.
func (c *Cmd) Exec(stdin io.Reader) (Result, error) {
	var stdout, stderr bytes.Buffer
	c.Stdin, c.Stdout, c.Stderr = stdin, &stdout, &stderr
	err := c.Run()
	result := Result{Stdout: stdout.String(), Stderr: stderr.String()}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		result.ExitCode = ExitCode(exit.ProcessState)
		err = nil
	}
	return result, err
}

// ExitCode returns the exit status of a process as a shell would: 128 plus the signal's
// number when a signal ended it.
func ExitCode(state *os.ProcessState) int {
	if status := state.Sys().(syscall.WaitStatus); status.Signaled() {
		return 128 + int(status.Signal())
	}
	return state.ExitCode()
}
