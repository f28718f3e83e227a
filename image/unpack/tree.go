package unpack

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/internal/sparse"
)

// tree is the directory being filled.
type tree struct {
	root   int // its descriptor; everything is relative to it
	limits budget
	plain  bool // see Options
	note   func(string)
	charge func(int64) error
	noted  map[string]bool      // attributes that note was told of
	dirs   map[string]time.Time // directories whose time is set at the end
	sparse sparse.Writer

	// The last parent, as most entries share it with the one before. It is stale
	// once something was replaced: the name may mean another directory.
	lastName string
	last     int
	stale    bool
}

func openTree(dir string, opts Options) (*tree, error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	t := &tree{root: fd, last: -1, plain: opts.Plain, note: opts.Note, charge: opts.Charge, noted: map[string]bool{}, dirs: map[string]time.Time{"": impliedTime()}}
	if t.note == nil {
		t.note = func(string) {}
	}
	if t.charge == nil {
		t.charge = func(int64) error { return nil }
	}
	t.sparse.Write = t.limits.write
	t.limits, err = newBudget(opts.Limits, fd)
	if err == nil {
		err = os.NewSyscallError("chmod", unix.Fchmod(fd, 0o755)) // mkdir's mode was cut by the umask
	}
	if err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

func (t *tree) close() {
	t.forget()
	_ = unix.Close(t.root)
}

func (t *tree) forget() {
	if t.last >= 0 {
		_ = unix.Close(t.last)
	}
	t.last = -1
}

// open resolves a clean name below the root. No magic link (/proc/.../fd) and no
// mount point can be on the way; ".." and absolute targets of symbolic links
// stay below the root.
func (t *tree) open(name string, flags uint64) (int, error) {
	if name == "" {
		name = "."
	}
	how := unix.OpenHow{
		Flags:   flags | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV,
	}
	for {
		fd, err := unix.Openat2(t.root, name, &how)
		if err != unix.EINTR && err != unix.EAGAIN { // EAGAIN: raced with a rename elsewhere
			return fd, err
		}
	}
}

// parent returns a descriptor of a directory, made if it is missing. It is valid
// until the next call of parent or forget.
func (t *tree) parent(name string) (int, error) {
	if name == "" {
		return t.root, nil
	}
	if t.last >= 0 && !t.stale && t.lastName == name {
		return t.last, nil
	}
	fd, err := t.openMaking(name)
	if err != nil {
		return -1, err
	}
	t.forget()
	t.last, t.lastName, t.stale = fd, name, false
	return fd, nil
}

func (t *tree) openMaking(name string) (int, error) {
	fd, err := t.open(name, unix.O_PATH|unix.O_DIRECTORY)
	if err == nil {
		return fd, nil
	}
	if err != unix.ENOENT && err != unix.ENOTDIR || name == "" {
		return -1, fmt.Errorf("directory %q: %w", name, os.NewSyscallError("openat2", err))
	}
	up, base := splitName(name)
	parent, err := t.openMaking(up)
	if err != nil {
		return -1, err
	}
	defer unix.Close(parent)
	if err := t.makeImplied(place{parent: parent, base: base, name: name}); err != nil {
		return -1, fmt.Errorf("directory %q: %w", name, err)
	}
	fd, err = t.open(name, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return -1, fmt.Errorf("directory %q: %w", name, os.NewSyscallError("openat2", err))
	}
	return fd, nil
}

// makeImplied makes a directory that the tar has no entry for, or not yet.
func (t *tree) makeImplied(p place) error {
	st, err := p.stat()
	switch {
	case err == unix.ENOENT:
	case err != nil:
		return os.NewSyscallError("stat", err)
	case isWhiteoutNode(st) && !t.plain:
	case st.Mode&unix.S_IFMT == unix.S_IFLNK:
		return errors.New("a symbolic link that leads to no directory is in its place")
	default:
		return errors.New("something that is no directory is in its place")
	}
	fd, err := t.makeDir(p)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	t.dirs[p.name] = impliedTime()
	return os.NewSyscallError("chmod", unix.Fchmod(fd, 0o755))
}
