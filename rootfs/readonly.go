package rootfs

import (
	"errors"
	"fmt"
	"path"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/internal/handoff"
	"github.com/cocker/cocker/internal/linux"
)

// scratchPlaces are where programs write what need not last, by old custom (hier(7)); beside
// /run and /dev/shm, which every container has of its own.
var scratchPlaces = [...]string{"/tmp", "/var/tmp"}

// withScratch adds memory to a read-only root where it is needed, unless the user has
// something there.
func withScratch(spec *Spec) *Spec {
	if !spec.ReadOnly {
		return spec
	}
	changed := *spec
	changed.Mounts = nil
	for _, place := range scratchPlaces {
		if !mountsOn(spec.Mounts, place) {
			changed.Mounts = append(changed.Mounts, config.Mount{Type: config.MountTmpfs, Target: place})
		}
	}
	changed.Mounts = append(changed.Mounts, spec.Mounts...)
	return &changed
}

func mountsOn(mounts []config.Mount, place string) bool {
	for i := range mounts {
		if target := mounts[i].Target; target == place || target == path.Dir(place) && target != "/" {
			return true
		}
	}
	return false
}

// prepareReadOnly makes what init would make later, and cannot then: the working directory,
// and the old name of /run, by which machined looks for the bus.
func prepareReadOnly(root *Root, spec *Spec) error {
	if !spec.ReadOnly {
		return nil
	}
	for _, dir := range []string{spec.WorkDir, path.Dir(handoff.OldRun)} {
		fd, err := root.Directory(dir, 0o755)
		if err != nil {
			return err
		}
		if dir == path.Dir(handoff.OldRun) {
			err = unix.Symlinkat("/run", fd, path.Base(handoff.OldRun))
		}
		unix.Close(fd)
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("link %q: %w", handoff.OldRun, err)
		}
	}
	return nil
}

// Seal makes the root file system that the calling thread has assembled read-only, if it is
// to be, with none of the mounts upon it. It comes when everything is filled in.
func Seal(spec *Spec) error {
	if !spec.ReadOnly {
		return nil
	}
	fd, err := linux.Open(handoff.StageRoot, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := linux.SetAttributes(fd, unix.MOUNT_ATTR_RDONLY, false); err != nil {
		return fmt.Errorf("make the root file system read-only: %w", err)
	}
	return nil
}
