package image

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func names(t *testing.T, s *Store) string {
	t.Helper()
	list, err := s.List()
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, i := range list {
		if i.Problem != nil {
			t.Errorf("%s: %v", i.Reference, i.Problem)
		}
		all = append(all, i.Reference)
	}
	return strings.Join(all, " ")
}

func TestTagAndRename(t *testing.T) {
	s := Open(t.TempDir())
	add(t, s, "a:1", "base", "one")
	add(t, s, "b:1", "base", "two")
	for _, step := range []struct {
		do             func(ref, name string) (string, error)
		ref, name      string
		full, want     string
		layers, blobs  int
		wantNoSuchName bool
	}{
		{s.Tag, "a:1", "c", "c:latest", "a:1 b:1 c:latest", 3, 7, false},
		{s.Tag, "a:1", "a:1", "a:1", "a:1 b:1 c:latest", 3, 7, false},
		{s.Rename, "a", "d:2", "d:2", "b:1 c:latest d:2", 3, 7, true},
		{s.Rename, "d:2", "d:2", "d:2", "b:1 c:latest d:2", 3, 7, false},
		{s.Tag, "c", "b:1", "b:1", " b:1 c:latest d:2", 3, 7, false}, // the old b:1 has a layer of its own, a container may use it
	} {
		full, err := step.do(step.ref, step.name)
		if err != nil || full != step.full || names(t, s) != step.want {
			t.Errorf("%s %s: %s, %v, then %q", step.ref, step.name, full, err, names(t, s))
		}
		wantContents(t, s, step.layers, step.blobs)
		if _, err := s.Resolve(step.ref); errors.Is(err, ErrNotFound) != step.wantNoSuchName {
			t.Errorf("%s %s: %v", step.ref, step.name, err)
		}
	}
	if _, err := s.Tag("none", "x"); !errors.Is(err, ErrNotFound) {
		t.Errorf("Tag of none: %v", err)
	}
	for _, bad := range []string{"", "A", "x@" + DigestOf(nil)} {
		if _, err := s.Tag("c", bad); !errors.Is(err, ErrBadReference) {
			t.Errorf("Tag as %q: %v", bad, err)
		}
	}
	if _, err := Open(filepath.Join(t.TempDir(), "none")).Tag("a", "b"); !errors.Is(err, ErrNotFound) {
		t.Errorf("no store: %v", err)
	}
}

// A name for what has lost its own takes it out of the nameless.
func TestTagOfNameless(t *testing.T) {
	s := Open(t.TempDir())
	old := add(t, s, "a:1", "one")
	add(t, s, "a:1", "two")
	if _, err := s.Tag(old.Digest, "a:old"); err != nil || names(t, s) != "a:old a:1" {
		t.Errorf("%v, then %q", err, names(t, s))
	}
}

func TestStoredUnderDigest(t *testing.T) {
	s := Open(t.TempDir())
	d := add(t, s, "r.example.com/a:1", "one")
	index := DigestOf([]byte("index"))
	tx, err := s.Begin()
	if err != nil {
		t.Fatal(err)
	}
	pinned := "r.example.com/a@" + index
	manifest := stage(t, tx, RunConfig{}, "two").Pulled(index)
	if err := errors.Join(tx.Commit(pinned, manifest), tx.Close()); err != nil {
		t.Fatal(err)
	}
	for ref, want := range map[string]string{
		pinned: manifest.Digest, "r.example.com/a:2@" + index: manifest.Digest, index: manifest.Digest,
		"r.example.com/a@" + manifest.Digest: manifest.Digest, "r.example.com/a": d.Digest,
	} {
		if img, err := s.Resolve(ref); err != nil || img.Digest != want {
			t.Errorf("%s: %+v, %v", ref, img, err)
		}
	}
	if here, err := s.Has(pinned, index); err != nil || !here {
		t.Errorf("Has: %v, %v", here, err)
	}
	if _, err := s.Resolve("r.example.com/b@" + index); !errors.Is(err, ErrNotFound) {
		t.Errorf("another name: %v", err)
	}
	if err := s.Remove("r.example.com/a:any@"+index, nil); err != nil || names(t, s) != "r.example.com/a:1" {
		t.Errorf("Remove: %v, then %q", err, names(t, s))
	}
}

func TestStoredName(t *testing.T) {
	digest := DigestOf(nil)
	for text, want := range map[string]string{
		"a": "a:latest", "a:1": "a:1", "a@" + digest: "a@" + digest, "a:1@" + digest: "a@" + digest, digest: "", "A": "",
	} {
		if got, err := StoredName(text); got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v", text, got, err)
		}
	}
}

func TestPreferredTag(t *testing.T) {
	for text, want := range map[string]string{"": "", "1.9 1.10 1.10-rc1": "1.10", "2 latest 3": "latest", "edge 1": "1"} {
		if got := PreferredTag(strings.Fields(text)); got != want {
			t.Errorf("%s: %s", text, got)
		}
	}
}

func TestOwnSizes(t *testing.T) {
	s := Open(t.TempDir())
	add(t, s, "a:1", "base", "one")
	add(t, s, "b:1", "base")
	if _, err := s.Tag("b:1", "b:2"); err != nil {
		t.Fatal(err)
	}
	list, err := s.List()
	if err != nil {
		t.Fatal(err)
	}
	shared := int64(len("gzip of base"))
	for _, i := range list {
		if i.Size-i.Own != shared {
			t.Errorf("%s: size %d, own %d; want %d shared", i.Reference, i.Size, i.Own, shared)
		}
	}
}

