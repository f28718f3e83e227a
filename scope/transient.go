package scope

import (
	"context"
	"errors"
	"fmt"

	sd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"
)

// StartTransientService makes a service out of directives, starts it and waits
// until it runs. A unit of that name that has failed is replaced; one that
// still runs gives ErrExists.
func (m *Manager) StartTransientService(ctx context.Context, name string, directives []Directive) error {
	properties, err := Properties(Service, name, directives)
	if err != nil {
		return err
	}
	return m.startTransient(ctx, name, properties)
}

// StartTransientScope makes a scope out of directives, moves the processes with
// the given IDs into it and waits until that is done. Errors are as of
// StartTransientService.
func (m *Manager) StartTransientScope(ctx context.Context, name string, pids []int, directives []Directive) error {
	properties, err := Properties(Scope, name, directives)
	if err != nil {
		return err
	}
	return m.startTransient(ctx, name, append(properties, pidsProperty(pids)))
}

func pidsProperty(pids []int) sd.Property {
	list := make([]uint32, len(pids))
	for i, pid := range pids {
		list[i] = uint32(pid)
	}
	return sd.Property{Name: "PIDs", Value: dbus.MakeVariant(list)}
}

func (m *Manager) startTransient(ctx context.Context, name string, properties []sd.Property) error {
	start := func() error {
		return m.wait(ctx, "start", name, func(done chan<- string) (int, error) {
			return m.conn.StartTransientUnitContext(ctx, name, "fail", properties, done)
		})
	}
	err := start()
	if !errors.Is(err, ErrExists) {
		return err
	}
	// A unit that failed stays loaded until its state is reset, and blocks its
	// name; one that runs is not touched by this.
	if reset := m.ResetFailed(ctx, name); reset != nil {
		return fmt.Errorf("%w; %w", err, reset)
	}
	return start()
}
