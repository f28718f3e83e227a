package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/scope"
	"github.com/cocker/cocker/units"
)

// runDetached starts the container as a transient service, waits until it is
// ready, and prints its name.
func runDetached(ctx context.Context, s *streams, systemd func() (*scope.Manager, error), c *config.Container, o runOptions) error {
	m, err := systemd()
	if err != nil {
		return err
	}
	defer m.Close()
	if err := awaitEarlier(ctx, m, c.Name, o.remove); err != nil {
		return err
	}
	unit, began := units.TransientService(c.Name), time.Now()
	err = m.StartTransientService(ctx, unit, serviceDirectives(c, o.remove))
	if err != nil {
		ctx = context.WithoutCancel(ctx) // a signal may have been the reason
		err = withJournal(err, began)
		if u, lookErr := m.Unit(ctx, unit); lookErr == nil && u.ActiveState == "activating" {
			// Restart= is at work: nobody would see the end of it.
			err = errors.Join(err, m.Stop(ctx, unit))
		}
		// systemd removes the container by itself; it must not meet the caller there.
		if stopErr := m.Stop(ctx, units.Removal(c.Name)); !errors.Is(stopErr, scope.ErrNotFound) {
			err = errors.Join(err, stopErr)
		}
		return err
	}
	_, err = fmt.Fprintln(s.out, c.Name)
	return err
}
