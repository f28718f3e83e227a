package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/image"
	"github.com/cocker/cocker/image/derive"
	"github.com/cocker/cocker/internal/paths"
	"github.com/cocker/cocker/launch"
	"github.com/cocker/cocker/units"
)

func checkoutCommand(s *streams) *cobra.Command {
	c, asJSON := newContainer(), false
	command := &cobra.Command{
		Use:   "checkout [flags] IMAGE NAME [COMMAND [ARG...]]",
		Short: "Make a container whose writable layer is an image's top layer",
		Long: `Checkout takes an image apart, to change it and make its next version: what is
in its topmost layer becomes what the new container wrote, and the container's
image is the rest, which is stored as IMAGE@sha256:... without a tag. "cocker
start" runs it; "cocker commit NAME IMAGE:NEXT" makes an image with the same lower
layers and one new layer in the place of the topmost one.

Of an image of one layer the rest is an empty layer.

The file of the container is /etc/cocker/containers/NAME.toml, as of "cocker
create", whose flags it takes. A container that exists, or data of one, is never
touched. If the command fails or is killed, there is no container.`,
		Example: `  cocker checkout web:1.0 edit
  cocker start edit
  cocker shell edit
  cocker diff edit && cocker commit edit web:1.1 && cocker rm -f edit`,
		Args:              cobra.MinimumNArgs(2),
		ValidArgsFunction: completeImageAt(0),
		RunE: func(command *cobra.Command, args []string) error {
			c.Name = args[1]
			c.Command = commandOf(args[2:])
			return s.checkout(command, args[0], c, asJSON)
		},
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print what was made as JSON")
	bind(c, command, append(containerFlags(), installFlags()...))
	return asRoot(command)
}

type checkedOut struct {
	created

	Image string `json:"image"`
}

func (s *streams) checkout(command *cobra.Command, ref string, c *config.Container, asJSON bool) error {
	made, err := checkOut(command.Context(), ref, c)
	if err != nil {
		return err
	}
	if err := reload(command, s); err != nil {
		return err
	}
	if asJSON {
		return printJSON(s.out, made)
	}
	_, err = fmt.Fprintf(s.out, "%s\n", made.File)
	return err
}

// checkOut makes the container. Its data is complete and on disk before it gets its
// name, and marked as what the next "cocker run" or "create" may sweep away until its
// file is there: see transientMark.
func checkOut(ctx context.Context, ref string, c *config.Container) (made checkedOut, err error) {
	file := containerFile(etcDir, c.Name)
	c.Images = []string{ref} // until the base's name is known
	if _, _, err := checked(c, file); err != nil {
		return made, err
	}
	store := image.Open(paths.State)
	data, err := newData(c.Name)
	if err != nil {
		return made, err
	}
	defer data.Close()
	defer func() {
		if err != nil {
			err = errors.Join(err, data.Remove())
		}
	}()
	if err := os.WriteFile(filepath.Join(data.Dir(), transientMark), nil, 0o600); err != nil {
		return made, err
	}
	opened, err := copyTop(ctx, store, ref, c.Name, data.Upper())
	if err != nil {
		return made, err
	}
	base, added, err := opened.AddBase(ctx, store)
	if err != nil {
		return made, err
	}
	defer func() {
		if err != nil && added {
			err = errors.Join(err, store.Remove(base, layersInUse))
		}
	}()
	c.Images = []string{base}
	text, _, err := checked(c, file)
	if err != nil {
		return made, err
	}
	return checkedOut{created{c.Name, file, units.Service(c.Name)}, base}, placeData(c.Name, data, file, text)
}

// copyTop takes an image apart and copies its topmost layer. It holds the store: what
// another process removes of a layer meanwhile would be missing without an error.
func copyTop(ctx context.Context, store *image.Store, ref, container, upper string) (*derive.Opened, error) {
	lock, err := store.Hold()
	if err != nil {
		return nil, err
	}
	defer lock.Release()
	opened, err := derive.TakeApart(store, ref, container)
	if err != nil {
		return nil, err
	}
	if err := opened.CopyTop(ctx, upper); err != nil {
		return nil, err
	}
	return opened, context.Cause(ctx)
}

// newData makes a directory for the data of a container whose name is free.
func newData(name string) (*launch.CheckedOut, error) {
	release, err := holdNames()
	if err != nil {
		return nil, err
	}
	defer release()
	if err := refuseTaken(name); err != nil {
		return nil, err
	}
	if leftData(name) {
		return nil, leftDataError(name)
	}
	return launch.NewData()
}

func leftDataError(name string) error {
	return fmt.Errorf("%s holds the data of an earlier container %q; delete it with \"cocker rm %s\", or choose another name", dataDir(name), name, name)
}

// placeData gives the data its name, and then the container its file.
func placeData(name string, data *launch.CheckedOut, file string, text []byte) error {
	release, err := holdNames()
	if err != nil {
		return err
	}
	defer release()
	if err := refuseTaken(name); err != nil {
		return err
	}
	if err := data.Place(name); errors.Is(err, os.ErrExist) {
		return leftDataError(name)
	} else if err != nil {
		return err
	}
	if err := writeNew(file, text); err != nil {
		return err
	}
	_ = keepData(name) // if not, the next sweep does it: the container has a file that stays
	return nil
}
