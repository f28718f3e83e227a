package launch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// thawPatience bounds how long thaw tries.
const thawPatience = 20 * time.Second

var errStillFrozen = errors.New("systemd has thawed it to no effect")

// thaw lets the processes of a unit run again. systemd refuses it for a moment while
// the unit has a job ("Unit has a pending job", 257), such as a stop, which it then
// refuses as the unit is frozen, and while it is still freezing (252).
func thaw(ctx context.Context, unit string) error {
	deadline := time.Now().Add(thawPatience)
	for {
		said, failure := exec.CommandContext(ctx, "systemctl", "thaw", unit).CombinedOutput()
		out, err := exec.CommandContext(ctx, "systemctl", "show", "-P", "FreezerState", unit).Output()
		if err != nil {
			return fmt.Errorf("look up the freezer of %s: %w", unit, err)
		}
		state := strings.TrimSpace(string(out))
		if state != "frozen" && state != "freezing" {
			return nil // also that of a unit that has ended
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("thaw %s: %w: it is %s: %s", unit, cmp.Or(failure, errStillFrozen), state, strings.TrimSpace(string(said)))
		}
		time.Sleep(50 * time.Millisecond)
	}
}
