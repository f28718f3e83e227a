package pid1

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/internal/linux"
)

// CVE-2024-21626: a descriptor of who starts the container leads out of its root.
func TestWorkDirOutsideOfTheRoot(t *testing.T) {
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.Chdir(here) }()
	fd, err := linux.CloneMount(t.TempDir(), false) // a directory that no path of this root leads to
	if errors.Is(err, unix.EPERM) {
		t.Skip("needs root: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	dir := fmt.Sprintf("/proc/self/fd/%d", fd)
	for name, enter := range map[string]func() error{
		"of the command": func() error { return enterWorkDir(dir, &identity{}) },
		"of a session":   func() error { return enterDirectory(dir) },
	} {
		if err := enter(); err == nil || !strings.Contains(err.Error(), "outside of the container") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := enterDirectory(here); err != nil {
		t.Errorf("one inside: %v", err)
	}
}
