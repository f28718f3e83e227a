// Package scope is cocker's client of the systemd manager: it starts, stops and
// looks at units over D-Bus, and makes the transient services and scopes of
// "cocker run". It imports config and units and no other package of cocker.
package scope

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"

	sd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

// booted exists exactly when PID 1 is systemd, see sd_booted(3).
const booted = "/run/systemd/system"

// manager1 is the part of systemd's D-Bus interface that Manager needs.
type manager1 interface {
	StartUnitContext(ctx context.Context, name, mode string, ch chan<- string) (int, error)
	StopUnitContext(ctx context.Context, name, mode string, ch chan<- string) (int, error)
	RestartUnitContext(ctx context.Context, name, mode string, ch chan<- string) (int, error)
	ReloadUnitContext(ctx context.Context, name, mode string, ch chan<- string) (int, error)
	StartTransientUnitContext(ctx context.Context, name, mode string, properties []sd.Property, ch chan<- string) (int, error)
	KillUnitWithTarget(ctx context.Context, name string, target sd.Who, signal int32) error
	ResetFailedUnitContext(ctx context.Context, name string) error
	ReloadContext(ctx context.Context) error
	SetUnitPropertiesContext(ctx context.Context, name string, runtime bool, properties ...sd.Property) error
	ListJobsContext(ctx context.Context) ([]sd.JobStatus, error)
	ListUnitsByPatternsContext(ctx context.Context, states, patterns []string) ([]sd.UnitStatus, error)
	GetAllPropertiesContext(ctx context.Context, unit string) (map[string]any, error)
	DisableUnitFilesContext(ctx context.Context, files []string, runtime bool) ([]sd.DisableUnitFileChange, error)
	Close()
}

// Manager is a connection to the systemd of this host. Its methods wait for
// what they ask for, until their context ends.
type Manager struct {
	conn manager1
	lost <-chan struct{} // closed when the connection breaks
}

// Open connects to systemd. It fails with ErrNoSystemd when PID 1 is another
// program.
func Open(ctx context.Context) (*Manager, error) {
	if _, err := os.Stat(booted); err != nil {
		return nil, ErrNoSystemd
	}
	// The library wants two connections, one of them for signals. Each takes
	// several round trips, so both are made at the same time.
	dialed := make(chan dialResult, 2)
	for range cap(dialed) {
		go func() {
			conn, err := dial(ctx)
			dialed <- dialResult{conn, err}
		}()
	}
	results := []dialResult{<-dialed, <-dialed}
	next := 0
	conn, err := sd.NewConnection(func() (*dbus.Conn, error) {
		r := results[next]
		next++
		return r.conn, r.err
	})
	if err != nil {
		for _, r := range results[next:] {
			r.close()
		}
		return nil, fmt.Errorf("connect to systemd: %w", err)
	}
	// Signals arrive on the second one.
	return &Manager{conn: conn, lost: results[1].conn.Context().Done()}, nil
}

type dialResult struct {
	conn *dbus.Conn
	err  error
}

func (r dialResult) close() {
	if r.conn != nil {
		r.conn.Close()
	}
}

