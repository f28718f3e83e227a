package cli

import (
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/cocker/cocker/image"
	"github.com/cocker/cocker/internal/linux"
	"github.com/cocker/cocker/internal/paths"
)

func imageInspectCommand(s *streams) *cobra.Command {
	asJSON, sizes := false, false
	command := &cobra.Command{
		Use:   "inspect [flags] IMAGE",
		Short: "Show what an image says about itself",
		Long: `Inspect shows how an image is run, and what it is made of. The size is that of
its blobs, which are compressed; of it, own_size is what no other image has,
and would be free without this one, and shared_size the rest. --size adds what
the layers take unpacked.`,
		Example:           "  cocker image inspect demo",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeImages,
		RunE: func(_ *cobra.Command, args []string) error {
			d, err := inspectImage(args[0], sizes)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(s.out, d)
			}
			return printOutline(s.out, d)
		},
	}
	command.Flags().BoolVar(&sizes, "size", false, "count what the layers take on the disk, as du(1); this reads all of their directories")
	command.Flags().BoolVar(&asJSON, "json", false, "print it as JSON")
	return asRoot(command)
}

func inspectImage(ref string, sizes bool) (imageDetails, error) {
	store := image.Open(paths.State)
	i, err := store.Resolve(ref)
	if err != nil {
		return imageDetails{}, err
	}
	d := imageDetailsOf(i)
	own, err := ownSize(store, i)
	if err != nil {
		return d, err
	}
	shared := max(0, d.Size-own) // a layer that is twice in an image is once in own
	d.OwnSize, d.SharedSize = &own, &shared
	if sizes {
		err = d.addUnpacked()
	}
	return d, err
}

// ownSize is the size of the blobs that no other image needs.
func ownSize(store *image.Store, i *image.Image) (int64, error) {
	list, err := store.List()
	for _, s := range list {
		if s.Reference == i.Reference && (s.Reference != "" || s.Digest == i.Digest) {
			return s.Own, nil
		}
	}
	return 0, err
}

func (d *imageDetails) addUnpacked() error {
	total, counted := int64(0), map[string]bool{}
	for n := range d.Layers {
		l := &d.Layers[n]
		size, err := linux.DiskUsage(l.Directory)
		if err != nil {
			return err
		}
		if l.UnpackedSize = &size; !counted[l.Directory] {
			total += size
		}
		counted[l.Directory] = true
	}
	d.UnpackedSize = &total
	return nil
}

type imageDetails struct {
	Reference    string            `json:"reference,omitempty"`
	Digest       string            `json:"digest"`
	Pulled       []string          `json:"pulled_digests,omitempty"`
	Platform     string            `json:"platform,omitempty"`
	Created      *time.Time        `json:"created,omitempty"`
	Size         int64             `json:"size"`
	OwnSize      *int64            `json:"own_size,omitempty"`
	SharedSize   *int64            `json:"shared_size,omitempty"`
	UnpackedSize *int64            `json:"unpacked_size,omitempty"`
	Entrypoint   []string          `json:"entrypoint,omitempty"`
	Command      []string          `json:"command,omitempty"`
	Environment  []string          `json:"environment,omitempty"`
	User         string            `json:"user,omitempty"`
	WorkDir      string            `json:"workdir,omitempty"`
	StopSignal   string            `json:"stop_signal,omitempty"`
	ExposedPorts []string          `json:"exposed_ports,omitempty"`
	Volumes      []string          `json:"volumes,omitempty"`
	Labels       map[string]string `json:"labels,omitempty"`
	Layers       []imageLayer      `json:"layers"`
}

type imageLayer struct {
	DiffID       string `json:"diff_id"`
	Digest       string `json:"digest"`
	Size         int64  `json:"size"`
	UnpackedSize *int64 `json:"unpacked_size,omitempty"`
	Directory    string `json:"directory"`
}

func imageDetailsOf(i *image.Image) imageDetails {
	d := imageDetails{Reference: i.Reference, Digest: i.Digest, Pulled: i.Pulled, Platform: i.Platform, Size: i.Size, Entrypoint: i.Config.Entrypoint,
		Command: i.Config.Command, Environment: i.Config.Environment, User: i.Config.User, WorkDir: i.Config.WorkDir,
		StopSignal: i.Config.StopSignal, ExposedPorts: i.Config.ExposedPorts, Volumes: i.Config.Volumes, Labels: i.Config.Labels}
	if !i.Created.IsZero() {
		d.Created = &i.Created
	}
	for n, id := range i.DiffIDs {
		d.Layers = append(d.Layers, imageLayer{DiffID: id, Digest: i.Blobs[n].Digest, Size: i.Blobs[n].Size, Directory: filepath.Clean(i.Layers[n])})
	}
	return d
}
