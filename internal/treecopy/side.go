package treecopy

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/internal/linux"
)

// Side is a file system that is copied from or to.
type Side struct {
	root      int // where paths begin; AT_FDCWD on the host
	proc      int // /proc/self/fd: opens again what a path descriptor has found
	container bool
}

// Host is the caller's own file system.
func Host() (*Side, error) {
	proc, err := openDescriptors()
	return &Side{root: unix.AT_FDCWD, proc: proc}, err
}

// Container is the tree below the descriptor root, seen by the container's root.
func Container(root int) (*Side, error) {
	proc, err := openDescriptors()
	return &Side{root: root, proc: proc, container: true}, err
}

// openDescriptors opens the calling process's directory of magic links, which lead to
// what is open and nowhere else (proc_pid_fd(5)).
func openDescriptors() (int, error) {
	const path = "/proc/self/fd"
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", path, err)
	}
	return fd, nil
}

// Close closes what the side holds open beside its root.
func (s *Side) Close() error { return unix.Close(s.proc) }

// open opens a path of the side's own.
func (s *Side) open(path string, flags int) (int, error) {
	if s.container {
		return linux.OpenInRoot(s.root, path, flags, 0)
	}
	return linux.Open(path, flags)
}

// reopen opens the very node that fd, a path descriptor, is open on.
func (s *Side) reopen(fd, flags int) (int, error) {
	opened, err := linux.OpenAt(s.proc, strconv.Itoa(fd), flags|unix.O_NONBLOCK|unix.O_NOCTTY)
	var failed *fs.PathError
	if errors.As(err, &failed) {
		err = failed.Err // whose path says nothing
	}
	return opened, err
}

// explain adds what the user can do about an error.
func (s *Side) explain(err error) error {
	hint := ""
	switch {
	case errors.Is(err, unix.EROFS):
		hint = "it is mounted read-only"
		if s.container {
			hint += ", or, in a container that does not run, made by its next start"
		}
	case s.container && (errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EOVERFLOW)):
		hint = "the container's root may not do this either"
	case !s.container && errors.Is(err, unix.ELOOP):
		hint = "a symbolic link below the destination is not followed"
	}
	if hint == "" {
		return err
	}
	return fmt.Errorf("%w (%s)", err, hint)
}

// link gives the node that fd is open on another name. linkat(2) with an empty path
// would need CAP_DAC_READ_SEARCH of the host.
func (s *Side) link(fd, parent int, base string) error {
	return unix.Linkat(s.proc, strconv.Itoa(fd), parent, base, unix.AT_SYMLINK_FOLLOW)
}

// chmod works on path descriptors, too: fchmodat2(2) is there since Linux 6.6 only.
func (s *Side) chmod(fd int, mode uint32) error {
	return unix.Fchmodat(s.proc, strconv.Itoa(fd), mode, 0)
}

func stat(fd int) (st unix.Stat_t, err error) {
	err = unix.Fstat(fd, &st)
	return st, err
}

func statAt(parent int, base string) (st unix.Stat_t, err error) {
	err = unix.Fstatat(parent, base, &st, unix.AT_SYMLINK_NOFOLLOW)
	return st, err
}

func kind(st *unix.Stat_t) uint32 { return st.Mode & unix.S_IFMT }

// split cuts a path into its directory and its last element. Nothing is cleaned: what
// ".." means behind a symbolic link is the kernel's business.
func split(path string) (dir, base string) {
	slash := strings.LastIndexByte(path, '/')
	switch {
	case slash < 0:
		return ".", path
	case slash == 0:
		return "/", path[1:]
	}
	return path[:slash], path[slash+1:]
}

// BaseName is the name of what a path leads to; "" if it has none, or only what is in it
// is meant: the root directory, and what ends in "/." or "..".
func BaseName(path string) string {
	_, base := split(strings.TrimRight(path, "/"))
	if base == "." || base == ".." {
		return ""
	}
	return base
}
