package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/internal/paths"
	"github.com/cocker/cocker/launch"
)

// transientMark is a file in the directory of a container that "cocker run --rm"
// made. The container's own file lies in /run and is gone after a reboot; what is
// marked and has no file then should have been removed. Without --rm nothing is
// marked: what a container wrote is deleted when somebody says so.
const transientMark = "transient"

func dataDir(name string) string { return filepath.Join(paths.Writable, name) }

// holdNames keeps other callers of cocker from taking names, and from sweeping,
// until it is released or this process ends.
func holdNames() (release func(), err error) {
	if err := errors.Join(os.MkdirAll(paths.State, 0o755), os.MkdirAll(paths.Writable, 0o700)); err != nil {
		return nil, err
	}
	dir, err := os.Open(paths.Writable)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(dir.Fd()), unix.LOCK_EX)
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", paths.Writable, err), dir.Close())
	}
	return func() { _ = dir.Close() }, nil
}

// sweep removes the data of --rm containers whose end was a reboot or a power cut. The caller holds the names. It goes on after an error.
func sweep() error {
	names, err := dataNames()
	errs := []error{err}
	for _, name := range names {
		if sweepable(name) {
			errs = append(errs, sweepOne(name))
		}
	}
	return errors.Join(errs...)
}

// sweepable reports whether the data is of a --rm container.
func sweepable(name string) bool {
	_, err := os.Lstat(filepath.Join(dataDir(name), transientMark))
	return err == nil
}

func sweepOne(name string) error {
	location, err := config.Find(paths.ConfigDirs(), name)
	switch {
	case err == nil && location.File == containerFile(runtimeDir, name):
		return nil
	case err == nil: // somebody has given it a file that stays
		return keepData(name)
	case !errors.Is(err, config.ErrNotFound):
		return err
	}
	if state, err := launch.ReadState(name); err == nil && state.Running() {
		return nil // its file was deleted under it
	}
	if err := launch.Remove(name); err != nil {
		return fmt.Errorf("remove what container %s left before the last boot: %w", name, err)
	}
	return nil
}

// dataNames are the containers that have a writable layer.
func dataNames() ([]string, error) {
	entries, err := os.ReadDir(paths.Writable)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && config.ValidName(e.Name()) == nil {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// leftData reports whether a container has left a writable layer.
func leftData(name string) bool {
	_, err := os.Stat(dataDir(name))
	return err == nil
}

// keepData makes the data of a transient container outlive its file.
func keepData(name string) error {
	err := os.Remove(filepath.Join(dataDir(name), transientMark))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// claimTransient makes the directory and the file of a transient container. Both
// must be new: what "cocker rm --keep-data" kept is not for a container that is
// removed when it ends. The caller holds the names.
func claimTransient(name, file string, text []byte, remove bool) (err error) {
	dir := dataDir(name)
	err = os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s holds the data of an earlier container %q; use it with \"cocker create %s IMAGE\", delete it with \"cocker rm %s\", or choose another name", dir, name, name, name)
	}
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	if remove {
		if err := os.WriteFile(filepath.Join(dir, transientMark), nil, 0o600); err != nil {
			return err
		}
	}
	return writeNew(file, text)
}
