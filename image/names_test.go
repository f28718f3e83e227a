package image

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cocker/cocker/config"
)

// markersOf lists the markers of a store.
func markersOf(t *testing.T, root string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(root, "names"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// What systemd looks for, by package config, is there exactly while the store has the
// image.
func TestMarkers(t *testing.T) {
	root := t.TempDir()
	store := Open(root)
	if err := store.Mark(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(filepath.Join(root, "names")); err == nil {
		t.Error("an empty store has markers")
	}
	digest := "@sha256:" + strings.Repeat("0", 64)
	const longest = 255
	long := "a.b/" + strings.Repeat("x", longest-len("a.b/:1")) + ":1"
	stored := []string{"demo:1.0", "registry.example.com:5000/team/demo:1.0", "registry.example.com:5000/team/demo:2.0", "a.b/pinned" + digest, "ssh://me@c.d:22/demo:1", long, long + "1"}
	for _, name := range stored {
		add(t, store, name)
	}
	marked := func(reference string) bool { return slices.Contains(markersOf(t, root), config.Marker(reference)) }
	for reference, want := range map[string]bool{
		"registry.example.com:5000/team/demo:1.0": true, "registry.example.com:5000/team/demo": true, "registry.example.com:5000/team/demo:3": false,
		"a.b/pinned" + digest: true, "a.b/pinned:9" + digest: true, "a.b/pinned": false, "a.b/pinned:9": false,
		"ssh://me@c.d:22/demo:1": true, "ssh://me@c.d:22/demo": true, "ssh://c.d/demo": false, "c.d:22/demo:1": false,
		long: true, long + "1": false,
	} {
		if marked(reference) != want {
			t.Errorf("%s is marked: %v, want %v; there are %q", reference, !want, want, markersOf(t, root))
		}
	}
	if err := store.Remove("registry.example.com:5000/team/demo:2.0", nil); err != nil {
		t.Fatal(err)
	}
	if marked("registry.example.com:5000/team/demo:2.0") || !marked("registry.example.com:5000/team/demo") {
		t.Errorf("after one tag of two was removed there are %q", markersOf(t, root))
	}
	if _, err := store.Rename("registry.example.com:5000/team/demo:1.0", "b.c/new:1"); err != nil {
		t.Fatal(err)
	}
	if marked("registry.example.com:5000/team/demo") || !marked("b.c/new:1") {
		t.Errorf("after the image was renamed there are %q", markersOf(t, root))
	}
	testMending(t, store, root)
}

// testMending: markers are lost and invented, Mark and every change of the store put that
// right.
func testMending(t *testing.T, store *Store, root string) {
	t.Helper()
	if _, err := store.Tag("demo:1.0", "b.c/new:0"); err != nil {
		t.Fatal(err)
	}
	want := markersOf(t, root)
	for name, mend := range map[string]func() error{
		"Mark": store.Mark,
		"Tag":  func() error { _, err := store.Tag("demo:1.0", "b.c/new:1"); return err },
	} {
		if err := os.RemoveAll(filepath.Join(root, "names")); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(filepath.Join(root, "names"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, "names", "x.y+none:1"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := mend(); err != nil {
			t.Fatal(err)
		}
		if got := markersOf(t, root); !slices.Equal(got, want) {
			t.Errorf("%s: there are %q, want %q", name, got, want)
		}
	}
}

// An index that can't be replaced is what a power cut before that is: the marker of
// what was to be removed is gone, that of what was to be added is not there yet.
func TestMarkersNeverSayTooMuch(t *testing.T) {
	root := t.TempDir()
	store := Open(root)
	add(t, store, "a.b/one:1", "a")
	add(t, store, "a.b/two:1", "b")
	// The temporary file of the new index cannot be made.
	if err := os.Mkdir(filepath.Join(root, "oci", "index.json.tmp"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Rename("a.b/one:1", "a.b/three:1"); err == nil {
		t.Fatal("the image was renamed")
	}
	if got, want := markersOf(t, root), []string{"a.b+two", "a.b+two:1"}; !slices.Equal(got, want) {
		t.Errorf("there are %q, want %q", got, want)
	}
	if _, err := store.Resolve("a.b/one:1"); err != nil {
		t.Error(err)
	}
}
