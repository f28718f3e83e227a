package image

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// stage writes an image whose layers each hold one file with the given text, and
// returns the sealed manifest.
func stage(t testing.TB, tx *Transaction, config RunConfig, layers ...string) Descriptor {
	t.Helper()
	created := time.Unix(1700000000, 0).UTC()
	file := ConfigFile{Created: &created, OS: "linux", Architecture: "amd64", Config: config, RootFS: RootFS{Type: "layers"}}
	m := Manifest{SchemaVersion: 2, MediaType: MediaTypeManifest}
	for _, text := range layers {
		l, err := tx.CreateLayer()
		if err != nil {
			t.Fatal(err)
		}
		id := DigestOf([]byte("tar of " + text))
		if err := errors.Join(writeLayer(l.Path(), text), l.Seal(id)); err != nil {
			t.Fatal(err)
		}
		file.RootFS.DiffIDs = append(file.RootFS.DiffIDs, id)
		m.Layers = append(m.Layers, stageBlob(t, tx, MediaTypeLayerGzip, []byte("gzip of "+text)))
	}
	m.Config = stageJSON(t, tx, MediaTypeConfig, file)
	return stageJSON(t, tx, MediaTypeManifest, m)
}

// writeLayer makes the same tree each time, times and all.
func writeLayer(dir, text string) error {
	then := time.Unix(1e9, 0)
	file := filepath.Join(dir, "file")
	return errors.Join(os.WriteFile(file, []byte(text), 0o600), os.Chtimes(file, then, then), os.Chmod(dir, 0o755), os.Chtimes(dir, then, then))
}

func stageJSON(t testing.TB, tx *Transaction, mediaType string, v any) Descriptor {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return stageBlob(t, tx, mediaType, data)
}

func stageBlob(t testing.TB, tx *Transaction, mediaType string, data []byte) Descriptor {
	t.Helper()
	b, err := tx.CreateBlob()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Write(data); err != nil {
		t.Fatal(err)
	}
	d, err := b.Seal(mediaType)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func add(t testing.TB, s *Store, name string, layers ...string) Descriptor {
	t.Helper()
	tx, err := s.Begin()
	if err != nil {
		t.Fatal(err)
	}
	d := stage(t, tx, RunConfig{Cmd: []string{name}}, layers...)
	if err := errors.Join(tx.Commit(name, d), tx.Close()); err != nil {
		t.Fatal(err)
	}
	return d
}

// contents lists what a store keeps: names of layers and blobs, and staging left.
func contents(t *testing.T, s *Store) (layers, blobs, staging []string) {
	t.Helper()
	list := func(pattern string) []string {
		names, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		return names
	}
	staging = append(list(filepath.Join(s.OCI(), ".staging*")), list(filepath.Join(s.layers(), ".staging*"))...)
	return list(filepath.Join(s.unpacked(), "*")), list(filepath.Join(s.blobs(), "*")), append(staging, list(s.index()+".tmp")...)
}

func wantContents(t *testing.T, s *Store, layers, blobs int) {
	t.Helper()
	l, b, staging := contents(t, s)
	if len(l) != layers || len(b) != blobs || len(staging) != 0 {
		t.Errorf("store has %d layers, %d blobs, staging %q; want %d, %d, none", len(l), len(b), staging, layers, blobs)
	}
}

func TestOpenTouchesNothing(t *testing.T) {
	root := filepath.Join(t.TempDir(), "none")
	s := Open(root)
	if list, err := s.List(); len(list) != 0 || err != nil {
		t.Errorf("List() = %v, %v", list, err)
	}
	if _, err := s.Resolve("demo"); !errors.Is(err, ErrNotFound) {
		t.Errorf("Resolve: %v", err)
	}
	if err := s.Remove("demo", nil); !errors.Is(err, ErrNotFound) {
		t.Errorf("Remove: %v", err)
	}
	if _, err := os.Lstat(root); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the store was made: %v", err)
	}
}

func TestResolve(t *testing.T) {
	s := Open(t.TempDir())
	add(t, s, "base:1.9", "a")
	add(t, s, "base:1.10", "a", "b")
	add(t, s, "base:1.10-rc1", "a", "c")
	add(t, s, "other:9", "a")
	add(t, s, "other:latest", "b")
	d := add(t, s, "r.example.com:5000/x/web:1", "c")
	tests := []struct {
		ref, want string
	}{
		{"base:1.9", "base:1.9"},
		{"base", "base:1.10"},
		{"other", "other:latest"},
		{"r.example.com:5000/x/web", "r.example.com:5000/x/web:1"},
		{d.Digest, "r.example.com:5000/x/web:1"},
		{"r.example.com:5000/x/web@" + d.Digest, "r.example.com:5000/x/web:1"},
	}
	for _, tt := range tests {
		img, err := s.Resolve(tt.ref)
		if err != nil {
			t.Errorf("Resolve(%q): %v", tt.ref, err)
			continue
		}
		if img.Reference != tt.want || !slices.Equal(img.Config.Command, []string{tt.want}) || img.Created.Unix() != 1700000000 {
			t.Errorf("Resolve(%q) = %+v, want %q", tt.ref, img, tt.want)
		}
	}
	img, err := s.Resolve("base:1.10")
	if err != nil {
		t.Fatal(err)
	}
	for i, text := range []string{"a", "b"} {
		got, err := os.ReadFile(filepath.Join(img.Layers[i], "file"))
		if err != nil || string(got) != text {
			t.Errorf("layer %d has %q, %v; want %q", i, got, err, text)
		}
	}
	for _, ref := range []string{"base:2", "nothing", "base@" + d.Digest, zeros} {
		if _, err := s.Resolve(ref); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), ref) {
			t.Errorf("Resolve(%q): %v; want ErrNotFound with the name", ref, err)
		}
	}
}

