package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
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
	namespaces []namespace
}

// namespace is a namespace that a command enters.
type namespace struct {
	path string
	kind int // CLONE_NEW*
}

// Command returns a command that will run as root in all namespaces of the host.
// When ctx ends the command's whole process group is killed.
func (h *Host) Command(ctx context.Context, name string, args ...string) *Cmd {
	return h.command(ctx, fmt.Sprintf("/proc/%d/ns/net", h.boot.pid()), name, args)
}

// OutsideCommand is Command, but in the network namespace beyond the host's eth0.
func (h *Host) OutsideCommand(ctx context.Context, name string, args ...string) *Cmd {
	return h.command(ctx, fmt.Sprintf("/proc/%d/ns/net", h.reaper.cmd.Process.Pid), name, args)
}

func (h *Host) command(ctx context.Context, network, name string, args []string) *Cmd {
	// A process is in its cgroup before it may enter the cgroup namespace: where the
	// machine's cgroup2 is mounted with nsdelegate, the kernel refuses to put one from
	// outside a namespace into a cgroup inside it. So the last step is nsenter's.
	inner := append([]string{"--cgroup=/proc/1/ns/cgroup", "--", name}, args...)
	cmd := exec.CommandContext(ctx, "/usr/bin/nsenter", inner...)
	cmd.Err = nil // the machine may lack nsenter where the host has it
	cmd.Dir = "/root"
	cmd.Env = []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/root", "USER=root", "LOGNAME=root", "SHELL=/bin/bash", "LANG=C.UTF-8", "TERM=dumb",
		"SYSTEMD_PAGER=", "SYSTEMD_COLORS=0",
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, UseCgroupFD: true, CgroupFD: int(h.boot.harness.Fd())}
	cmd.Cancel = func() error { return killGroup(cmd) }
	cmd.WaitDelay = pipeDelay
	proc := fmt.Sprintf("/proc/%d/ns/", h.boot.pid())
	return &Cmd{Cmd: cmd, namespaces: []namespace{
		{network, unix.CLONE_NEWNET},
		{proc + "uts", unix.CLONE_NEWUTS},
		{proc + "ipc", unix.CLONE_NEWIPC},
		{proc + "pid", unix.CLONE_NEWPID},
		{proc + "mnt", unix.CLONE_NEWNS}, // last: it changes what the other paths mean
	}}
}

func killGroup(cmd *exec.Cmd) error {
	if cmd.SysProcAttr.Setpgid || cmd.SysProcAttr.Setsid {
		return unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
	}
	return cmd.Process.Kill()
}

// Start starts the command, from a thread that is in the host's namespaces.
func (c *Cmd) Start() error {
	started := make(chan error, 1)
	go onSpareThread(func() { started <- c.startHere() })
	return <-started
}

// onSpareThread runs f on a thread that ends with it. The main thread cannot end, and
// /proc/self shows its namespaces: it is held while another one is found.
func onSpareThread(f func()) {
	runtime.LockOSThread() // never unlocked: the runtime then discards the thread
	if unix.Gettid() != unix.Getpid() {
		f()
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		onSpareThread(f)
	}()
	<-done
	runtime.UnlockOSThread()
}

func (c *Cmd) startHere() error {
	// A thread that shares its root and working directory cannot change its mount namespace.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	files, err := c.openNamespaces()
	defer closeAll(files)
	if err != nil {
		return err
	}
	for i, file := range files {
		if err := unix.Setns(int(file.Fd()), c.namespaces[i].kind); err != nil {
			return &os.PathError{Op: "setns", Path: c.namespaces[i].path, Err: err}
		}
	}
	return c.Cmd.Start()
}

func (c *Cmd) openNamespaces() (files []*os.File, err error) {
	for _, ns := range c.namespaces {
		file, err := os.Open(ns.path)
		if err != nil {
			return files, fmt.Errorf("the host is not running: %w", err)
		}
		files = append(files, file)
	}
	return files, nil
}

func closeAll(files []*os.File) {
	for _, file := range files {
		file.Close()
	}
}

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
