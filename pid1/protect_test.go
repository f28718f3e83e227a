package pid1

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/internal/linux"
	"github.com/cocker/cocker/internal/linux/mounttest"
)

// The command's working directory is entered before it is labelled.
func TestKernelIsOpenedFromAnyDirectory(t *testing.T) {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the working directory is the thread's own
		err := unix.Unshare(unix.CLONE_FS)
		if err == nil {
			err = unix.Chdir(t.TempDir())
		}
		if err == nil {
			var fd int
			fd, err = openKernel("proc", unix.PROC_SUPER_MAGIC)
			_ = unix.Close(fd)
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// What processors tell of their heat is hidden of each that tells; the kernels of most test
// machines tell of none, so it is a copy of such a tree.
func TestThrottlingIsHidden(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: mounts")
	}
	sys := t.TempDir()
	for _, name := range []string{"cpu0/thermal_throttle", "cpu1/topology", "cpu2/thermal_throttle", "cpufreq/thermal_throttle"} {
		dir := filepath.Join(sys, "devices/system/cpu", name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "count"), []byte("17\n"), 0o444); err != nil {
			t.Fatal(err)
		}
	}
	err := mounttest.Do(func() error {
		root, err := linux.Open(sys, unix.O_PATH|unix.O_DIRECTORY)
		if err != nil {
			return err
		}
		defer unix.Close(root)
		m, err := newMask()
		if err != nil {
			return err
		}
		defer m.close()
		if err := m.hideThrottling(root); err != nil {
			return err
		}
		for name, seen := range map[string]bool{"cpu0/thermal_throttle": false, "cpu1/topology": true, "cpu2/thermal_throttle": false, "cpufreq/thermal_throttle": true} {
			if _, err := os.Stat(filepath.Join(sys, "devices/system/cpu", name, "count")); (err == nil) != seen {
				return fmt.Errorf("%s: %v, seen shall be %v", name, err, seen)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
