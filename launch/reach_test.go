package launch

import (
	"errors"
	"os"
	"testing"

	"github.com/cocker/cocker/internal/linux"
)

// The number of a process that has ended may be another's by now, and a launcher that has
// just been cloned still sees the host's /proc: neither is entered.
func TestOnlyTheContainerIsEntered(t *testing.T) {
	start, err := linux.ProcessStart(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	states := map[string]*State{
		"not started":     {Name: "x"},
		"recycled number": {Name: "x", Leader: os.Getpid(), LeaderStart: start + 1},
		"no such process": {Name: "x", Leader: 1 << 30, LeaderStart: start},
	}
	if root, err := os.Open("/"); err == nil {
		defer root.Close()
		if !isOverlay(int(root.Fd())) {
			states["no root of a container"] = &State{Name: "x", Leader: os.Getpid(), LeaderStart: start}
		}
	}
	for name, state := range states {
		if files, err := reachRunning(state); !errors.Is(err, errChanged) {
			t.Errorf("%s: %+v, %v", name, files, err)
		}
	}
}
