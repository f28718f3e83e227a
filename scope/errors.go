package scope

import (
	"errors"
	"fmt"
	"strings"

	"github.com/godbus/dbus/v5"
)

// Errors that callers branch on.
var (
	// ErrNoSystemd means that PID 1 of this host is not systemd.
	ErrNoSystemd = errors.New("systemd is not running: cocker needs it as PID 1 of this host (see sd_booted(3))")
	// ErrNotFound means that systemd knows no such unit.
	ErrNotFound = errors.New("no such unit")
	// ErrDenied means that polkit, or systemd without it, does not let the caller do it.
	ErrDenied = errors.New("not allowed")
	// ErrExists means that a unit of that name is loaded already.
	ErrExists = errors.New("unit exists")
)

// JobError is a job that did not end with the result "done".
type JobError struct {
	Verb   string // "start", "stop", ...
	Unit   string
	Result string // what systemd says of the job: "failed", "dependency", "timeout", "canceled", ...
	State  Unit   // how the unit looks after it
}

func (e *JobError) Error() string {
	reasons := []string{e.Result}
	if text, ok := jobResults()[e.Result]; ok {
		reasons[0] = text
	}
	if e.State.ActiveState != "" {
		reasons = append(reasons, e.State.Reason())
	}
	return fmt.Sprintf("%s %s: %s", e.Verb, e.Unit, strings.Join(reasons, ": "))
}

// jobResults are the results of a job, in words; see JobRemoved in
// org.freedesktop.systemd1(5) and systemctl's own texts.
func jobResults() map[string]string {
	return map[string]string{
		"failed":      "failed",
		"canceled":    "the job was canceled",
		"timeout":     "the job timed out",
		"dependency":  "a unit that it depends on failed",
		"skipped":     "systemd had nothing to do for it in its state",
		"invalid":     "the job does not apply to the unit",
		"assert":      "an Assert…= of the unit does not hold",
		"unsupported": "this system does not support units of that type",
		"collected":   "the job was dropped",
		"once":        "the unit was started once and cannot be started again",
	}
}

// translate gives an error of systemd's the sentinel that callers branch on.
func translate(err error) error {
	var reply dbus.Error
	if !errors.As(err, &reply) {
		return err
	}
	text := reply.Error()
	switch reply.Name {
	case "org.freedesktop.systemd1.NoSuchUnit", "org.freedesktop.systemd1.NoSuchProcess":
		return fmt.Errorf("%w: %s", ErrNotFound, text)
	case "org.freedesktop.systemd1.UnitExists":
		return fmt.Errorf("%w: %s", ErrExists, text)
	// The second one where somebody could be asked for a password, who is not there.
	case "org.freedesktop.DBus.Error.AccessDenied", "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired":
		return fmt.Errorf("%w: %s", ErrDenied, text)
	}
	return errors.New(text)
}

// Why a directive cannot be given to a transient unit.
var (
	errUnknown = errors.New("it cannot be set on a transient unit")
	errNoScope = errors.New("it has no meaning for a container in the foreground, which is a scope")
)
