package launch

import (
	"fmt"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/internal/handoff"
	"github.com/cocker/cocker/internal/linux"
	"github.com/cocker/cocker/rootfs"
)

// child is the container's PID 1.
type child struct {
	pid     int
	pidfd   int
	channel *handoff.Launcher
	notes   []rootfs.Note
}

// namespacesOf are a container's namespaces.
type namespacesOf struct {
	flags  uintptr  // of clone(2): the new ones
	shared []shared // those of others
}

// spawnInit assembles the root file system in a thread that gets a mount
// namespace of its own and clones cocker-init from it. The thread is never
// unlocked: the runtime ends it with the goroutine, and its namespace goes too.
// fillIn, unless nil, is given the root before that.
func spawnInit(spec *rootfs.Spec, namespaces namespacesOf, plan *handoff.Plan, sessions forSessions, fillIn func(root *os.File) error) (*child, error) {
	type result struct {
		child *child
		err   error
	}
	results := make(chan result, 1)
	go func() {
		runtime.LockOSThread()
		child, err := assembleAndClone(spec, namespaces, plan, sessions, fillIn)
		results <- result{child, err}
	}()
	r := <-results
	return r.child, r.err
}

func assembleAndClone(spec *rootfs.Spec, namespaces namespacesOf, plan *handoff.Plan, sessions forSessions, fillIn func(root *os.File) error) (*child, error) {
	notify, err := notifyConnection(plan)
	if err != nil {
		return nil, err
	}
	if notify >= 0 {
		defer unix.Close(notify)
	}
	if plan.Boot {
		if err := linux.BlockSignal(plan.StopSignal); err != nil { // it waits until the init takes it, see killSignal
			return nil, err
		}
	}
	if err := enterShared(namespaces.shared); err != nil {
		return nil, err
	}
	notes, credentials, err := rootfs.Assemble(spec)
	if credentials >= 0 {
		defer unix.Close(credentials)
	}
	if err != nil {
		return nil, err
	}
	if err := withRoot(fillIn); err != nil {
		return nil, err
	}
	if err := rootfs.Seal(spec); err != nil {
		return nil, err
	}
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	c := &child{channel: handoff.NewLauncher(ours), notes: notes}
	// A descriptor of -1 stays closed.
	const closed = ^uintptr(0)
	files := []uintptr{0, 1, 2, handoff.ChannelFD: theirs.Fd(), handoff.NotifyFD: uintptr(notify),
		handoff.ControlFD: uintptr(sessions.control), handoff.RescueFD: uintptr(sessions.rescue), handoff.CgroupFD: uintptr(sessions.cgroup),
		handoff.CredentialsFD: uintptr(credentials), handoff.KillsFD: uintptr(sessions.kills)}
	for i, fd := range sessions.processes {
		for len(files) < handoff.ProcessesFD+i {
			files = append(files, closed)
		}
		files = append(files, uintptr(fd))
	}
	process := &syscall.SysProcAttr{Cloneflags: namespaces.flags, Credential: &syscall.Credential{Uid: 0, Gid: 0}, PidFD: &c.pidfd}
	if spec.UserNamespace != rootfs.NoUserNamespace {
		process.UidMappings, process.GidMappings = linux.IDMap(spec.IDBase), linux.IDMap(spec.IDBase)
		process.GidMappingsEnableSetgroups = true
	}
	c.pid, err = syscall.ForkExec(handoff.StageInit, []string{"cocker-init"}, &syscall.ProcAttr{Files: files, Sys: process})
	if err != nil {
		ours.Close()
		return nil, fmt.Errorf("start cocker-init: %w", linux.CloneError(err))
	}
	return c, nil
}

// withRoot gives the root that has been assembled to work, which another thread does: this
// one sees nothing of the host any more.
func withRoot(work func(root *os.File) error) error {
	if work == nil {
		return nil
	}
	fd, err := linux.Open(handoff.StageRoot, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	root := os.NewFile(uintptr(fd), "root")
	defer root.Close()
	done := make(chan error)
	go func() { done <- work(root) }()
	return <-done
}

func socketPair() (ours, theirs *os.File, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socketpair: %w", err)
	}
	return os.NewFile(uintptr(pair[0]), "init"), os.NewFile(uintptr(pair[1]), "launcher"), nil
}
