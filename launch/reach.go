package launch

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/image"
	"github.com/cocker/cocker/internal/idrange"
	"github.com/cocker/cocker/internal/linux"
	"github.com/cocker/cocker/internal/paths"
	"github.com/cocker/cocker/rootfs"
)

// Access says what a caller wants of a container's files.
type Access struct {
	Write  bool
	Mounts bool // also what is mounted; a running container's mounts are always there
	Note   func(string)
}

// Files are the files of a container, running or not.
type Files struct {
	Root   *os.File // a path descriptor of its root directory
	IDBase uint32   // the host's id of its root
	Lock   *os.File // while somebody has it, no start changes the files; nil if it runs or has none of its own

	container string
	store     *image.Lock
	release   chan struct{}
}

// errChanged tells that a container has been started, or has ended, in the meantime.
var errChanged = errors.New("has just been started or stopped; try again")

// reachPatience is how long Reach waits for a start, an end or a removal.
const reachPatience = 30 * time.Second

// Reach opens the files of a container: of one that runs as its PID 1 sees them, of
// one that does not as it will see them at its next start, which waits for Close then. It
// waits a while for one that is being started or removed. Effects:
//   - with Write, the writable layer and the id range are made where missing;
//   - mounts are in a namespace of a thread, which ends at Close or with the process.
func Reach(ctx context.Context, container string, access Access) (files *Files, err error) {
	if err := config.ValidName(container); err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(reachPatience); ; {
		if state, readErr := ReadState(container); readErr == nil && !state.Ended() {
			files, err = reachRunning(state)
		} else {
			files, err = reachStopped(container, access)
		}
		if !errors.Is(err, errChanged) && !errors.Is(err, errLocked) || time.Now().After(deadline) {
			return files, err
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Close ends the access. Whoever waits for the lock may go on.
func (f *Files) Close() {
	_ = f.Root.Close()
	f.unlock()
}

func (f *Files) unlock() {
	if f.release != nil {
		close(f.release)
	}
	if f.store != nil {
		f.store.Release()
	}
	if f.Lock == nil {
		return
	}
	_ = f.Lock.Close()
	cleanUpAfterReader(f.container)
}

// reachRunning opens the root directory that PID 1 has. Its start time is looked at while
// a pidfd holds the process: the number may have become another's. Until PID 1 has left
// the launcher's stage, its root is a tmpfs with the host's /proc in it.
func reachRunning(state *State) (*Files, error) {
	changed := fmt.Errorf("container %s %w", state.Name, errChanged)
	pidfd, err := unix.PidfdOpen(state.Leader, 0)
	if err != nil {
		return nil, changed
	}
	defer unix.Close(pidfd)
	if !state.Running() {
		return nil, changed
	}
	fd, err := unix.Open(fmt.Sprintf("/proc/%d/root", state.Leader), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, changed
	}
	if linux.WaitReadable(pidfd, 0) || !isOverlay(fd) {
		unix.Close(fd)
		return nil, changed
	}
	return &Files{Root: os.NewFile(uintptr(fd), "root of "+state.Name), IDBase: state.IDBase, container: state.Name}, nil
}

func isOverlay(fd int) bool {
	var st unix.Statfs_t
	return unix.Fstatfs(fd, &st) == nil && st.Type == unix.OVERLAYFS_SUPER_MAGIC
}

// strangersBase is the range of ids that a container without one is read with: the last
// that a signed number can have, above all that systemd's UIDS-GIDS.md gives a meaning.
const strangersBase = 0x7FFF0000

func reachStopped(container string, access Access) (_ *Files, err error) {
	c, err := config.Load(paths.ConfigDirs(), container)
	if err != nil {
		return nil, err
	}
	f := &Files{container: container, IDBase: strangersBase}
	defer func() {
		if err != nil {
			f.unlock()
		}
	}()
	images, err := f.resolve(c) // as in a start, before anything is made
	if err != nil {
		return nil, err
	}
	if err := f.claim(access.Write); err != nil {
		return nil, err
	}
	spec := &rootfs.ViewSpec{
		Spec:      rootfs.Spec{Stage: paths.Stage, LayerRoot: paths.Layers, Layers: layersOf(images), Mounts: c.Mounts},
		Write:     access.Write,
		UserMount: access.Mounts,
		Volumes:   paths.Volumes,
	}
	if f.Lock != nil {
		if err := f.own(spec, c, images); err != nil {
			return nil, err
		}
	}
	return f, f.mount(spec, access.Note)
}

// claim locks what the container has written; nothing, if it has written nothing and
// nothing shall be. A writer has the lock alone until the layer is made.
func (f *Files) claim(write bool) (err error) {
	if write {
		if err := makePrivate(writable(f.container)); err != nil {
			return err
		}
		f.Lock, err = lockData(f.container, false) // which does not wait: Reach does, and can be interrupted
	} else {
		f.Lock, err = shareData(f.container)
	}
	if write && errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("container %s %w", f.container, errChanged) // removed just now
	}
	if err != nil || f.Lock == nil {
		f.Lock = nil
		return err
	}
	return f.checkStopped()
}

// shareData locks what the container has written for reading; nil if it has written nothing.
func shareData(container string) (*os.File, error) {
	lock, err := os.Open(writable(container))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if unix.Flock(int(lock.Fd()), unix.LOCK_SH|unix.LOCK_NB) != nil || !isStill(writable(container), lock) {
		lock.Close()
		return nil, fmt.Errorf("container %s %w", container, errLocked)
	}
	return lock, nil
}

// share lets others read, and a start wait, which would fail at a lock that is held
// alone. The conversion is not atomic (flock(2)): a start may have come in between.
func (f *Files) share() error {
	if err := unix.Flock(int(f.Lock.Fd()), unix.LOCK_SH|unix.LOCK_NB); err != nil {
		return fmt.Errorf("container %s %w", f.container, errLocked)
	}
	return f.checkStopped()
}

// checkStopped does, where the container has ended, the work of a cleanup that may have
// found the lock taken.
func (f *Files) checkStopped() error {
	state, err := ReadState(f.container)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && !state.Ended() {
		return fmt.Errorf("container %s %w", f.container, errChanged)
	}
	return cleanUp(f.container)
}

// resolve finds the images and holds the store: layers that were removed in the middle of
// a copy would be missing from it without an error.
func (f *Files) resolve(c *config.Container) (images []*image.Image, err error) {
	store := image.Open(paths.State)
	if f.store, err = store.Hold(); err != nil {
		return nil, err
	}
	for _, reference := range c.Images {
		found, err := store.Resolve(reference)
		if err != nil {
			return nil, err
		}
		images = append(images, found)
	}
	return images, nil
}

// own adds the writable layer, which is made as a start makes it, and takes the ids of
// the container.
func (f *Files) own(spec *rootfs.ViewSpec, c *config.Container, images []*image.Image) (err error) {
	spec.Writable = writable(f.container)
	if spec.Write {
		err = prepareWritable(c, images)
	}
	if err == nil {
		f.IDBase, err = idrange.Acquire(paths.IDRanges, idRecord(f.container), f.container)
	}
	if err == nil && spec.Write {
		err = f.share()
	}
	if err != nil || spec.Write {
		return err
	}
	if _, err := os.Lstat(filepath.Join(spec.Writable, "upper")); errors.Is(err, fs.ErrNotExist) {
		spec.Writable = "" // a start was killed before it made one
	}
	return nil
}

// mount mounts the files in a thread that lives until Close.
func (f *Files) mount(spec *rootfs.ViewSpec, note func(string)) error {
	if err := os.MkdirAll(paths.Stage, 0o755); err != nil {
		return err
	}
	userns, err := linux.NewUserNamespace(f.IDBase)
	if err != nil {
		return err
	}
	defer unix.Close(userns)
	spec.IDBase, spec.UserNamespace = f.IDBase, userns
	type result struct {
		root  int
		notes []rootfs.Note
		err   error
	}
	results, release := make(chan result), make(chan struct{})
	go func() {
		runtime.LockOSThread() // never unlocked: the runtime ends the thread, and its namespace goes
		root, notes, err := rootfs.View(spec)
		results <- result{root, notes, err}
		if err == nil {
			<-release
		}
	}()
	r := <-results
	if r.err != nil {
		return r.err
	}
	f.Root, f.release = os.NewFile(uintptr(r.root), "root of "+f.container), release
	for _, text := range r.notes {
		if note != nil {
			note(string(text))
		}
	}
	return nil
}
