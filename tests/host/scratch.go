package host

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// scratch is the directory of one host: its writable layer, its state, its sockets.
// Whoever holds the lock is alive; a directory with a free lock is a leftover.
type scratch struct {
	dir  string
	name string // also the name of the host's cgroup
	lock *os.File
}

// lockName is the file in a scratch directory that its host's owner keeps locked.
const lockName = "lock"

// newScratch makes a scratch directory and removes those whose owners were killed
// together with their reapers.
func newScratch(tree *cgroupTree) (*scratch, error) {
	cache, err := cacheDir()
	if err != nil {
		return nil, err
	}
	hosts := filepath.Join(cache, "hosts")
	if err := os.MkdirAll(hosts, 0o755); err != nil {
		return nil, err
	}
	// A directory is locked a moment after it is made: nobody may look in between.
	guard, err := lockFile(filepath.Join(cache, "hosts.lock"), true)
	if err != nil {
		return nil, err
	}
	defer guard.Close()
	if err := removeStale(hosts, tree); err != nil {
		return nil, err
	}
	return makeScratch(hosts)
}

func makeScratch(hosts string) (*scratch, error) {
	dir, err := os.MkdirTemp(hosts, "cocker-test-")
	if err != nil {
		return nil, err
	}
	s := &scratch{dir: dir, name: filepath.Base(dir)}
	if s.lock, err = lockFile(s.path(lockName), true); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	for _, d := range []string{"root", "upper", "work", "state"} {
		err = errors.Join(err, os.Mkdir(s.path(d), 0o755))
	}
	return s, err
}

func (s *scratch) path(name string) string { return filepath.Join(s.dir, name) }

// discard gives up a scratch directory whose host never got a reaper.
func (s *scratch) discard() error {
	return errors.Join(os.RemoveAll(s.dir), s.lock.Close())
}

// removeStale removes the scratch directories, and the cgroups, of dead owners.
func removeStale(hosts string, tree *cgroupTree) error {
	entries, err := os.ReadDir(hosts)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		dir := filepath.Join(hosts, entry.Name())
		lock, err := lockFile(filepath.Join(dir, lockName), false)
		if errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, os.ErrNotExist) {
			continue // alive, or just removed by its reaper
		}
		if err != nil {
			return err
		}
		err = errors.Join(tree.remove(entry.Name()), os.RemoveAll(dir), lock.Close())
		if err != nil {
			return fmt.Errorf("remove the leftover host %s: %w", entry.Name(), err)
		}
	}
	return nil
}

// lockFile opens and locks a file; without wait a file that is locked is EWOULDBLOCK.
func lockFile(path string, wait bool) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	how := unix.LOCK_EX
	if !wait {
		how |= unix.LOCK_NB
	}
	for {
		err = unix.Flock(int(file.Fd()), how)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(&os.PathError{Op: "lock", Path: path, Err: err}, file.Close())
	}
	return file, nil
}
