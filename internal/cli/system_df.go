package cli

import (
	"fmt"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/image"
	"github.com/cocker/cocker/internal/linux"
	"github.com/cocker/cocker/internal/paths"
	"github.com/cocker/cocker/launch"
	"github.com/cocker/cocker/volume"
)

func systemDiskCommand(s *streams) *cobra.Command {
	asJSON := false
	command := &cobra.Command{
		Use:   "df",
		Short: "Show how much space images, layers, containers and volumes take",
		Long: `Df shows what is below /var/lib/cocker, in the space that it takes on the
disk, as du(1) says: a file with several names counts once. "images" are the
blobs of images, which are compressed, and "layers" the same unpacked; SHARED is
the part of them that several images need. RECLAIMABLE is what is in nobody's
use: of images and layers "cocker image prune --all" and "cocker system prune"
free it, of containers and volumes "cocker system prune" with --containers and
--volumes. Those hold data, and only you know whether that is still wanted.`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(*cobra.Command, []string) error {
			rows, err := diskUsage(s)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(s.out, rows)
			}
			var cells [][]string
			for _, r := range rows {
				cells = append(cells, []string{r.Kind, strconv.Itoa(r.Count), byteSize(r.Size), byteSize(r.Shared), byteSize(r.Reclaimable)})
			}
			return printTable(s.out, []string{"WHAT", "COUNT", "SIZE", "SHARED", "RECLAIMABLE"}, cells)
		},
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print it as JSON")
	return asRoot(command)
}

// diskRow is one line of "cocker system df --json". Sizes are bytes of the disk.
type diskRow struct {
	Kind        string `json:"kind"` // images, layers, containers, volumes, staging, quarantine
	Count       int    `json:"count"`
	Size        int64  `json:"size"`
	Shared      int64  `json:"shared"`
	Reclaimable int64  `json:"reclaimable"`
}

func diskRowOf(kind string, s image.Space) diskRow {
	return diskRow{kind, s.Count, s.Size, s.Shared, s.Reclaimable}
}

// diskUsage also works beside a bad file of a container: then nothing is reclaimable,
// as a clean-up would not do anything either.
func diskUsage(s *streams) ([]diskRow, error) {
	files, unknown := containerFiles()
	store, err := image.Open(paths.State).Usage(func() (u image.Uses, err error) {
		if unknown == nil {
			u, unknown = imagesInUse()
		}
		return u, nil
	})
	if err != nil {
		return nil, err
	}
	containers, err := writableSpace(files)
	if err != nil {
		return nil, err
	}
	volumes, err := volumeSpace(files)
	if err != nil {
		return nil, err
	}
	rows := []diskRow{
		diskRowOf("images", store.Images), diskRowOf("layers", store.Layers), diskRowOf("containers", containers),
		diskRowOf("volumes", volumes), diskRowOf("staging", store.Staging), diskRowOf("quarantine", store.Damaged),
	}
	if unknown == nil {
		return rows, nil
	}
	fmt.Fprintf(s.err, "cocker: system df: nothing counts as reclaimable: %v\n", unknown)
	for i := range rows {
		rows[i].Reclaimable = 0
	}
	return rows, nil
}

// writableSpace measures what containers wrote. Of that of one without a file nobody
// but a person knows whether it is still wanted.
func writableSpace(files map[string]*config.Container) (space image.Space, err error) {
	names, err := dataNames()
	if err != nil {
		return space, err
	}
	for _, name := range names {
		size, err := linux.DiskUsage(dataDir(name))
		if err != nil {
			return space, err
		}
		space.Count++
		space.Size += size
		if files[name] == nil && !isUp(name) {
			space.Reclaimable += size
		}
	}
	return space, nil
}

// isUp says whether a container runs, or is about to.
func isUp(name string) bool {
	state, err := launch.ReadState(name)
	return err == nil && (state.Leader == 0 || !state.Ended())
}

func volumeSpace(files map[string]*config.Container) (space image.Space, err error) {
	names, err := volume.Open(paths.State, nil).Names()
	if err != nil {
		return space, err
	}
	unused, err := unusedVolumes(names, files)
	if err != nil {
		return space, err
	}
	for _, name := range names {
		size, err := linux.DiskUsage(filepath.Join(paths.State, "volumes", name))
		if err != nil {
			return space, err
		}
		space.Count++
		if space.Size += size; unused[name] {
			space.Reclaimable += size
		}
	}
	return space, nil
}

// unusedVolumes are those that no file of a container names, and no container that runs
// without its file has mounted.
func unusedVolumes(names []string, files map[string]*config.Container) (map[string]bool, error) {
	unused := map[string]bool{}
	for _, name := range names {
		users, err := launch.VolumeUsers(name)
		if err != nil {
			return nil, err
		}
		unused[name] = len(users) == 0
	}
	for _, c := range files {
		for _, mount := range c.Mounts {
			if mount.Type == config.MountVolume {
				delete(unused, mount.Source)
			}
		}
	}
	return unused, nil
}
