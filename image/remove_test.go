package image

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func goarch() string { return runtime.GOARCH }

func TestRemoveKeepsWhatOthersNeed(t *testing.T) {
	s := Open(t.TempDir())
	add(t, s, "one:1", "a", "b")
	add(t, s, "two:1", "a", "c")
	wantContents(t, s, 3, 7)
	if err := s.Remove("one:1", nil); err != nil {
		t.Fatal(err)
	}
	wantContents(t, s, 2, 4)
	if _, err := s.Resolve("two:1"); err != nil {
		t.Error(err)
	}
	if err := s.Remove("one:1", nil); !errors.Is(err, ErrNotFound) {
		t.Errorf("second Remove: %v", err)
	}
	if err := s.Remove("two", nil); err != nil {
		t.Fatal(err)
	}
	wantContents(t, s, 0, 0)
}

func TestRemoveInUse(t *testing.T) {
	s := Open(t.TempDir())
	add(t, s, "one:1", "a", "b")
	img, err := s.Resolve("one:1")
	if err != nil {
		t.Fatal(err)
	}
	inUse := func() ([]string, error) { return img.Layers[1:], nil }
	if err := s.Remove("one:1", inUse); !errors.Is(err, ErrInUse) {
		t.Errorf("Remove: %v, want ErrInUse", err)
	}
	if _, err := s.Resolve("one:1"); err != nil {
		t.Errorf("after the refusal: %v", err)
	}
	add(t, s, "two:1", "a", "b")
	if err := s.Remove("one:1", inUse); err != nil {
		t.Errorf("Remove of one of two names: %v", err)
	}
	failed := errors.New("no machined")
	if err := s.Remove("two:1", func() ([]string, error) { return nil, failed }); !errors.Is(err, failed) {
		t.Errorf("Remove: %v, want the error of inUse", err)
	}
	wantContents(t, s, 2, 4)
}

func TestRemoveReferences(t *testing.T) {
	s := Open(t.TempDir())
	add(t, s, "one:1", "a")
	d := add(t, s, "one:2", "b")
	if err := s.Remove("one", nil); !errors.Is(err, ErrAmbiguous) || !strings.Contains(err.Error(), "one:1, one:2") {
		t.Errorf("Remove(one): %v, want ErrAmbiguous with the tags", err)
	}
	if err := s.Remove(d.Digest, nil); err != nil {
		t.Errorf("Remove by digest: %v", err)
	}
	if err := s.Remove("one", nil); err != nil {
		t.Errorf("Remove of the only tag: %v", err)
	}
	wantContents(t, s, 0, 0)
}

// A container may run on the image that lost its name, so it stays.
func TestReplacedImageStays(t *testing.T) {
	s := Open(t.TempDir())
	old := add(t, s, "one:1", "a")
	add(t, s, "one:1", "b")
	wantContents(t, s, 2, 6)
	list, err := s.List()
	if err != nil || len(list) != 2 || list[0].Reference != "" || list[0].Digest != old.Digest {
		t.Fatalf("List = %+v, %v; want the old one without a name first", list, err)
	}
	if _, err := s.Resolve(old.Digest); err != nil {
		t.Errorf("the old image: %v", err)
	}
	if err := s.Remove(old.Digest, nil); err != nil {
		t.Fatal(err)
	}
	wantContents(t, s, 1, 3)
}

// One that shares all of its layers has nothing to lose.
func TestReplacedImageGoes(t *testing.T) {
	s := Open(t.TempDir())
	add(t, s, "one:1", "a")
	tx, err := s.Begin()
	if err != nil {
		t.Fatal(err)
	}
	d := stage(t, tx, RunConfig{Cmd: []string{"changed"}}, "a", "b")
	if err := errors.Join(tx.Commit("one:1", d), tx.Close()); err != nil {
		t.Fatal(err)
	}
	wantContents(t, s, 2, 4)
	if list, err := s.List(); err != nil || len(list) != 1 {
		t.Errorf("List = %+v, %v; want one", list, err)
	}
}

// die ends a transaction as the death of its process would: the kernel releases
// the lock, the files stay.
func die(tx *Transaction) {
	_ = tx.area.lock.Close()
}

