package host

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"

	"golang.org/x/sys/unix"
)

// namespace is a namespace that a command enters.
type namespace struct {
	path string
	kind int // CLONE_NEW*
}

func (b *namespaceBoot) command(ctx context.Context, name string, args []string) *Cmd {
	return b.commandIn(ctx, fmt.Sprintf("/proc/%d/ns/net", b.pid()), name, args)
}

func (b *namespaceBoot) outsideCommand(ctx context.Context, name string, args []string) *Cmd {
	return b.commandIn(ctx, b.outside.network(), name, args)
}

// commandIn returns a command in all namespaces of the host but for the network's.
func (b *namespaceBoot) commandIn(ctx context.Context, network, name string, args []string) *Cmd {
	// A process is in its cgroup before it may enter the cgroup namespace: where the
	// machine's cgroup2 is mounted with nsdelegate, the kernel refuses to put one from
	// outside a namespace into a cgroup inside it. So the last step is nsenter's.
	inner := append([]string{"--cgroup=/proc/1/ns/cgroup", "--", name}, args...)
	cmd := localCommand(ctx, "/usr/bin/nsenter", inner...)
	cmd.Dir = "/root"
	cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(b.harness.Fd())
	proc := fmt.Sprintf("/proc/%d/ns/", b.pid())
	namespaces := []namespace{
		{network, unix.CLONE_NEWNET},
		{proc + "uts", unix.CLONE_NEWUTS},
		{proc + "ipc", unix.CLONE_NEWIPC},
		{proc + "pid", unix.CLONE_NEWPID},
		{proc + "mnt", unix.CLONE_NEWNS}, // last: it changes what the other paths mean
	}
	return &Cmd{Cmd: cmd, enter: func(cmd *exec.Cmd) error { return startIn(namespaces, cmd) }}
}

// startIn starts a command from a thread that is in the namespaces.
func startIn(namespaces []namespace, cmd *exec.Cmd) error {
	started := make(chan error, 1)
	go onSpareThread(func() { started <- startHere(namespaces, cmd) })
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

func startHere(namespaces []namespace, cmd *exec.Cmd) error {
	// A thread that shares its root and working directory cannot change its mount namespace.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	files, err := openNamespaces(namespaces)
	defer closeAll(files)
	if err != nil {
		return err
	}
	for i, file := range files {
		if err := unix.Setns(int(file.Fd()), namespaces[i].kind); err != nil {
			return &os.PathError{Op: "setns", Path: namespaces[i].path, Err: err}
		}
	}
	return cmd.Start()
}

func openNamespaces(namespaces []namespace) (files []*os.File, err error) {
	for _, ns := range namespaces {
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
