package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/internal/paths"
	"github.com/cocker/cocker/launch"
	"github.com/cocker/cocker/scope"
	"github.com/cocker/cocker/units"
)

// freeze is a running container that this process keeps frozen. It is a transient
// service that freezes the container's unit, waits for the end of this process, and
// thaws it, so that a container is thawed whatever this process dies of. systemd does
// what its ExecStopPost= says also when the service itself is killed.
type freeze struct {
	manager *scope.Manager
	name    string
	unit    string   // the container's
	own     bool     // false: somebody else had frozen it, and it stays so
	lock    *os.File // one process freezes a container at a time
}

// freezeContainer freezes a running container.
func freezeContainer(ctx context.Context, m *scope.Manager, name string, data *launch.Data) (f *freeze, err error) {
	f = &freeze{manager: m, name: name}
	if f.lock, err = lockUpper(ctx, data.Upper); err != nil {
		return nil, err
	}
	if err := f.begin(ctx); err != nil {
		return nil, fmt.Errorf("freeze %s: %w; to read it while it runs on, add --pause=false", name, errors.Join(err, f.end()))
	}
	return f, nil
}

// lockUpper waits for others who freeze the container. The lock is on the directory
// of the writable layer, where it leaves nothing behind.
func lockUpper(ctx context.Context, upper string) (*os.File, error) {
	dir, err := os.Open(upper)
	if err != nil {
		return nil, err
	}
	for {
		err := unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return dir, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", upper, err), dir.Close())
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(context.Cause(ctx), dir.Close())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (f *freeze) begin(ctx context.Context) error {
	// The service of a process that was killed thaws the container; that comes first.
	if err := f.manager.Stop(ctx, units.Freeze(f.name)); err != nil && !errors.Is(err, scope.ErrNotFound) {
		return err
	}
	u, err := unitOf(ctx, f.manager, f.name)
	if err != nil {
		return err
	}
	f.unit = u.Name
	if frozen(u) {
		return nil
	}
	directives, err := f.directives()
	if err != nil {
		return err
	}
	f.own = true
	if err := f.manager.StartTransientService(ctx, units.Freeze(f.name), directives); err != nil {
		return err
	}
	return f.check(ctx)
}

func (f *freeze) directives() ([]scope.Directive, error) {
	process, err := launch.Process()
	if err != nil {
		return nil, err
	}
	return []scope.Directive{
		{Section: "Unit", Key: "Description", Value: units.Literal("Container " + f.name + ", frozen while it is read")},
		{Section: "Unit", Key: "CollectMode", Value: "inactive-or-failed"},
		{Section: "Service", Key: "Type", Value: "exec"},
		{Section: "Service", Key: "TimeoutStartSec", Value: "30"},
		{Section: "Service", Key: "TimeoutStopSec", Value: "30"},
		{Section: "Service", Key: "ExecStartPre", Value: paths.Launcher() + " freeze " + f.unit},
		{Section: "Service", Key: "ExecStart", Value: paths.Launcher() + " await " + process},
		{Section: "Service", Key: "ExecStopPost", Value: paths.Launcher() + " thaw " + f.unit},
	}, nil
}

// check says whether the container is still frozen, and by this process if it was.
func (f *freeze) check(ctx context.Context) error {
	u, err := f.manager.Unit(ctx, f.unit)
	if err != nil {
		return err
	}
	if !frozen(u) {
		return fmt.Errorf("%s is not frozen, its freezer is %q", f.unit, u.Freezer)
	}
	if !f.own {
		return nil
	}
	service, err := f.manager.Unit(ctx, units.Freeze(f.name))
	if err == nil && service.ActiveState != "active" {
		err = fmt.Errorf("%s is %s", units.Freeze(f.name), service.Reason())
	}
	return err
}

// end thaws the container if this process has frozen it.
func (f *freeze) end() error {
	defer f.lock.Close()
	if !f.own {
		return nil
	}
	// Not the context of the command: it may be over.
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := f.manager.Stop(ctx, units.Freeze(f.name)); err != nil && !errors.Is(err, scope.ErrNotFound) {
		return fmt.Errorf("thaw %s: %w; by hand: systemctl thaw %s", f.name, err, f.unit)
	}
	return nil
}

// awaitThaw waits until nobody reads the container frozen: since version 256 systemd
// refuses to stop a frozen unit.
func awaitThaw(ctx context.Context, m *scope.Manager, name string) error {
	for {
		u, err := m.Unit(ctx, units.Freeze(name))
		if err != nil || !u.Running() {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
