package launch

import (
	"context"
	"fmt"
	"os"
	"slices"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/internal/paths"
	"github.com/cocker/cocker/internal/quota"
	"github.com/cocker/cocker/volume"
)

// VolumeUsers are the containers that have a volume mounted or are about to, by what
// their launchers wrote down.
func VolumeUsers(name string) ([]string, error) { return volumeUsers(name, "") }

func volumeUsers(name, but string) ([]string, error) {
	states, err := States()
	var users []string
	for _, state := range states {
		alive := state.Running() || state.Leader == 0 // 0: it is about to start
		if alive && state.Name != but && slices.Contains(state.Volumes, name) {
			users = append(users, state.Name)
		}
	}
	return users, err
}

// volumeNames are the volumes of a container, each once.
func volumeNames(c *config.Container) []string {
	var names []string
	for _, m := range c.Mounts {
		if m.Type == config.MountVolume && !slices.Contains(names, m.Source) {
			names = append(names, m.Source)
		}
	}
	return names
}

// volumeData is rootfs.Volumes for one start. The state names the volumes by the time
// that it is asked: who removes a volume looks there while it holds the volume's lock.
type volumeData struct {
	container *config.Container
	idBase    uint32
	warn      func(string)
}

// Data works in another thread than the caller's, which makes files as the container's
// root.
func (v volumeData) Data(mount *config.Mount, content *os.File) (path string, err error) {
	users := func(name string) ([]string, error) { return volumeUsers(name, v.container.Name) }
	done := make(chan struct{})
	go func() {
		defer close(done)
		from := volume.Content{Dir: content, Base: v.idBase}
		path, err = volume.Open(paths.State, users).Prepare(context.Background(), mount.Source, mount.DiskMax, from, v.warn)
	}()
	<-done
	if err != nil && mount.DiskMax != 0 {
		err = fmt.Errorf("%w (disk_max = %q is in %s)", err, config.FormatSize(mount.DiskMax), v.container.Sources[0])
	}
	return path, err
}

// limitDisk sets the limit of the writable layer, or lifts one that the file does not
// name any more. It comes before there is anything in a new layer.
func limitDisk(c *config.Container) error {
	if err := quota.Limit(paths.State, writable(c.Name), c.Resources.DiskMax); err != nil {
		return fmt.Errorf("disk_max in [resources] of %s: %w", c.Sources[0], err)
	}
	return nil
}
