package linux

import (
	"golang.org/x/sys/unix"
)

// OpenInRoot opens path below the directory root as if root were "/": symlinks,
// absolute ones and ".." included, cannot lead out of it, also while somebody
// swaps them (openat2(2) RESOLVE_IN_ROOT, Linux 5.6; CVE-2021-30465).
func OpenInRoot(root int, path string, flags int, mode uint32) (fd int, err error) {
	return openat2(root, path, flags, mode, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_MAGICLINKS)
}

// OpenPlain opens path below root and refuses every symlink on the way.
func OpenPlain(root int, path string, flags int, mode uint32) (fd int, err error) {
	return openat2(root, path, flags, mode, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_SYMLINKS)
}

// openAttempts bounds how often a look-up is repeated that a rename disturbed: a
// process that renames in a loop must not be able to hold us up for ever.
const openAttempts = 128

func openat2(root int, path string, flags int, mode uint32, resolve uint64) (fd int, err error) {
	how := &unix.OpenHow{
		Flags:   uint64(flags | unix.O_CLOEXEC),
		Mode:    uint64(mode),
		Resolve: resolve,
	}
	for range openAttempts {
		fd, err = unix.Openat2(root, path, how)
		if err != unix.EINTR && err != unix.EAGAIN {
			break
		}
	}
	return fd, pathError("open", path, err)
}
