package pid1

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/internal/handoff"
	"github.com/cocker/cocker/internal/linux"
)

// A view is a second root: a copy of the container's mounts that differs from them in
// one directory, that of the system bus. machined looks for a container's bus from the
// root of its leader, which is the root of that process' main thread; so init's main
// thread is in the view, where the bus is init's, while all the other threads, and with
// them whatever init starts, are in the container's root, where the bus is the image's own.
// What enters the container by its leader's root, as machinectl copy-to does, sees the
// same files in both.
//
// The mount namespace's own root is a small tmpfs, which has the view below it and the
// container's root upon it. Entered by setns(2) alone, or left by chroot(2), the
// namespace shows what is on top. A mount right upon the view's own root would not do:
// "/var/run -> ../run" goes to what is on top of "..".

// viewVariable tells the second stage which descriptor has the view.
const viewVariable = "COCKER_INIT_VIEW"

// viewName is where the view is in the tmpfs.
const viewName = "view"

// openView makes a view of the root that this process has entered, and returns its root;
// -1: there is none. That costs the container machinectl shell and login, and no more.
func openView(plan *handoff.Plan) (view int) {
	if !plan.Sessions {
		return -1
	}
	view, err := makeView()
	if err != nil {
		explainNoBus(err)
		return -1
	}
	return view
}

func explainNoBus(err error) {
	fmt.Fprintf(os.Stderr, "<5>machinectl shell and login will not work: %v\n", err)
}

func makeView() (view int, err error) {
	makeBusDirectory()
	root, err := linux.Open("/", unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return -1, err
	}
	defer unix.Close(root)
	view, err = linux.CloneMount("/", true)
	if err != nil {
		return -1, err
	}
	err = attachBelow(view)
	if err := errors.Join(err, enter(root)); err != nil {
		return -1, errors.Join(err, unix.Close(view))
	}
	return view, nil
}

// attachBelow makes a tmpfs the root of the mount namespace, with the view below it and
// what has been the root upon it (pivot_root(2), "pivot_root(\".\", \".\")").
func attachBelow(view int) (err error) {
	bus, err := linux.OpenInRoot(view, filepath.Dir(handoff.OldBusSocket), unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer unix.Close(bus)
	base, err := newTmpfs()
	if err != nil {
		return err
	}
	defer unix.Close(base)
	if err := unix.Mkdirat(base, viewName, 0o755); err != nil {
		return &fs.PathError{Op: "mkdir", Path: viewName, Err: err}
	}
	// A mount has to be somewhere before something can be mounted on it.
	if err := linux.AttachAt(base, "/"); err != nil {
		return err
	}
	if err := unix.Fchdir(base); err != nil {
		return os.NewSyscallError("fchdir", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.NewSyscallError("umount", unix.Unmount(".", unix.MNT_DETACH)))
		}
	}()
	if err := attachTo(view, base, viewName); err != nil {
		return err
	}
	own, err := newTmpfs()
	if err != nil {
		return err
	}
	defer unix.Close(own)
	if err := linux.Attach(own, bus); err != nil {
		return err
	}
	return os.NewSyscallError("pivot_root", unix.PivotRoot(".", "."))
}

func newTmpfs() (fd int, err error) {
	return linux.NewMount("tmpfs", noExecution, linux.Option{Key: "mode", Value: "0755"})
}

func attachTo(mount, dir int, name string) error {
	target, err := linux.OpenPlain(dir, name, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer unix.Close(target)
	return linux.Attach(mount, target)
}

// enter makes a directory this thread's root, and that of those that share it.
func enter(root int) error {
	if err := unix.Fchdir(root); err != nil {
		return os.NewSyscallError("fchdir", err)
	}
	return os.NewSyscallError("chroot", unix.Chroot("."))
}

// makeBusDirectory makes the directory where machined looks, by its old name, where an
// image does without. It may be that neither can be.
func makeBusDirectory() {
	_ = os.MkdirAll(filepath.Dir(handoff.BusSocket), 0o755)
	if _, err := os.Lstat(handoff.OldRun); errors.Is(err, fs.ErrNotExist) {
		_ = os.MkdirAll(filepath.Dir(handoff.OldRun), 0o755)
		_ = os.Symlink("/run", handoff.OldRun)
	}
	_ = os.MkdirAll(filepath.Dir(handoff.OldBusSocket), 0o755)
}

// keptView is the descriptor of the view that the first stage has made; -1: none.
func keptView() int {
	fd, err := strconv.Atoi(os.Getenv(viewVariable))
	if err != nil {
		return -1
	}
	return fd
}

// enterView takes the main thread, which this must be, to the view, and opens the bus
// there. Nothing may be started from this thread any more.
func enterView(view int) (*os.File, error) {
	if view < 0 {
		return nil, nil
	}
	defer unix.Close(view)
	// From here on root and working directory are this thread's alone (clone(2), CLONE_FS).
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return nil, os.NewSyscallError("unshare", err)
	}
	if err := enter(view); err != nil {
		return nil, err
	}
	return listenBus()
}
