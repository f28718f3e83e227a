package linux

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
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
