package launch

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/internal/idrange"
	"github.com/cocker/cocker/internal/linux"
	"github.com/cocker/cocker/internal/paths"
	"github.com/cocker/cocker/internal/quota"
)

// Cleanup frees what a container that has ended held outside of its namespaces:
// published ports, lease and state. ExecStopPost= runs it, whatever the end was.
// It may be repeated, and goes on after an error.
func Cleanup(container string) error {
	if err := config.ValidName(container); err != nil {
		return err
	}
	adjusted, err := lockState(container)
	if err != nil {
		return err
	}
	defer closeLock(adjusted)
	lock, err := lockData(container, false)
	switch {
	case errors.Is(err, errLocked):
		return nil // a launcher is at work: what there is now is its own
	case errors.Is(err, fs.ErrNotExist): // it has no data, or none any more
	case err != nil:
		return err
	default:
		defer lock.Close()
	}
	return cleanUpStopped(container)
}

func cleanUpStopped(container string) error {
	if state, err := ReadState(container); err == nil && !state.Ended() {
		return fmt.Errorf("container %s is running; stop it first", container)
	}
	return cleanUp(container)
}

func cleanUp(container string) error {
	state, err := ReadState(container)
	if errors.Is(err, fs.ErrNotExist) {
		return errors.Join(releaseCNI(container), removeState(container))
	}
	if err != nil { // unreadable: what it named cannot be more than this
		state = &State{Name: container, Connection: anyConnection()}
	}
	return errors.Join(state.disconnect(), removeState(container))
}

// disconnect leaves alone what is the pod's.
func (s *State) disconnect() error {
	if s.Pod != "" {
		return nil
	}
	return s.Connection.disconnect(s.Name)
}

// RemoveTransient removes all of a container that `cocker run --rm` made: Remove
// and its file in /run.
func RemoveTransient(container string) error {
	if err := Remove(container); err != nil {
		return err
	}
	file := filepath.Join(paths.Runtime, paths.Containers, container+".toml")
	return ignoreMissing(os.Remove(file))
}

// Remove deletes the data of a container that does not run: its writable layer
// and its id range. Its TOML file is the caller's.
func Remove(container string) error {
	if err := config.ValidName(container); err != nil {
		return err
	}
	lock, err := lockData(container, false)
	if errors.Is(err, fs.ErrNotExist) {
		return errors.Join(cleanUpStopped(container), cniHost().Forget(container))
	}
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := cleanUpStopped(container); err != nil {
		return err
	}
	if err := cniHost().Forget(container); err != nil {
		return err
	}
	// The range goes first: its record lies in the directory.
	if err := idrange.Release(paths.IDRanges, idRecord(container), container); err != nil {
		return err
	}
	if err := quota.Release(writable(container)); err != nil {
		return err
	}
	return linux.RemoveTree(writable(container))
}
