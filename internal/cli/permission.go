package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/scope"
)

// asRoot makes a command say at once that it is root's, and what others have instead.
func asRoot(c *cobra.Command) *cobra.Command {
	c.PreRunE = func(*cobra.Command, []string) error {
		if os.Geteuid() == 0 {
			return nil
		}
		text := "only root may do this; use sudo or a root shell"
		if other := othersHave[c.Name()]; other != "" && c.HasParent() && !c.Parent().HasParent() {
			text += ", or " + other
		}
		return errors.New(text)
	}
	return c
}

// othersHave is what does the same for others than root, as far as they may.
var othersHave = map[string]string{ //nolint:gochecknoglobals // a table, never written
	"login":   `"machinectl login NAME", if the administrator lets you: cocker-polkit(7)`,
	"shell":   `"machinectl shell NAME", if the administrator lets you: cocker-polkit(7)`,
	"exec":    `"machinectl shell NAME PROGRAM", if the administrator lets you: cocker-polkit(7)`,
	"ps":      `"systemctl list-units 'cocker*'"`,
	"inspect": `"systemctl status cocker@NAME"`,
}

// forPermitted does something to containers for somebody who is not root. systemd asks
// polkit who may, so nothing is done here but asking systemd: the files of containers
// are not for everybody to read.
func (s *streams) forPermitted(c *cobra.Command, names []string, do func(context.Context, *scope.Manager, string) error) error {
	m, err := scope.Open(c.Context())
	if err != nil {
		return err
	}
	defer m.Close()
	defer s.watch(c, m, names)()
	var errs []error
	for _, name := range slices.Compact(slices.Sorted(slices.Values(names))) {
		err := config.ValidName(name)
		if err == nil {
			err = askFor(c.Context(), m, name, do)
		}
		if errors.Is(err, scope.ErrDenied) {
			err = fmt.Errorf("you may not %s %s: use sudo, or ask the administrator for a polkit rule, see cocker-polkit(7)", c.Name(), name)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func askFor(ctx context.Context, m *scope.Manager, name string, do func(context.Context, *scope.Manager, string) error) error {
	u, err := unitOf(ctx, m, name)
	if err != nil {
		return err
	}
	return do(ctx, m, u.Name)
}