func TestLeftoversOfTheDead(t *testing.T) {
	s := Open(t.TempDir())
	dead, err := s.Begin()
	if err != nil {
		t.Fatal(err)
	}
	stage(t, dead, RunConfig{}, "a")
	live, err := s.Begin()
	if err != nil {
		t.Fatal(err)
	}
	d := stage(t, live, RunConfig{}, "b")
	die(dead)
	add(t, s, "new:1", "c")
	if _, err := os.Lstat(dead.area.oci()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("blobs of the dead transaction: %v", err)
	}
	if _, err := os.Lstat(dead.area.layers()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("layers of the dead transaction: %v", err)
	}
	if err := errors.Join(live.Commit("live:1", d), live.Close()); err != nil {
		t.Errorf("the live transaction: %v", err)
	}
	wantContents(t, s, 2, 6)
}

// Death between the renames and the index: nothing may stay, and nothing that
// another image has may go.
func TestCommitCutShort(t *testing.T) {
	s := Open(t.TempDir())
	add(t, s, "old:1", "a")
	tx, err := s.Begin()
	if err != nil {
		t.Fatal(err)
	}
	stage(t, tx, RunConfig{Cmd: []string{"new"}}, "a", "b")
	idx, err := s.readIndex()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(tx.area.writeJournal(tx.news(idx, []Named{{Name: "new:1"}})), tx.rename(idx)); err != nil {
		t.Fatal(err)
	}
	if layers, blobs, _ := contents(t, s); len(layers) != 2 || len(blobs) != 6 {
		t.Fatalf("%d layers, %d blobs after the renames", len(layers), len(blobs))
	}
	die(tx)
	next, err := s.Begin()
	if err != nil {
		t.Fatal(err)
	}
	if err := next.Close(); err != nil {
		t.Fatal(err)
	}
	wantContents(t, s, 1, 3)
	if _, err := s.Resolve("old:1"); err != nil {
		t.Error(err)
	}
}

func TestCommitFails(t *testing.T) {
	s := Open(t.TempDir())
	add(t, s, "old:1", "a")
	if err := os.Mkdir(s.index()+".tmp", 0o700); err != nil { // so that the index cannot be written
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.index()+".tmp", "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tx, err := s.Begin()
	if err != nil {
		t.Fatal(err)
	}
	d := stage(t, tx, RunConfig{}, "b")
	if err := tx.Commit("new:1", d); err == nil {
		t.Error("Commit without an index succeeded")
	}
	if err := errors.Join(tx.Close(), os.RemoveAll(s.index()+".tmp")); err != nil {
		t.Fatal(err)
	}
	wantContents(t, s, 1, 3)
}

// Death in the middle of a removal: the next transaction finishes it.
func TestRemoveCutShort(t *testing.T) {
	s := Open(t.TempDir())
	add(t, s, "one:1", "a")
	idx, err := s.readIndex()
	if err != nil {
		t.Fatal(err)
	}
	taken, err := idx.take("one:1")
	if err != nil {
		t.Fatal(err)
	}
	trash, err := s.newArea()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(trash.writeJournal(s.partsOf(taken).journal()), s.writeIndex(idx), trash.lock.Close()); err != nil {
		t.Fatal(err)
	}
	tx, err := s.Begin()
	if err != nil {
		t.Fatal(err)
	}
	if err := tx.Close(); err != nil {
		t.Fatal(err)
	}
	wantContents(t, s, 0, 0)
}

func TestCommitWantsFullName(t *testing.T) {
	s := Open(t.TempDir())
	for _, name := range []string{"", "demo", "Demo:1", zeros} {
		tx, err := s.Begin()
		if err != nil {
			t.Fatal(err)
		}
		if err := tx.Commit(name, stage(t, tx, RunConfig{}, "a")); !errors.Is(err, ErrBadReference) {
			t.Errorf("Commit(%q): %v", name, err)
		}
		if err := tx.Close(); err != nil {
			t.Fatal(err)
		}
	}
	wantContents(t, s, 0, 0)
}
