package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/internal/paths"
	"github.com/cocker/cocker/scope"
	"github.com/cocker/cocker/units"
)

func startCommand(s *streams) *cobra.Command {
	return &cobra.Command{
		Use:     "start NAME...",
		Aliases: []string{"boot"},
		Short:   "Start containers and wait until they run",
		Long: `Start is "systemctl start cocker@NAME" that waits until the container is
ready, and says what the reason was when it did not start. Who is not root needs
the administrator's permission, as for stop and restart: cocker-polkit(7).`,
		Example:           "  cocker start web db",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeContainers,
		RunE:              s.lifecycle(start, (*scope.Manager).Start),
	}
}

func stopCommand(s *streams) *cobra.Command {
	return &cobra.Command{
		Use:     "stop NAME...",
		Aliases: []string{"shutdown"},
		Short:   "Stop containers and wait until they have ended",
		Long: `Stop is "systemctl stop" for the container's unit: its command gets the
stop signal, and after TimeoutStopSec= what is left is killed. Where images are
still being pulled for it, that is given up.`,
		Example:           "  cocker stop web db",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeContainers,
		RunE:              s.lifecycle(stop, (*scope.Manager).Stop),
	}
}

func restartCommand(s *streams) *cobra.Command {
	return &cobra.Command{
		Use:               "restart NAME...",
		Aliases:           []string{"reboot"},
		Short:             "Stop containers, start them again and wait until they run",
		Example:           "  cocker restart web",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeContainers,
		RunE:              s.lifecycle(restart, (*scope.Manager).Restart),
	}
}

// lifecycle is what does a verb for root or, as far as systemd lets them, for others.
func (s *streams) lifecycle(ofRoot func(context.Context, *scope.Manager, string) error, ofOthers func(*scope.Manager, context.Context, string) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, names []string) error {
		if os.Geteuid() == 0 {
			return s.forEach(c, names, ofRoot)
		}
		return s.forPermitted(c, names, func(ctx context.Context, m *scope.Manager, unit string) error { return ofOthers(m, ctx, unit) })
	}
}

func killCommand(s *streams) *cobra.Command {
	name, everybody := "SIGKILL", false
	command := &cobra.Command{
		Use:   "kill NAME...",
		Short: "Send a signal to containers",
		Long: `Kill sends a signal, SIGKILL if no other is given, to PID 1 of the
containers, and does not wait. A container whose PID 1 is killed ends.`,
		Example:           "  cocker kill web\n  cocker kill --signal HUP web",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeContainers,
		RunE: func(c *cobra.Command, names []string) error {
			_, number, ok := config.Signal(name)
			if !ok {
				return fmt.Errorf("%q is no signal", name)
			}
			return s.forEach(c, names, func(ctx context.Context, m *scope.Manager, name string) error {
				return kill(ctx, m, name, unix.Signal(number), everybody)
			})
		},
	}
	command.Flags().StringVarP(&name, "signal", "s", name, "what to send, the name of a `signal`")
	command.Flags().BoolVar(&everybody, "all-processes", false, "send it to every process, not only to PID 1")
	return asRoot(command)
}

