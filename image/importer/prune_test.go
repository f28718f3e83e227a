package importer

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cocker/cocker/image"
	"github.com/cocker/cocker/image/internal/helper"
)

func pruneAllButKeep(root string) error {
	uses := func() (image.Uses, error) { return image.Uses{References: []string{"keep:1"}}, nil }
	_, err := image.Open(root).Prune(image.PrunePolicy{Named: true}, uses)
	return err
}

// wantRepairable asserts that a repair leaves nothing to be found, not even by a deep
// check.
func wantRepairable(t testing.TB, store *image.Store) {
	t.Helper()
	options := image.CheckOptions{Repair: true, Unpack: Unpack}
	found, err := store.Check(t.Context(), options)
	for _, f := range found {
		if !f.Repaired {
			t.Errorf("not repaired: %s %s: %s", f.Kind, f.Object, f.Problem)
		}
	}
	if err != nil {
		t.Errorf("repair: %v", err)
	}
	options = image.CheckOptions{Deep: true, Unpack: Unpack}
	found, err = store.Check(t.Context(), options)
	if len(found) != 0 || err != nil {
		t.Errorf("after the repair: %+v, %v", found, err)
	}
}

// pruneStore has an image to keep and two to go, one of which shares its layer.
func pruneStore(t *testing.T) string {
	t.Helper()
	root := needRoot(t)
	store := image.Open(root)
	for _, name := range []string{"keep:1", "old:1"} {
		if _, err := Import(t.Context(), store, "-", name, Options{Stdin: bytes.NewReader(smallTar(t)), Created: fixedTime(), WorkDir: "/" + name}); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "own"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Import(t.Context(), store, dir, "old:2", Options{Created: fixedTime()}); err != nil {
		t.Fatal(err)
	}
	return root
}

func pruneWith(t *testing.T, root, call, inject string) error {
	t.Helper()
	return helper.Injected(t, root, []string{"prune"}, call, inject).Run()
}

// Killed at each step of a prune, or with a disk that takes nothing from then on: a
// repair cleans up, the image to keep is whole, and of the others none is half.
func TestPruneKilledAtEveryStep(t *testing.T) {
	needTool(t, "strace")
	helper.EveryStep(t, 20, []string{"flock", "mkdirat", "write", "fsync", "renameat", "unlinkat"}, func(call string, step int) bool {
		root := pruneStore(t)
		err := pruneWith(t, root, call, fmt.Sprintf("signal=KILL:when=%d", step))
		wantOldOrGone(t, root, fmt.Sprintf("%s %d", call, step))
		return err != nil && step < 60
	})
}

// A disk that is full from some step on.
func TestPruneOnAFullDisk(t *testing.T) {
	needTool(t, "strace")
	for _, call := range []string{"mkdirat", "write", "fsync", "renameat"} {
		for step := 1; step < 60; step++ {
			root := pruneStore(t)
			err := pruneWith(t, root, call, fmt.Sprintf("error=ENOSPC:when=%d+", step))
			wantOldOrGone(t, root, fmt.Sprintf("%s %d", call, step))
			if err == nil {
				break
			}
		}
	}
}

func wantOldOrGone(t *testing.T, root, step string) {
	t.Helper()
	store := image.Open(root)
	wantRepairable(t, store)
	if _, err := store.Resolve("keep:1"); err != nil {
		t.Errorf("%s: %v", step, err)
	}
	_, err1 := store.Resolve("old:1")
	_, err2 := store.Resolve("old:2")
	if (err1 == nil) != (err2 == nil) {
		t.Errorf("%s: one of two went: %v, %v", step, err1, err2)
	}
	for _, err := range []error{err1, err2} {
		if err != nil && !errors.Is(err, image.ErrNotFound) {
			t.Errorf("%s: %v", step, err)
		}
	}
}

// The order that makes a prune safe against a power cut, seen from outside: what is to
// go is written down, then no image names it, and only then does it go.
func TestPruneSyncOrder(t *testing.T) {
	needTool(t, "strace")
	root := pruneStore(t)
	trace := filepath.Join(t.TempDir(), "trace")
	cmd := helper.Command(t, root, []string{"prune"}, "strace", "-f", "-y", "-qq", "-o", trace, "-e", "trace=fsync,fdatasync,renameat,renameat2,rename,unlinkat")
	if out, err := cmd.CombinedOutput(); err != nil {
		if strings.Contains(string(out), "ptrace") {
			t.Skipf("strace may not trace here: %s", out)
		}
		t.Fatalf("%v\n%s", err, out)
	}
	data, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(data), "\n")
	at := -1
	for _, step := range []struct{ call, object string }{ // each is the first line with both words, after the one before
		{"fsync(", "commit.json"}, {"rename", "commit.json\""}, {"fsync(", "index.json.tmp"}, {"rename", "index.json\""}, {"fsync(", "/oci>"},
		{"rename", "layers/.staging"}, {"unlinkat", "blobs/sha256/"}, {"fsync(", "layers/sha256>"}, {"fsync(", "blobs/sha256>"}, {"unlinkat", ".staging"},
	} {
		next := at + 1
		for next < len(lines) && !(strings.Contains(lines[next], step.call) && strings.Contains(lines[next], step.object)) {
			next++
		}
		if next == len(lines) {
			t.Fatalf("no %s of %s after line %d\n%s", step.call, step.object, at, data)
		}
		at = next
	}
	for i, line := range lines[:at] { // nothing goes before the index says so
		index := strings.Index(string(data), "index.json\"")
		if (strings.Contains(line, "blobs/sha256/") || strings.Contains(line, "layers/.staging")) && strings.Index(string(data), line) < index {
			t.Errorf("line %d comes before the index is replaced: %s", i, line)
		}
	}
}
