package cli

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// What a container gets of its session's cgroup leads to nothing else: ".." stays at the
// root of a mount (path_resolution(7)).
func TestConfinedCgroup(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	parent := t.TempDir()
	if err := os.WriteFile(filepath.Join(parent, "canary"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(parent, "cgroup"), 0o755); err != nil {
		t.Fatal(err)
	}
	dir, err := os.Open(filepath.Join(parent, "cgroup"))
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	confined, err := (&sessionCgroup{dir: dir}).confined()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(confined)
	for fd, want := range map[int]error{int(dir.Fd()): nil, confined: unix.ENOENT} {
		canary, err := unix.Openat(fd, "../canary", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if !errors.Is(err, want) {
			t.Errorf("descriptor %d: %v, want %v", fd, err, want)
		}
		if err == nil {
			_ = unix.Close(canary)
		}
	}
}