// dial prefers systemd's own socket, as systemctl does for root: it saves a hop
// and works on hosts that have no D-Bus daemon. Only root may use it.
func dial(ctx context.Context) (*dbus.Conn, error) {
	if os.Geteuid() == 0 {
		conn, err := dialPrivate(ctx, privateSocket)
		if err == nil {
			return conn, nil
		}
	}
	conn, err := authenticate(dbus.SystemBusPrivate(dbus.WithContext(ctx)))
	if err != nil {
		return nil, err
	}
	if err := conn.Hello(); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

func authenticate(conn *dbus.Conn, err error) (*dbus.Conn, error) {
	if err != nil {
		return nil, err
	}
	if err := conn.Auth([]dbus.Auth{dbus.AuthExternal(strconv.Itoa(os.Geteuid()))}); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// Close ends the connection.
func (m *Manager) Close() { m.conn.Close() }

// Start starts a unit and waits until it runs.
func (m *Manager) Start(ctx context.Context, unit string) error {
	return m.wait(ctx, "start", unit, func(done chan<- string) (int, error) {
		return m.conn.StartUnitContext(ctx, unit, "replace", done)
	})
}

// Stop stops a unit and waits until it has ended.
func (m *Manager) Stop(ctx context.Context, unit string) error {
	return m.wait(ctx, "stop", unit, func(done chan<- string) (int, error) {
		return m.conn.StopUnitContext(ctx, unit, "replace", done)
	})
}

// Restart stops a unit if it runs, starts it and waits until it runs.
func (m *Manager) Restart(ctx context.Context, unit string) error {
	return m.wait(ctx, "restart", unit, func(done chan<- string) (int, error) {
		return m.conn.RestartUnitContext(ctx, unit, "replace", done)
	})
}

// ReloadUnit makes a unit do its ExecReload= and waits for that.
func (m *Manager) ReloadUnit(ctx context.Context, unit string) error {
	return m.wait(ctx, "reload", unit, func(done chan<- string) (int, error) {
		return m.conn.ReloadUnitContext(ctx, unit, "replace", done)
	})
}

// Who says which processes of a unit Kill sends a signal to.
type Who = sd.Who

// The targets of Kill. A scope has no main process.
const (
	KillMain = sd.Main
	KillAll  = sd.All
)

// Kill sends a signal to the processes of a unit and does not wait.
func (m *Manager) Kill(ctx context.Context, unit string, who Who, signal unix.Signal) error {
	if err := m.conn.KillUnitWithTarget(ctx, unit, who, int32(signal)); err != nil {
		return fmt.Errorf("kill %s: %w", unit, translate(err))
	}
	return nil
}

// ResetFailed clears the failed state of a unit. A unit that is not loaded has
// none, so that is no error.
func (m *Manager) ResetFailed(ctx context.Context, unit string) error {
	err := translate(m.conn.ResetFailedUnitContext(ctx, unit))
	if err != nil && !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("reset failed state of %s: %w", unit, err)
	}
	return nil
}

// Reload is "systemctl daemon-reload": the generators run again.
func (m *Manager) Reload(ctx context.Context) error {
	if err := m.conn.ReloadContext(ctx); err != nil {
		return fmt.Errorf("reload systemd: %w", translate(err))
	}
	return nil
}

// Realize gives the kernel the limits that a running unit has since a Reload. systemd 252
// does so by itself; 257 only when another unit of the slice starts. Whatever property is
// set makes it do so at once, and Markers= is written to no drop-in: here to what it is.
func (m *Manager) Realize(ctx context.Context, unit string) error {
	properties, err := m.conn.GetAllPropertiesContext(ctx, unit)
	if err != nil {
		return fmt.Errorf("limits of %s: %w", unit, translate(err))
	}
	markers, ok := properties["Markers"].([]string)
	if !ok {
		markers = []string{}
	}
	same := sd.Property{Name: "Markers", Value: dbus.MakeVariant(markers)}
	if err := m.conn.SetUnitPropertiesContext(ctx, unit, true, same); err != nil {
		return fmt.Errorf("limits of %s: %w", unit, translate(err))
	}
	return nil
}

// SetProperties gives a loaded unit other values of directives until it ends, as
// "systemctl set-property --runtime" does.
func (m *Manager) SetProperties(ctx context.Context, kind Kind, unit string, directives []Directive) error {
	properties, err := Properties(kind, unit, directives)
	if err != nil {
		return err
	}
	if err := m.conn.SetUnitPropertiesContext(ctx, unit, true, properties...); err != nil {
		return fmt.Errorf("set properties of %s: %w", unit, translate(err))
	}
	return nil
}

// Disable removes every link that "systemctl enable" made for a unit, those of
// "enable --runtime" too. To have none is success. If it had one, systemd keeps
// the dependency until a Reload.
func (m *Manager) Disable(ctx context.Context, unit string) (changed bool, err error) {
	for _, runtime := range []bool{false, true} {
		changes, err := m.conn.DisableUnitFilesContext(ctx, []string{unit}, runtime)
		if err != nil {
			return changed, fmt.Errorf("disable %s: %w", unit, translate(err))
		}
		changed = changed || len(changes) > 0
	}
	return changed, nil
}

// wait runs enqueue, which puts a job into systemd's queue, and waits for the
// job's result.
//
// The channel has room for the one result: the library sends it under a lock
// and would block every other job if nobody took it. It is never closed, as a
// late result may still arrive after ctx has ended.
func (m *Manager) wait(ctx context.Context, verb, unit string, enqueue func(done chan<- string) (int, error)) error {
	done := make(chan string, 1)
	job, err := enqueue(done)
	if err != nil {
		return fmt.Errorf("%s %s: %w", verb, unit, translate(err))
	}
	look := time.NewTicker(lookInterval)
	defer look.Stop()
	for gone := false; ; {
		select {
		case result := <-done:
			if result == "done" {
				return nil
			}
			return m.jobError(ctx, verb, unit, result)
		case <-look.C:
			if gone {
				return m.unheard(ctx, verb, unit)
			}
			gone = !m.queued(ctx, job)
		case <-m.lost:
			return fmt.Errorf("%s %s: the connection to systemd broke; the job may go on", verb, unit)
		case <-ctx.Done():
			return fmt.Errorf("%s %s: %w; the job goes on", verb, unit, context.Cause(ctx))
		}
	}
}

// lookInterval is how often wait looks whether systemd still has the job.
const lookInterval = 5 * time.Second

// queued tells whether systemd has a job, or may have it.
func (m *Manager) queued(ctx context.Context, job int) bool {
	jobs, err := m.conn.ListJobsContext(ctx)
	return err != nil || slices.ContainsFunc(jobs, func(j sd.JobStatus) bool { return int(j.Id) == job })
}

// unheard judges by the unit a job that has ended without a word, as one does that a
// daemon-reload could not carry over: a client must not wait for it for good.
func (m *Manager) unheard(ctx context.Context, verb, unit string) error {
	state, err := m.Unit(ctx, unit)
	if err != nil {
		return fmt.Errorf("%s %s: %w", verb, unit, err)
	}
	ended := !state.Running() && state.ActiveState != "failed" && (state.Result == "" || state.Result == "success")
	if verb == "stop" && !state.Running() || verb != "stop" && (state.Running() || ended) {
		return nil
	}
	return &JobError{Verb: verb, Unit: unit, Result: "failed", State: state}
}

func (m *Manager) jobError(ctx context.Context, verb, unit, result string) error {
	state, err := m.Unit(ctx, unit)
	if err != nil || state.LoadState == "not-found" {
		state = Unit{Name: unit} // a transient unit, gone already: the result alone must do
	}
	return &JobError{Verb: verb, Unit: unit, Result: result, State: state}
}