func TestResolveDamaged(t *testing.T) {
	write := func(path string) error { return os.WriteFile(path, []byte("{}"), 0o600) }
	tests := []struct {
		name   string
		damage func(s *Store, img *Image, hex string) error
		want   string
	}{
		{"no layer", func(s *Store, img *Image, _ string) error { return os.RemoveAll(img.Layers[0]) }, "not unpacked"},
		{"layer a file", func(s *Store, img *Image, _ string) error {
			return errors.Join(os.RemoveAll(img.Layers[0]), write(img.Layers[0]))
		}, "not a directory"},
		{"no manifest", func(s *Store, _ *Image, hex string) error { return os.Remove(s.blob(hex)) }, "is missing"},
		{"changed manifest", func(s *Store, _ *Image, hex string) error { return write(s.blob(hex)) }, "is damaged"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := Open(t.TempDir())
			d := add(t, s, "base:1", "a")
			add(t, s, "good:1", "b")
			img, err := s.Resolve("base:1")
			if err != nil {
				t.Fatal(err)
			}
			if err := tt.damage(s, img, strings.TrimPrefix(d.Digest, digestPrefix)); err != nil {
				t.Fatal(err)
			}
			_, err = s.Resolve("base:1")
			if !errors.Is(err, ErrIncomplete) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Resolve: %v; want ErrIncomplete, %q", err, tt.want)
			}
			list, err := s.List()
			if err != nil || len(list) != 2 || list[0].Problem == nil || list[1].Problem != nil {
				t.Errorf("List: %+v, %v", list, err)
			}
			if err := s.Remove("base:1", nil); err != nil {
				t.Errorf("Remove: %v", err)
			}
			if _, err := s.Resolve("good:1"); err != nil {
				t.Errorf("the other image: %v", err)
			}
		})
	}
}

// A digest in a document must not become a path.
func TestResolveHostileDiffID(t *testing.T) {
	s := Open(t.TempDir())
	tx, err := s.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Close()
	file := ConfigFile{RootFS: RootFS{DiffIDs: []string{"sha256:../../../etc"}}}
	m := Manifest{Config: stageJSON(t, tx, MediaTypeConfig, file), Layers: []Descriptor{{Digest: "sha256:../x"}}}
	d := stageJSON(t, tx, MediaTypeManifest, m)
	if err := tx.Commit("bad:1", d); err == nil || !strings.Contains(err.Error(), "64 hex digits") {
		t.Errorf("Commit: %v", err)
	}
	for _, v := range []any{file, m} { // as another tool might
		data, err := json.Marshal(v)
		if err == nil {
			err = os.WriteFile(s.blob(strings.TrimPrefix(DigestOf(data), digestPrefix)), data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := s.writeIndex(&index{Manifests: []Descriptor{d.Named("bad:1")}}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Resolve("bad:1"); err == nil || !strings.Contains(err.Error(), "64 hex digits") {
		t.Errorf("Resolve: %v", err)
	}
}

func TestResolveNestedIndex(t *testing.T) {
	s := Open(t.TempDir())
	tx, err := s.Begin()
	if err != nil {
		t.Fatal(err)
	}
	d := stage(t, tx, RunConfig{Cmd: []string{"here"}}, "a")
	foreign := Descriptor{MediaType: MediaTypeManifest, Digest: zeros, Platform: &Platform{OS: "linux", Architecture: "pdp11"}}
	own := d
	own.Platform = &Platform{OS: "linux", Architecture: goarch()}
	nested := stageJSON(t, tx, MediaTypeIndex, index{SchemaVersion: 2, Manifests: []Descriptor{foreign, own}})
	if err := errors.Join(tx.Commit("multi:1", nested), tx.Close()); err != nil {
		t.Fatal(err)
	}
	img, err := s.Resolve("multi:1")
	if err != nil || img.Digest != d.Digest {
		t.Fatalf("Resolve = %+v, %v; want digest %s", img, err, d.Digest)
	}
	if err := s.Remove("multi", nil); err != nil {
		t.Fatal(err)
	}
	wantContents(t, s, 0, 0)
}

func TestConcurrentCommits(t *testing.T) {
	s := Open(t.TempDir())
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			tx, err := s.Begin()
			if err != nil {
				t.Error(err)
				return
			}
			d := stage(t, tx, RunConfig{}, "a", "b")
			if err := errors.Join(tx.Commit("same:1", d), tx.Close()); err != nil {
				t.Error(err)
			}
			if _, err := s.Resolve("same:1"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	wantContents(t, s, 2, 4)
}

// BenchmarkResolve is on the start path of every container.
func BenchmarkResolve(b *testing.B) {
	s := Open(b.TempDir())
	for _, name := range []string{"a:1", "b:1", "c:1", "d:1"} {
		add(b, s, name, "1", "2", "3", name)
	}
	for b.Loop() {
		if _, err := s.Resolve("d"); err != nil {
			b.Fatal(err)
		}
	}
}
