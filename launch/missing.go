package launch

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/image"
	"github.com/cocker/cocker/internal/paths"
	"github.com/cocker/cocker/units"
)

// pulled refuses a container whose images were to be pulled, and were not.
func (l *launcher) pulled() error {
	c := l.container
	if c.Pull != config.PullAlways {
		return nil
	}
	if _, err := os.Lstat(paths.Unpulled(c.Name)); err != nil {
		return nil
	}
	return fmt.Errorf("its images were not pulled, and it starts with no others (pull = \"always\"); the reason is in: journalctl -u %s", units.Pull(c.Name))
}

// missing adds to the error that an image is not here why nothing has pulled it.
func (l *launcher) missing(reference string, err error) error {
	c := l.container
	switch {
	case !errors.Is(err, image.ErrNotFound):
		return err
	case c.Pull == config.PullNever:
		return fmt.Errorf("%w; nothing pulls it at the start, with pull = \"never\"", err)
	case !l.options.Foreground && slices.Contains(c.Pulled(), reference):
		return fmt.Errorf("image %q is not here, and it was not pulled; the reason is in: journalctl -u %s", reference, units.Pull(c.Name))
	}
	return err
}