// forEach does something to several containers at the same time, so that
// systemd sees all jobs at once and orders them; errors are in the order of names.
func (s *streams) forEach(c *cobra.Command, names []string, do func(context.Context, *scope.Manager, string) error) error {
	m, err := scope.Open(c.Context())
	if err != nil {
		return err
	}
	defer m.Close()
	if err := s.prepare(c, m, names); err != nil {
		return err
	}
	defer s.watch(c, m, names)()
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	began := time.Now()
	errs := make([]error, len(names))
	var wg sync.WaitGroup
	for i, name := range names {
		wg.Go(func() { errs[i] = withJournal(do(c.Context(), m, name), began) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// prepare makes systemd read the files of containers that it has not seen yet,
// before any job is queued. A file that changed since is only warned of, as by
// systemctl: a reload concerns all units.
func (s *streams) prepare(c *cobra.Command, m *scope.Manager, names []string) error {
	if c.Name() != "start" && c.Name() != "restart" {
		return nil
	}
	for _, name := range names {
		u, err := m.Unit(c.Context(), units.Service(name))
		if config.ValidName(name) != nil || err != nil {
			continue // reported by the verb itself
		}
		_, unknown := config.Find(paths.ConfigDirs(), name)
		switch {
		case unknown == nil && !hasDropIn(u):
			return m.Reload(c.Context())
		case u.NeedsReload:
			fmt.Fprintf(s.err, "cocker: %s: warning: the file of %s changed; limits and ordering are as before until \"systemctl daemon-reload\"\n", c.Name(), name)
		}
	}
	return nil
}

// hasDropIn reports whether the generator has written for the unit.
func hasDropIn(u scope.Unit) bool {
	return slices.ContainsFunc(u.DropIns, func(path string) bool { return strings.HasSuffix(path, "/"+units.DropIn(u.Name)) })
}

func start(ctx context.Context, m *scope.Manager, name string) error {
	u, err := unitOf(ctx, m, name)
	if err != nil {
		return err
	}
	if u.Running() {
		return m.Start(ctx, u.Name) // waits for one that is starting
	}
	// Better said here, at once and in full, than by a unit that fails.
	if _, err := config.Load(paths.ConfigDirs(), name); err != nil {
		return cmpError(notFound(name), err)
	}
	return m.Start(ctx, units.Service(name))
}

// cmpError is the first that is not nil.
func cmpError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func stop(ctx context.Context, m *scope.Manager, name string) error {
	u, err := existing(ctx, m, name)
	switch {
	case err != nil:
		return err
	case !u.Running():
		return endPull(ctx, m, name)
	}
	return stopUnit(ctx, m, u.Name, name)
}

// endPull takes back a start that waits for its pull, and waits until nothing is left of
// that. The pull's unit is part of the container's, which is stopped with it.
func endPull(ctx context.Context, m *scope.Manager, name string) error {
	pull, err := m.Unit(ctx, units.Pull(name))
	if err != nil || !pull.Running() {
		return err
	}
	return errors.Join(m.Stop(ctx, units.Service(name)), m.Stop(ctx, pull.Name))
}

// stopUnit stops a container's unit and waits until what cleans up after a
// transient one is done too.
func stopUnit(ctx context.Context, m *scope.Manager, unit, name string) error {
	if err := awaitThaw(ctx, m, name); err != nil {
		return err
	}
	if err := m.Stop(ctx, unit); err != nil || unit == units.Service(name) {
		return err
	}
	return awaitCleanup(ctx, m, name)
}

// awaitCleanup waits until systemd has cleaned up after the end of a transient unit,
// which it begins by itself; asking for it tells when it is done.
func awaitCleanup(ctx context.Context, m *scope.Manager, name string) error {
	for _, after := range []string{units.Cleanup(name), units.Removal(name)} {
		if err := m.Stop(ctx, after); err != nil && !errors.Is(err, scope.ErrNotFound) {
			return err
		}
	}
	return nil
}

func restart(ctx context.Context, m *scope.Manager, name string) error {
	u, err := unitOf(ctx, m, name)
	switch {
	case err != nil:
		return err
	case u.Name == units.Scope(name) && u.Running():
		return fmt.Errorf("%s is in the foreground of a \"cocker run\", which ends with it; stop it and run it again", name)
	case !u.Running():
		return start(ctx, m, name)
	}
	// It would stop and not come back.
	if _, err := config.Load(paths.ConfigDirs(), name); err != nil {
		return fmt.Errorf("%s runs on, as it could not be started again: %w", name, err)
	}
	if err := awaitThaw(ctx, m, name); err != nil {
		return err
	}
	return m.Restart(ctx, u.Name)
}

func kill(ctx context.Context, m *scope.Manager, name string, signal unix.Signal, everybody bool) error {
	u, err := existing(ctx, m, name)
	if err != nil {
		return err
	}
	switch {
	case !u.Running():
		return fmt.Errorf("%s is not running", name)
	case frozen(u) && signal == unix.SIGKILL:
		// PID 1 of the host would start the cleanup in the frozen cgroup of a unit
		// with Delegate=, and wait for it for good (seen with systemd 257).
		return fmt.Errorf("%s is frozen, and systemd may hang when it is killed; let it run first: systemctl thaw %s", name, u.Name)
	case everybody:
		return m.Kill(ctx, u.Name, scope.KillAll, signal)
	case u.Name != units.Scope(name):
		return m.Kill(ctx, u.Name, scope.KillMain, signal)
	}
	pid, err := leader(ctx, u, name)
	if err != nil {
		return err
	}
	return unix.Kill(pid, signal)
}

func frozen(u scope.Unit) bool { return u.Freezer != "" && u.Freezer != "running" }

// existing is unitOf for a container that exists: it has a file, or runs
// although its file is gone.
func existing(ctx context.Context, m *scope.Manager, name string) (scope.Unit, error) {
	u, err := unitOf(ctx, m, name)
	if err != nil || u.Running() {
		return u, err
	}
	return u, notFound(name)
}

// patience is how long a person looks at a silent terminal before wondering.
const patience = 2 * time.Second

// watch says on a terminal what is being waited for, once that takes long. The
// function that it returns ends it.
func (s *streams) watch(c *cobra.Command, m *scope.Manager, names []string) (end func()) {
	if !isTerminal(s.err) {
		return func() {}
	}
	ctx, cancel := context.WithCancel(c.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		last := map[string]string{}
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(patience):
			}
			for _, name := range names {
				u, err := unitOf(ctx, m, name)
				if pull, pullErr := m.Unit(ctx, units.Pull(name)); pullErr == nil && pull.Running() {
					u = pull
				}
				if err == nil && strings.HasSuffix(u.ActiveState, "ating") && last[name] != u.Reason() {
					last[name] = u.Reason()
					fmt.Fprintf(s.err, "%s: %s\n", u.Name, u.Reason())
				}
			}
		}
	})
	return func() { cancel(); wg.Wait() }
}
