package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cocker/cocker/image"
	"github.com/cocker/cocker/internal/linux"
	"github.com/cocker/cocker/internal/paths"
	"github.com/cocker/cocker/launch"
	"github.com/cocker/cocker/volume"
)

func systemPruneCommand(s *streams) *cobra.Command {
	sweep := systemSweep{}
	asJSON := false
	command := &cobra.Command{
		Use:   "prune",
		Short: "Remove what nothing uses any more from the disk",
		Long: `Prune removes what can be made again, or is of no use to anybody: what pulls,
imports and clean-ups have left that were killed, layers and blobs that no image
needs, damaged blobs that "cocker system check --repair" has put aside, and what
"cocker run --rm" could not remove because of a power cut. Images go with "cocker
image prune".

Data stays, unless you say that it may go. With --containers goes what removed
containers wrote: those whose file is gone, and which do not run. With --volumes
go the named volumes that no container's file names. Without these options, the
output says what they would remove.`,
		Example: `  cocker system prune --dry-run
  cocker system prune --containers --volumes`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(*cobra.Command, []string) error {
			err := sweep.run()
			if asJSON {
				return errors.Join(printJSON(s.out, sweep.result), err)
			}
			return errors.Join(sweep.print(s.out), err)
		},
	}
	flags := command.Flags()
	flags.BoolVar(&sweep.containers, "containers", false, "also what removed containers wrote")
	flags.BoolVar(&sweep.volumes, "volumes", false, "also named volumes that no container's file names")
	flags.BoolVarP(&sweep.result.DryRun, "dry-run", "n", false, "only say what would be removed")
	flags.BoolVar(&asJSON, "json", false, "print it as JSON")
	return asRoot(command)
}

// swept is what "cocker system prune --json" prints.
type swept struct {
	DryRun  bool        `json:"dry_run"`
	Removed []sweptItem `json:"removed"`
	Kept    []sweptItem `json:"kept"` // data that an option would remove
	Freed   int64       `json:"freed"`
}

type sweptItem struct {
	Kind string `json:"kind"` // leftovers, strays, quarantine, container, volume
	Name string `json:"name,omitempty"`
	Text string `json:"text"`
	Size int64  `json:"size"` // bytes of the disk
}

type systemSweep struct {
	containers, volumes bool
	result              swept
}

func (w *systemSweep) run() error {
	w.result.Removed, w.result.Kept = []sweptItem{}, []sweptItem{}
	if !w.result.DryRun {
		if err := w.sweepTransient(); err != nil {
			return err
		}
	}
	var errs []error
	for _, step := range []func() error{w.leftovers, w.strays, w.quarantine, w.data} {
		errs = append(errs, step())
	}
	return errors.Join(errs...)
}

func (w *systemSweep) sweepTransient() error {
	release, err := holdNames()
	if err != nil {
		return err
	}
	defer release()
	return sweep()
}

func (w *systemSweep) removed(item sweptItem) {
	w.result.Removed = append(w.result.Removed, item)
	w.result.Freed += item.Size
}

func (w *systemSweep) leftovers() error {
	size, err := image.Open(paths.State).Recover(w.result.DryRun)
	if err == nil && size > 0 {
		w.removed(sweptItem{"leftovers", "", "what killed pulls, imports and clean-ups left", size})
	}
	return err
}

func (w *systemSweep) strays() error {
	found, err := image.Open(paths.State).Sweep(layersInUse, w.result.DryRun)
	if n := found.Layers + found.Blobs; err == nil && n > 0 {
		w.removed(sweptItem{"strays", "", fmt.Sprintf("layers (%d) and blobs (%d) that no image needs", found.Layers, found.Blobs), found.Freed})
	}
	return err
}

func (w *systemSweep) quarantine() error {
	dir := image.Open(paths.State).Quarantine()
	if _, err := os.Lstat(dir); err != nil {
		return nil //nolint:nilerr // there is none
	}
	size, err := linux.DiskUsage(dir)
	if err == nil && !w.result.DryRun {
		err = os.RemoveAll(dir)
	}
	if err == nil {
		w.removed(sweptItem{"quarantine", "", "damaged blobs that were put aside", size})
	}
	return err
}

// data is what only a person can say of whether it is still wanted.
func (w *systemSweep) data() error {
	files, err := containerFiles()
	if err != nil {
		return err
	}
	names, err := dataNames()
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range names {
		if files[name] == nil && !isUp(name) && !sweepable(name) {
			item := sweptItem{Kind: "container", Name: name, Text: "what container " + name + " wrote, whose file is gone"}
			errs = append(errs, w.item(item, dataDir(name), w.containers, launch.Remove))
		}
	}
	store := volume.Open(paths.State, launch.VolumeUsers)
	if names, err = store.Names(); err != nil {
		return errors.Join(append(errs, err)...)
	}
	unused, err := unusedVolumes(names, files)
	for _, name := range names {
		if unused[name] {
			item := sweptItem{Kind: "volume", Name: name, Text: "volume " + name + ", which no container's file names"}
			errs = append(errs, w.item(item, filepath.Join(paths.State, "volumes", name), w.volumes, store.Remove))
		}
	}
	return errors.Join(append(errs, err)...)
}

func (w *systemSweep) item(item sweptItem, dir string, wanted bool, remove func(name string) error) (err error) {
	if item.Size, err = linux.DiskUsage(dir); err != nil {
		return err
	}
	if !wanted {
		w.result.Kept = append(w.result.Kept, item)
		return nil
	}
	if !w.result.DryRun {
		if err := remove(item.Name); err != nil {
			return err
		}
	}
	w.removed(item)
	return nil
}

func (w *systemSweep) print(out io.Writer) error {
	var lines []string
	for _, i := range w.result.Removed {
		lines = append(lines, fmt.Sprintf("%s: %s", i.Text, byteSize(i.Size)))
	}
	switch {
	case len(lines) == 0:
		lines = append(lines, "nothing to remove")
	case w.result.DryRun:
		lines = append(lines, "would free "+byteSize(w.result.Freed))
	default:
		lines = append(lines, "freed "+byteSize(w.result.Freed))
	}
	for _, i := range w.result.Kept {
		lines = append(lines, fmt.Sprintf("kept, as it is data: %s: %s (--%ss removes it)", i.Text, byteSize(i.Size), i.Kind))
	}
	_, err := fmt.Fprintln(out, strings.Join(lines, "\n"))
	return err
}
