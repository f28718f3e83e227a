package launch

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

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

// A number that is another container's by now is not entered, though that one's root is as
// good as any.
func TestRecycledNumberIsNotEntered(t *testing.T) {
	second, err := linux.NewMount("tmpfs", 0) // an overlay has two
	if err != nil {
		t.Skip("needs root: ", err)
	}
	defer unix.Close(second)
	root, err := linux.NewMount("overlay", 0, linux.Option{Key: "lowerdir", Value: fmt.Sprintf("/:/proc/self/fd/%d", second)})
	if err != nil {
		t.Skip("needs overlayfs: ", err)
	}
	defer unix.Close(root)
	other := exec.Command("/bin/sleep", "100000")
	other.SysProcAttr = &syscall.SysProcAttr{Chroot: fmt.Sprintf("/proc/self/fd/%d", root)}
	if err := other.Start(); err != nil {
		t.Skip("what is in the root directory cannot be executed from there: ", err)
	}
	defer func() {
		_ = other.Process.Kill()
		_ = other.Wait()
	}()
	start, err := linux.ProcessStart(other.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	state := &State{Name: "x", Leader: other.Process.Pid, LeaderStart: start}
	files, err := reachRunning(state)
	if err != nil {
		t.Fatal("the test is not testing: ", err)
	}
	files.Root.Close()
	state.LeaderStart++
	if files, err := reachRunning(state); !errors.Is(err, errChanged) {
		t.Errorf("%+v, %v", files, err)
	}
}
