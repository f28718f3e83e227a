package cli

import (
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/cocker/cocker/image"
	"github.com/cocker/cocker/internal/paths"
	"github.com/cocker/cocker/launch"
)

func imageRemoveCommand(s *streams) *cobra.Command {
	force := false
	command := &cobra.Command{
		Use:     "rm IMAGE...",
		Aliases: []string{"remove"},
		Short:   "Remove images, and the layers that no other image needs",
		Long: `Rm takes the name of an image away, and deletes what no other image needs.
An image that a running container stands on is refused. So is one on which a
stopped container has written something, which could not be used without it.`,
		Example:           "  cocker image rm demo:1.0",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeImages,
		RunE: func(_ *cobra.Command, refs []string) error {
			store := image.Open(paths.State)
			var errs []error
			for _, ref := range refs {
				err := error(nil)
				if !force {
					err = refuseStoodOn(store, ref)
				}
				if err == nil {
					err = store.Remove(ref, layersInUse)
				}
				errs = append(errs, err)
			}
			return errors.Join(errs...)
		},
	}
	command.Flags().BoolVarP(&force, "force", "f", false, "also if a stopped container has written something on the image")
	return asRoot(command)
}

// refuseStoodOn refuses an image under its last name if what a container wrote lies on
// top of it.
func refuseStoodOn(store *image.Store, ref string) error {
	img, err := store.Resolve(ref)
	if err != nil {
		return nil // Remove tells it better, and what is damaged may go
	}
	list, err := store.List()
	if err != nil {
		return err
	}
	named := slices.IndexFunc(list, func(i image.Summary) bool { return i.Reference == img.Reference })
	same := func(i image.Summary) bool {
		return named >= 0 && i.Digest == list[named].Digest && i.Reference != img.Reference
	}
	if slices.ContainsFunc(list, same) {
		return nil // it stays under another name
	}
	containers, err := dataNames()
	if err != nil {
		return err
	}
	for _, name := range containers {
		if state, err := launch.ReadState(name); err == nil && state.Running() {
			continue // which Remove refuses
		}
		base, _ := launch.Base(name) // one that is not known keeps nothing
		if slices.Contains(base, img.Digest) {
			return fmt.Errorf("remove image %q: what container %s has written stands on it; "+
				`remove the container first ("cocker rm %[2]s"), or keep the image under another name, or use --force`, ref, name)
		}
	}
	return nil
}
