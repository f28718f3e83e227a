package cli

import (
	"context"
	"fmt"

	"github.com/cocker/cocker/launch"
	"github.com/cocker/cocker/machine"
	"github.com/cocker/cocker/scope"
)

// leader is PID 1 of a running container, as the host numbers it. A scope has
// no main process, so the launcher's record says it, or else machined.
func leader(ctx context.Context, u scope.Unit, name string) (int, error) {
	if u.MainPID != 0 {
		return u.MainPID, nil
	}
	if state, err := launch.ReadState(name); err == nil && state.Running() {
		return state.Leader, nil
	}
	m, err := machine.Get(ctx, name)
	if err != nil {
		return 0, fmt.Errorf("find PID 1 of %s: %w", name, err)
	}
	return m.Leader, nil
}
