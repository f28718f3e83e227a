package scope

import (
	"context"
	"fmt"
	"strings"
	"time"

	sd "github.com/coreos/go-systemd/v22/dbus"
	"golang.org/x/sys/unix"
)

// Unit is what systemd knows of a unit. Text is as "systemctl show" prints it.
type Unit struct {
	Name        string
	Description string
	LoadState   string // "loaded", "not-found", "masked", ...
	LoadError   string // why it could not be loaded; "": it could
	ActiveState string // "active", "inactive", "failed", "activating", ...
	SubState    string // "running", "dead", "start", ...
	FileState   string // as "systemctl is-enabled": "enabled", "disabled", "generated", ...; "": transient
	Result      string // services and scopes: "success", "exit-code", "timeout", ...
	StatusText  string // services: what the main process said of itself
	MainPID     int    // services; 0: none
	MainCode    int    // services: CLD_EXITED, CLD_KILLED, ...; 0: has not ended
	MainStatus  int    // services: exit status or signal number, as MainCode says
	Freezer     string // "running", "frozen", "freezing", ... (systemctl freeze)
	CGroup      string // below the root of the control group tree; "": none
	Since       time.Time
	NeedsReload bool     // a file changed since systemd read it
	DropIns     []string // absolute paths of its drop-ins

	DevicePolicy string   // "auto", "closed" or "strict" (systemd.resource-control(5)); "": it has no cgroup
	DeviceAllow  []string // device files or groups of them, each with "r", "w" and "m" as far as allowed
}

// deviceAllow reads the pairs of DeviceAllow=.
func deviceAllow(properties map[string]any) (list []string) {
	for _, pair := range property[[][]any](properties, "DeviceAllow") {
		if len(pair) == 2 {
			list = append(list, fmt.Sprintf("%v %v", pair[0], pair[1]))
		}
	}
	return list
}

// Running reports whether the unit has processes or is about to have some.
func (u Unit) Running() bool {
	switch u.ActiveState {
	case "active", "activating", "reloading", "deactivating", "refreshing":
		return true
	}
	return false
}

// How a process ended, see waitid(2).
const (
	cldExited = 1
	cldKilled = 2
	cldDumped = 3
)

// Reason says in one line why the unit is in its state, as systemctl would.
func (u Unit) Reason() string {
	state := u.ActiveState
	if u.SubState != "" && u.SubState != u.ActiveState {
		state += " (" + u.SubState + ")"
	}
	parts := []string{state}
	if u.LoadState != "" && u.LoadState != "loaded" {
		parts = append(parts, strings.TrimSuffix(u.LoadState+": "+u.LoadError, ": "))
	}
	if u.Result != "" && u.Result != "success" {
		parts = append(parts, "result "+u.Result)
	}
	if exit := u.exit(); exit != "" {
		parts = append(parts, exit)
	}
	if u.StatusText != "" {
		parts = append(parts, u.StatusText)
	}
	return strings.Join(parts, ", ")
}

func (u Unit) exit() string {
	switch u.MainCode {
	case cldExited:
		return fmt.Sprintf("exit status %d", u.MainStatus)
	case cldKilled:
		return "killed by " + unix.SignalName(unix.Signal(u.MainStatus))
	case cldDumped:
		return "dumped core on " + unix.SignalName(unix.Signal(u.MainStatus))
	}
	return ""
}

// Unit looks a unit up. A name that has no unit gives LoadState "not-found".
func (m *Manager) Unit(ctx context.Context, name string) (Unit, error) {
	p, err := m.conn.GetAllPropertiesContext(ctx, name)
	if err != nil {
		return Unit{}, fmt.Errorf("read state of %s: %w", name, translate(err))
	}
	u := Unit{
		Name:        name,
		Description: property[string](p, "Description"),
		LoadState:   property[string](p, "LoadState"),
		ActiveState: property[string](p, "ActiveState"),
		SubState:    property[string](p, "SubState"),
		FileState:   property[string](p, "UnitFileState"),
		Result:      property[string](p, "Result"),
		StatusText:  property[string](p, "StatusText"),
		MainPID:     int(property[uint32](p, "MainPID")),
		MainCode:    int(property[int32](p, "ExecMainCode")),
		MainStatus:  int(property[int32](p, "ExecMainStatus")),
		Freezer:     property[string](p, "FreezerState"),
		CGroup:      property[string](p, "ControlGroup"),
		NeedsReload: property[bool](p, "NeedDaemonReload"),
		DropIns:     property[[]string](p, "DropInPaths"),

		DevicePolicy: property[string](p, "DevicePolicy"),
		DeviceAllow:  deviceAllow(p),
	}
	u.Since = since(property[uint64](p, "StateChangeTimestamp"))
	if pair := property[[]any](p, "LoadError"); len(pair) == 2 {
		u.LoadError, _ = pair[1].(string)
	}
	return u, nil
}

// since converts microseconds of CLOCK_REALTIME; zero means never.
func since(usec uint64) time.Time {
	if usec == 0 {
		return time.Time{}
	}
	return time.UnixMicro(int64(usec))
}

// property is the value of a key, or zero where a unit of its type has none.
func property[T any](properties map[string]any, key string) T {
	value, _ := properties[key].(T)
	return value
}

// List names the loaded units that match one of the shell patterns, with their
// states.
func (m *Manager) List(ctx context.Context, patterns ...string) ([]Unit, error) {
	all, err := m.conn.ListUnitsByPatternsContext(ctx, nil, patterns)
	if err != nil {
		return nil, fmt.Errorf("list units: %w", translate(err))
	}
	units := make([]Unit, 0, len(all))
	for _, s := range all {
		units = append(units, fromStatus(s))
	}
	return units, nil
}

func fromStatus(s sd.UnitStatus) Unit {
	return Unit{Name: s.Name, Description: s.Description, LoadState: s.LoadState,
		ActiveState: s.ActiveState, SubState: s.SubState}
}
