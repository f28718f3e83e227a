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

// Root is a container's root directory, seen from outside of the container. It is
// the one way in which cocker reaches a file of an image: no path that goes
// through it can leave it, whatever symlinks the image has. Most CVEs of
// container engines are a path of the image that was followed on the host.
type Root struct{ fd int }

// OpenRoot opens the root directory at path.
func OpenRoot(path string) (*Root, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, fmt.Errorf("open root %q: %w", path, err)
	}
	return &Root{fd: fd}, nil
}

// Close closes the descriptor.
func (r *Root) Close() error { return unix.Close(r.fd) }

// Directory opens the directory name, which is made, with its parents, where it
// is missing, also where a dangling symlink leads to: /var/lock is a link into
// /run in many images, and /run is empty at start.
func (r *Root) Directory(name string, mode uint32) (fd int, err error) {
	return r.directory(name, mode, maxLinks)
}

func (r *Root) directory(name string, mode uint32, links int) (fd int, err error) {
	fd, err = linux.OpenInRoot(r.fd, name, unix.O_PATH|unix.O_DIRECTORY, 0)
	if !errors.Is(err, unix.ENOENT) || name == "/" {
		return fd, err
	}
	parent, err := r.directory(path.Dir(name), 0o755, links)
	if err != nil {
		return -1, err
	}
	defer unix.Close(parent)
	if target, err := readLinkAt(parent, path.Base(name)); err == nil {
		if links == 0 {
			return -1, fmt.Errorf("open %q: %w", name, unix.ELOOP)
		}
		return r.directory(beside(name, target), mode, links-1)
	}
	if err := unix.Mkdirat(parent, path.Base(name), mode); err != nil && !errors.Is(err, unix.EEXIST) {
		return -1, fmt.Errorf("mkdir %q: %w", name, err)
	}
	return linux.OpenInRoot(r.fd, name, unix.O_PATH|unix.O_DIRECTORY, 0)
}

// beside is the path that the target of the link name stands for. It is opened
// in the root again, so a wrong guess where "a/../b" means another b through a
// link a is still inside.
func beside(name, target string) string {
	if !path.IsAbs(target) {
		target = path.Join(path.Dir(name), target)
	}
	return path.Clean("/" + target)
}

// PlainDirectory opens a directory of the top level that a kernel file system
// will be mounted on. A symlink there is refused: images have led engines
// elsewhere this way (CVE-2023-27561, CVE-2026-41579).
func (r *Root) PlainDirectory(name string) (fd int, err error) {
	if err := unix.Mkdirat(r.fd, name, 0o755); err != nil && !errors.Is(err, unix.EEXIST) {
		return -1, fmt.Errorf("mkdir %q: %w", "/"+name, err)
	}
	fd, err = linux.OpenPlain(r.fd, name, unix.O_PATH|unix.O_DIRECTORY, 0)
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOTDIR) {
		return -1, fmt.Errorf("the image has no directory at %q but a link or file, and nothing can be mounted there safely", "/"+name)
	}
	return fd, err
}

// Target opens what a mount shall cover: a directory or, for anything else, a
// file; it is made where it is missing.
func (r *Root) Target(name string, directory bool) (fd int, err error) {
	if directory {
		return r.Directory(name, 0o755)
	}
	file, err := r.open(name, unix.O_RDONLY, 0o644)
	if err != nil {
		return -1, err
	}
	defer file.Close()
	return linux.OpenInRoot(r.fd, name, unix.O_PATH, 0)
}

// maxFile bounds what is read of a file of an image.
const maxFile = 1 << 20

// UpdateFile sets the content of the regular file name to what update makes of
// the present one (nil if there is no file). A file that has the wanted content
// already is not written.
func (r *Root) UpdateFile(name string, mode uint32, update func(old []byte) []byte) error {
	file, err := r.open(name, unix.O_RDWR, mode)
	if err != nil {
		return err
	}
	defer file.Close()
	old, err := io.ReadAll(io.LimitReader(file, maxFile))
	if err != nil {
		return fmt.Errorf("read %q: %w", name, err)
	}
	content := update(old)
	if bytes.Equal(old, content) {
		return nil
	}
	if err := file.Truncate(0); err != nil {
		return fmt.Errorf("truncate %q: %w", name, err)
	}
	if _, err := file.WriteAt(content, 0); err != nil {
		return fmt.Errorf("write %q: %w", name, err)
	}
	return nil
}

// open opens the regular file name and makes it, with its parents, where it is
// missing. O_NONBLOCK: opening a fifo of the image must not block us.
func (r *Root) open(name string, flags int, mode uint32) (*os.File, error) {
	flags |= unix.O_NONBLOCK | unix.O_NOCTTY
	fd, err := linux.OpenInRoot(r.fd, name, flags, 0)
	if errors.Is(err, unix.ENOENT) {
		if err := r.makeParents(name); err != nil {
			return nil, err
		}
		fd, err = linux.OpenInRoot(r.fd, name, flags|unix.O_CREAT, mode)
	}
	if err != nil {
		return nil, err
	}
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil || stat.Mode&unix.S_IFMT != unix.S_IFREG {
		unix.Close(fd)
		return nil, fmt.Errorf("%q in the image is no regular file", name)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// maxLinks is the kernel's own limit (path_resolution(7)).
const maxLinks = 40

// makeParents makes the directories that name needs, also those that a dangling
// symlink points into: Debian's /etc/resolv.conf leads to /run/systemd/resolve,
// and /run is empty at start.
func (r *Root) makeParents(name string) error {
	for range maxLinks {
		parent, err := r.Directory(path.Dir(name), 0o755)
		if err != nil {
			return err
		}
		target, err := readLinkAt(parent, path.Base(name))
		unix.Close(parent)
		if err != nil {
			return nil // no link: the file itself is what is missing
		}
		name = beside(name, target)
	}
	return fmt.Errorf("open %q: %w", name, unix.ELOOP)
}

func readLinkAt(dir int, name string) (string, error) {
	buffer := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(dir, name, buffer)
	if err != nil {
		return "", err
	}
	return string(buffer[:n]), nil
}