func TestLayersAndVanishing(t *testing.T) {
	s := Open(t.TempDir())
	add(t, s, "a:1", "base", "one")
	base := Layer{DigestOf([]byte("gzip of base")), DigestOf([]byte("tar of base"))}
	claimed := Layer{base.Blob, DigestOf([]byte("tar of one"))}
	all, err := s.Layers()
	if err != nil || len(all) != 2 || !all[base] || all[claimed] {
		t.Fatalf("Layers: %v, %v", all, err)
	}
	tx, err := s.Begin()
	if err != nil {
		t.Fatal(err)
	}
	tx.Keep(base)
	d := stage(t, tx, RunConfig{}, "two")
	if err := s.Remove("a:1", nil); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit("b:1", d); !errors.Is(err, ErrVanished) {
		t.Errorf("Commit: %v", err)
	}
	tx.Forget()
	if err := errors.Join(tx.Commit("b:1", d), tx.Close()); err != nil {
		t.Error(err)
	}
	wantContents(t, s, 1, 3)
}

// What was dropped does not come into the store, sealed or not.
func TestDrop(t *testing.T) {
	s := Open(t.TempDir())
	tx, err := s.Begin()
	if err != nil {
		t.Fatal(err)
	}
	for _, sealed := range []bool{true, false} {
		l, err := tx.CreateLayer()
		if err != nil {
			t.Fatal(err)
		}
		b, err := tx.CreateBlob()
		if err == nil {
			err = os.WriteFile(filepath.Join(l.Path(), "f"), nil, 0o600)
		}
		if err == nil && sealed {
			_, err = b.Seal(MediaTypeLayer)
			err = errors.Join(err, l.Seal(DigestOf(nil)))
		}
		if err = errors.Join(err, tx.Drop(l, b)); err != nil {
			t.Fatal(err)
		}
	}
	d := stage(t, tx, RunConfig{}, "one")
	if err := errors.Join(tx.Commit("a:1", d), tx.Close()); err != nil {
		t.Fatal(err)
	}
	wantContents(t, s, 1, 3)
	if names(t, s) != "a:1" {
		t.Error(names(t, s))
	}
}

// What is open stays readable when the image is removed.
func TestContent(t *testing.T) {
	s := Open(t.TempDir())
	d := add(t, s, "a:1", "base", "one")
	c, err := s.Open("a")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := s.Remove("a:1", nil); err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(c.Layers[1].File)
	if err != nil || string(data) != "gzip of one" || c.Reference != "a:1" || DigestOf(c.Raw) != d.Digest {
		t.Errorf("%+v, %q, %v", c, data, err)
	}
	if _, err := s.Open("a"); !errors.Is(err, ErrNotFound) {
		t.Errorf("Open: %v", err)
	}
}

func TestHistory(t *testing.T) {
	s := Open(t.TempDir())
	tx, err := s.Begin()
	if err != nil {
		t.Fatal(err)
	}
	m := Manifest{SchemaVersion: 2, MediaType: MediaTypeManifest}
	file := ConfigFile{History: []History{{CreatedBy: "base"}, {CreatedBy: "ENV", EmptyLayer: true}}}
	for _, text := range []string{"one", "two"} { // the history says nothing of the second
		l, err := tx.CreateLayer()
		if err = errors.Join(err, l.Seal(DigestOf([]byte(text)))); err != nil {
			t.Fatal(err)
		}
		file.RootFS.DiffIDs = append(file.RootFS.DiffIDs, DigestOf([]byte(text)))
		m.Layers = append(m.Layers, stageBlob(t, tx, MediaTypeLayer, []byte(text)))
	}
	m.Config = stageJSON(t, tx, MediaTypeConfig, file)
	if err := errors.Join(tx.Commit("a:1", stageJSON(t, tx, MediaTypeManifest, m)), tx.Close()); err != nil {
		t.Fatal(err)
	}
	steps, err := s.History("a")
	if err != nil || len(steps) != 3 || steps[0].Layer != m.Layers[0].Digest || steps[1].Layer != "" || steps[2].Layer != m.Layers[1].Digest || steps[2].Size != 3 {
		t.Errorf("%+v, %v", steps, err)
	}
}

func TestCommitAll(t *testing.T) {
	s := Open(t.TempDir())
	old := add(t, s, "web:1", "a")
	if _, err := s.Tag("web:1", "web:2"); err != nil {
		t.Fatal(err)
	}
	tx, err := s.Begin()
	if err != nil {
		t.Fatal(err)
	}
	first, second := stage(t, tx, RunConfig{}, "b"), stage(t, tx, RunConfig{}, "c")
	bad := []Named{{"web:1", first}, {"web:2", second}, {"web", second}}
	if err := tx.CommitAll(bad); !errors.Is(err, ErrBadReference) {
		t.Errorf("CommitAll without a tag: %v", err)
	}
	if got := digests(t, s); len(got) != 2 || got["web:1"] != old.Digest || got["web:2"] != old.Digest {
		t.Errorf("after a refused commit: %v", got)
	}
	if err := errors.Join(tx.CommitAll(bad[:2]), tx.Close()); err != nil {
		t.Fatal(err)
	}
	// The image that lost both of its names has a layer of its own: it stays, once.
	if got := digests(t, s); len(got) != 3 || got["web:1"] != first.Digest || got["web:2"] != second.Digest || got[""] != old.Digest {
		t.Errorf("after CommitAll: %v", got)
	}
	if list, err := s.List(); err != nil || len(list) != 3 {
		t.Errorf("%d images, %v; want 3", len(list), err)
	}
}

func digests(t *testing.T, s *Store) map[string]string {
	t.Helper()
	list, err := s.List()
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]string{}
	for _, i := range list {
		m[i.Reference] = i.Digest
	}
	return m
}
