package linux

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// deepen makes directories in each other, deeper than any path can name
// (PATH_MAX) and than the process may have descriptors.
func deepen(t *testing.T, path string, depth int) {
	t.Helper()
	dir, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	for range depth {
		if err := unix.Mkdirat(dir, "directory", 0o755); err != nil {
			t.Fatal(err)
		}
		below, err := unix.Openat(dir, "directory", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		unix.Close(dir)
		dir = below
	}
	unix.Close(dir)
}

func TestRemoveTree(t *testing.T) {
	base := t.TempDir()
	canary := filepath.Join(base, "canary")
	tree := filepath.Join(base, "tree")
	for _, dir := range []string{canary, tree, tree + "/a/b/c", tree + "/.remove-7/x", tree + "/.remove-x"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{canary + "/file", tree + "/a/b/file", tree + "/.remove-7/file", tree + "/" + strings.Repeat("n", 255)} {
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, link := range []string{tree + "/link", tree + "/a/link"} {
		if err := os.Symlink(canary, link); err != nil {
			t.Fatal(err)
		}
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	low := unix.Rlimit{Cur: 256, Max: limit.Max}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	defer unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)
	deepen(t, tree+"/a", 2000)

	if err := RemoveTree(tree); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(tree); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the tree is left: %v", err)
	}
	if _, err := os.Lstat(canary + "/file"); err != nil {
		t.Errorf("a symlink was followed: %v", err)
	}
	if err := RemoveTree(tree); err != nil {
		t.Errorf("a tree that is gone: %v", err)
	}
}
