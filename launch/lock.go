package launch

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/internal/paths"
)

// errLocked is part of an error that says that somebody else holds the lock.
var errLocked = errors.New("is being started, removed, copied or committed by another process")

// lockData locks the data directory of a container, which is made first if create
// is set. The lock is on the directory itself: closing it, or the end of the
// process, is all it takes to unlock, and no file is left behind.
//
// Who creates it waits for those who read it (OpenData), not for another launcher.
func lockData(container string, create bool) (*os.File, error) {
	dir := writable(container)
	for {
		if create {
			if err := makePrivate(dir); err != nil {
				return nil, err
			}
		}
		lock, err := os.Open(dir)
		if create && errors.Is(err, os.ErrNotExist) {
			continue // removed just now
		}
		if err != nil {
			return nil, err
		}
		if err := lockFor(lock, create); err != nil {
			lock.Close()
			return nil, fmt.Errorf("container %s %w", container, errLocked)
		}
		if isStill(dir, lock) {
			return lock, nil
		}
		lock.Close() // another process has removed it before we had the lock
	}
}

// lockFor takes the lock alone. If it cannot be had alone but shared, only readers
// have it, and they end.
func lockFor(lock *os.File, wait bool) error {
	fd := int(lock.Fd())
	err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
	if err == nil || !wait || unix.Flock(fd, unix.LOCK_SH|unix.LOCK_NB) != nil {
		return err
	}
	for {
		if err := unix.Flock(fd, unix.LOCK_EX); err != unix.EINTR {
			return err
		}
	}
}

// makePrivate makes a data directory. What lies in it belongs to unshifted ids, so
// that a set-user-ID program of the container's root would be the host's root's:
// the directory above must be closed to everybody else, whoever made it.
func makePrivate(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := os.Mkdir(paths.Volumes, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	for _, parent := range []string{paths.Writable, paths.Layers, paths.Volumes} {
		info, err := os.Stat(parent)
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o077 == 0 {
			continue
		}
		if err := os.Chmod(parent, 0o700); err != nil {
			return err
		}
	}
	return nil
}

func isStill(path string, file *os.File) bool {
	there, err := os.Stat(path)
	if err != nil {
		return false
	}
	held, err := file.Stat()
	return err == nil && os.SameFile(there, held)
}
