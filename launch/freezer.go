package launch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/cocker/cocker/internal/linux"
)

// freezerPatience bounds how long freeze and thaw try; freezerPause is between two tries,
// and how long a unit must have been frozen to count as such.
const (
	freezerPatience = 20 * time.Second
	freezerPause    = 50 * time.Millisecond
)

var errNoEffect = errors.New("to no effect")

// freeze stops the processes of a unit. It does not believe the first word: Linux tells that
// a cgroup with processes and with cgroups below it, such as a session's, is frozen as soon
// as those below are, then that it is not, and in the end that it is (cgroup_propagate_frozen
// in kernel/cgroup/freezer.c). systemd 252 takes the first for the end, and 257 the second
// for a failure ("Freeze operation aborted").
func freeze(ctx context.Context, unit string) error {
	for deadline := time.Now().Add(freezerPatience); ; {
		said, failure := exec.CommandContext(ctx, "systemctl", "freeze", unit).CombinedOutput()
		if failure == nil {
			time.Sleep(freezerPause)
		}
		f, err := lookAtFreezer(ctx, unit)
		if err != nil {
			return err
		}
		if failure == nil && f.state == "frozen" && f.standsStill() {
			return nil
		}
		if f.active != "active" || time.Now().After(deadline) {
			return fmt.Errorf("freeze %s, which is %s: %w: %s", unit, f.active, cmp.Or(failure, errNoEffect), strings.TrimSpace(string(said)))
		}
		time.Sleep(freezerPause)
	}
}

// thaw lets the processes of a unit run again. systemd refuses it for a moment while
// the unit has a job ("Unit has a pending job", 257), such as a stop, which it then
// refuses as the unit is frozen, and while it is still freezing (252). It refuses it for
// good where the main process has ended while the others were frozen ("Unit is inactive",
// 252): then this does what systemd would do.
func thaw(ctx context.Context, unit string) error {
	for deadline := time.Now().Add(freezerPatience); ; {
		said, failure := exec.CommandContext(ctx, "systemctl", "thaw", unit).CombinedOutput()
		f, err := lookAtFreezer(ctx, unit)
		if err != nil {
			return err
		}
		if f.state != "frozen" && f.state != "freezing" {
			return nil // also that of a unit that has ended
		}
		if failure != nil && f.active != "active" && f.cgroup != "" {
			err := os.WriteFile(filepath.Join(linux.CgroupPath(f.cgroup), "cgroup.freeze"), []byte("0"), 0)
			if err = ignoreMissing(err); err != nil {
				return fmt.Errorf("thaw %s: %w", unit, err)
			}
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("thaw %s: %w: it is %s: %s", unit, cmp.Or(failure, errNoEffect), f.state, strings.TrimSpace(string(said)))
		}
		time.Sleep(freezerPause)
	}
}

// freezer is what systemd knows of a unit that is frozen or thawed.
type freezer struct{ active, state, cgroup string }

func lookAtFreezer(ctx context.Context, unit string) (f freezer, err error) {
	out, err := exec.CommandContext(ctx, "systemctl", "show", "-p", "ActiveState,FreezerState,ControlGroup", unit).Output()
	if err != nil {
		return f, fmt.Errorf("look up the freezer of %s: %w", unit, err)
	}
	for line := range strings.Lines(string(out)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch key {
		case "ActiveState":
			f.active = value
		case "FreezerState":
			f.state = value
		case "ControlGroup":
			f.cgroup = value
		}
	}
	return f, nil
}

// standsStill tells what the kernel tells last: that nothing below the unit's cgroup runs.
func (f freezer) standsStill() bool {
	events, _ := os.ReadFile(filepath.Join(linux.CgroupPath(f.cgroup), "cgroup.events"))
	return f.cgroup != "" && strings.Contains(string(events), "frozen 1\n")
}
