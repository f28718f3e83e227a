package linux

import (
	"golang.org/x/sys/unix"
)

// Open opens a path of the host, as open(2).
func Open(path string, flags int) (fd int, err error) {
	return OpenAt(unix.AT_FDCWD, path, flags)
}

// OpenAt opens a path below dir, or a path of the host: it confines nothing.
func OpenAt(dir int, path string, flags int) (fd int, err error) {
	err = retry(func() error {
		fd, err = unix.Openat(dir, path, flags|unix.O_CLOEXEC, 0)
		return err
	})
	return fd, pathError("open", path, err)
}

// OpenSameMount opens an element of the directory dir. The error is EXDEV if something
// is mounted on it (openat2(2) RESOLVE_NO_XDEV).
func OpenSameMount(dir int, name string, flags int) (fd int, err error) {
	return openat2(dir, name, flags, 0, unix.RESOLVE_BENEATH|unix.RESOLVE_NO_SYMLINKS|unix.RESOLVE_NO_XDEV)
}
