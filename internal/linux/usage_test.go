package linux

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// du(1) is the judge.
func TestDiskUsage(t *testing.T) {
	dir := t.TempDir()
	deep := filepath.Join(dir, "a", strings.Repeat("b/", 50))
	err := errors.Join(
		os.MkdirAll(deep, 0o755),
		os.WriteFile(filepath.Join(dir, "large"), make([]byte, 1<<20), 0o600),
		os.WriteFile(filepath.Join(deep, "odd"), make([]byte, 12345), 0o600),
		os.Link(filepath.Join(dir, "large"), filepath.Join(deep, "again")),
		os.Truncate(filepath.Join(deep, "odd"), 1<<30), // a hole takes no space
		os.Symlink("/usr", filepath.Join(dir, "link")),
	)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("du", "-s", "--block-size=1", dir).Output()
	if err != nil {
		t.Skipf("needs du of GNU coreutils: %v", err)
	}
	want, err := strconv.ParseInt(strings.Fields(string(out))[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	got, err := DiskUsage(dir, filepath.Join(dir, "none"))
	if err != nil || got != want {
		t.Errorf("DiskUsage = %d, %v; du says %d", got, err, want)
	}
	// A second tree that shares an inode with the first.
	if twice, err := DiskUsage(filepath.Join(dir, "large"), filepath.Join(deep, "again")); err != nil || twice > 2<<20-1 {
		t.Errorf("two names of one file: %d, %v", twice, err)
	}
}

// A container may nest directories deeper than this process may have files open, and must
// not keep "cocker system df" from counting; du(1) knows what it is.
func TestDiskUsageOfDeepDirectories(t *testing.T) {
	top := t.TempDir()
	t.Cleanup(func() {
		if err := RemoveTree(filepath.Join(top, "deep")); err != nil {
			t.Error(err)
		}
	})
	script := `mkdir deep && cd deep && for i in $(seq 30); do mkdir -p 0/after 0/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d && head -c 9999 /dev/zero >0/z && cd -P 0/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d; done`
	command := exec.Command("sh", "-c", script)
	command.Dir = top
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	out, err := exec.Command("du", "-s", "--block-size=1", top).Output()
	if err != nil {
		t.Fatal(err)
	}
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 300, Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	got, err := DiskUsage(top)
	if restore := unix.Setrlimit(unix.RLIMIT_NOFILE, &before); restore != nil {
		t.Fatal(restore)
	}
	want, _, _ := strings.Cut(string(out), "\t")
	if err != nil || strconv.FormatInt(got, 10) != want {
		t.Errorf("%d, %v; du says %s", got, err, want)
	}
}
