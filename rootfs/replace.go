package rootfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/internal/linux"
)

// RootAt is the root directory that fd, which it takes over, is open on.
func RootAt(fd int) *Root { return &Root{fd: fd} }

// Meta is who may do what with a file.
type Meta struct{ Mode, UID, GID uint32 }

// ReadFile reads the regular file name of at most limit bytes. Whatever the image or
// a process of the container puts there, it neither blocks nor has an effect.
func (r *Root) ReadFile(name string, limit int) ([]byte, Meta, error) {
	fd, err := linux.OpenInRoot(r.fd, name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, Meta{}, err
	}
	return readRegular(fd, name, limit)
}

// readRegular reads what fd is open on and closes it.
func readRegular(fd int, name string, limit int) ([]byte, Meta, error) {
	file := os.NewFile(uintptr(fd), name)
	defer file.Close()
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return nil, Meta{}, fmt.Errorf("stat %q: %w", name, err)
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, Meta{}, fmt.Errorf("%q is no regular file", name)
	}
	content, err := io.ReadAll(io.LimitReader(file, int64(limit)+1))
	if err != nil {
		return nil, Meta{}, fmt.Errorf("read %q: %w", name, err)
	}
	if len(content) > limit {
		return nil, Meta{}, fmt.Errorf("%q has more than %d bytes", name, limit)
	}
	return content, Meta{stat.Mode & 0o777, stat.Uid, stat.Gid}, nil
}

// temporary is the name that a file has until it is whole. It is always the same, so that
// what a killed process has left is removed by the next.
const temporary = ".cocker-template.new"

// ReplaceFile makes the file name have the content and the metadata, whole or not at all,
// and tells whether anything was changed: what is so already is left alone. Parents are
// made where they are missing, and links followed, inside the root. Only a regular file
// makes way; what is mounted does not, since rename(2) would take the mount away.
func (r *Root) ReplaceFile(name string, content []byte, meta Meta) (changed bool, err error) {
	parent, base, err := r.place(name)
	if err != nil {
		return false, err
	}
	defer unix.Close(parent)
	if same, err := isAlready(parent, base, content, meta); same || err != nil {
		return false, err
	}
	if err := unix.Unlinkat(parent, temporary, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return false, fmt.Errorf("remove %q beside %q: %w", temporary, name, err)
	}
	if err := writeNew(parent, content, meta); err != nil {
		return false, fmt.Errorf("write %q: %w", name, err)
	}
	if err := unix.Renameat(parent, temporary, parent, base); err != nil {
		_ = unix.Unlinkat(parent, temporary, 0)
		return false, fmt.Errorf("rename to %q: %w", name, err)
	}
	return true, nil
}

// place finds the directory and the name that a file has, or will have, when the links
// that name ends in are followed.
func (r *Root) place(name string) (parent int, base string, err error) {
	for range maxLinks {
		parent, err := r.Directory(path.Dir(name), 0o755)
		if err != nil {
			return -1, "", err
		}
		target, err := readLinkAt(parent, path.Base(name))
		if err != nil {
			return parent, path.Base(name), nil
		}
		unix.Close(parent)
		name = beside(name, target)
		if name == "/" {
			return -1, "", fmt.Errorf("open %q: %w", name, unix.EISDIR)
		}
	}
	return -1, "", fmt.Errorf("open %q: %w", name, unix.ELOOP)
}

// isAlready tells whether base is as wanted. The error says that it may not be replaced.
func isAlready(parent int, base string, content []byte, meta Meta) (bool, error) {
	fd, err := linux.OpenSameMount(parent, base, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
	switch {
	case errors.Is(err, unix.ENOENT):
		return false, nil
	case errors.Is(err, unix.EXDEV):
		return false, fmt.Errorf("something is mounted on %q, and is not replaced", base)
	case err != nil:
		return false, err
	}
	old, its, err := readRegular(fd, base, maxFile)
	if err != nil {
		if its, statErr := statAt(parent, base); statErr == nil && its.Mode&unix.S_IFMT == unix.S_IFREG {
			return false, nil // too large, thus not the same
		}
		return false, err
	}
	return its == meta && bytes.Equal(old, content), nil
}

func statAt(parent int, base string) (stat unix.Stat_t, err error) {
	err = unix.Fstatat(parent, base, &stat, unix.AT_SYMLINK_NOFOLLOW)
	return stat, err
}

func writeNew(parent int, content []byte, meta Meta) (err error) {
	const flags = unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := unix.Openat(parent, temporary, flags, 0o600)
	if err != nil {
		return err
	}
	file := os.NewFile(uintptr(fd), temporary)
	defer func() {
		if err = errors.Join(err, file.Close()); err != nil {
			_ = unix.Unlinkat(parent, temporary, 0)
		}
	}()
	if _, err := file.Write(content); err != nil {
		return err
	}
	// chown(2) first: it takes bits of the mode away.
	if err := file.Chown(int(meta.UID), int(meta.GID)); err != nil {
		return err
	}
	return file.Chmod(os.FileMode(meta.Mode))
}
