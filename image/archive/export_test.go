package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cocker/cocker/image"
)

// stock is a store with web:1.0, which is web:latest too, and db:2 on top of it.
func stock(t testing.TB) *image.Store {
	t.Helper()
	store := newStore(t)
	lower := layerOf(t, "lower")
	var e entries
	web := e.image(t, lower)
	e.index(t, web.Named("web:1.0"), web.Named("web:latest"), e.image(t, lower, layerOf(t, strings.Repeat("upper", 1000))).Named("example.com/db:2"))
	if _, err := Import(t.Context(), store, write(t, e.tar(t)), "", Options{}); err != nil {
		t.Fatal(err)
	}
	return store
}

// those is what stock has that a format can take: a tree is of one image.
func those(format Format) []string {
	if format == Tar || format == Dir {
		return names()[2:]
	}
	return names()
}

func names() []string { return []string{"web:1.0", "web:latest", "example.com/db:2"} }

func exportTar(t testing.TB, store *image.Store, format Format, refs ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := Export(t.Context(), store, refs, &out, format, nil); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// ofImages are the formats that keep images as they are.
func ofImages() []Format { return []Format{OCIArchive, DockerArchive, OCIDir} }

// What is exported is the same image when it is imported, and the same bytes when it
// is exported again.
func TestRoundTrip(t *testing.T) {
	store := stock(t)
	for _, format := range ofImages() {
		t.Run(string(format), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "out")
			if err := ExportTo(t.Context(), store, names(), path, format, nil); err != nil {
				t.Fatal(err)
			}
			from, again := store, newStore(t)
			images, err := Import(t.Context(), again, path, "", Options{})
			if err != nil || !slices.Equal(namesOf(images), names()) {
				t.Fatalf("%v, %v", namesOf(images), err)
			}
			if format == DockerArchive { // it has no manifests: those made anew are the same next time
				third := newStore(t)
				if _, err := Import(t.Context(), third, write(t, exportTar(t, again, format, names()...)), "", Options{}); err != nil {
					t.Fatal(err)
				}
				from, again = again, third
			}
			sameDigests(t, from, again)
			if format == OCIDir {
				return
			}
			if a, b := exportTar(t, from, format, names()...), exportTar(t, again, format, names()...); !bytes.Equal(a, b) {
				t.Error("the same images gave other bytes")
			}
		})
	}
}

// files of a tar, by name.
func untar(t testing.TB, data []byte) map[string]string {
	t.Helper()
	files := map[string]string{}
	for r := tar.NewReader(bytes.NewReader(data)); ; {
		hdr, err := r.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, twice := files[hdr.Name]; twice {
			t.Errorf("%s is there twice", hdr.Name)
		}
		files[hdr.Name] = string(content)
	}
}

// Both kinds of archives have what "docker load" reads: names of files, of which each
// layer, decompressed, has the diff id that the configuration says.
func TestManifestJSON(t *testing.T) {
	store := stock(t)
	for _, format := range []Format{OCIArchive, DockerArchive} {
		files := untar(t, exportTar(t, store, format, names()...))
		var list []savedImage
		if err := json.Unmarshal([]byte(files[savedName]), &list); err != nil {
			t.Fatal(err)
		}
		if len(list) != 2 || !slices.Equal(list[0].RepoTags, names()[:2]) || !slices.Equal(list[1].RepoTags, names()[2:]) {
			t.Fatalf("%s: %+v", format, list)
		}
		for _, i := range list {
			var config image.ConfigFile
			if err := json.Unmarshal([]byte(files[i.Config]), &config); err != nil {
				t.Fatal(err)
			}
			for n, name := range i.Layers {
				content := []byte(files[name])
				if format == OCIArchive {
					content = gunzipped(t, content)
				}
				if got := image.DigestOf(content); got != config.RootFS.DiffIDs[n] {
					t.Errorf("%s: layer %s is %s, want %s", format, name, got, config.RootFS.DiffIDs[n])
				}
			}
		}
	}
}

// A blob that is damaged in the store is not handed on; the file that was there stays.
func TestExportDamaged(t *testing.T) {
	store := stock(t)
	img, err := store.Resolve("web")
	if err != nil {
		t.Fatal(err)
	}
	blob := filepath.Join(store.OCI(), blobPath(img.Blobs[0].Digest))
	data, err := os.ReadFile(blob)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)-1] ^= 1 // of gzip's trailer
	if err := os.WriteFile(blob, data, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, format := range ofImages() { // a tree is of the layers as they are unpacked
		dir := t.TempDir()
		path := filepath.Join(dir, "out")
		if format != OCIDir {
			if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := ExportTo(t.Context(), store, []string{"web"}, path, format, nil); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", format, err)
		}
		assertUntouched(t, dir, format)
	}
}

func assertUntouched(t *testing.T, dir string, format Format) {
	t.Helper()
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if format == OCIDir {
		if len(left) != 0 {
			t.Errorf("left: %v", left)
		}
		return
	}
	if data, err := os.ReadFile(filepath.Join(dir, "out")); err != nil || string(data) != "old" || len(left) != 1 {
		t.Errorf("%q, %v; %v", data, err, left)
	}
}

func TestExportRefusals(t *testing.T) {
	store, dir := stock(t), t.TempDir()
	full := filepath.Join(dir, "full")
	if err := os.MkdirAll(filepath.Join(full, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		ref, path string
		format    Format
		want      string
	}{
		{"web", full, OCIDir, "not empty"},
		{"web", full, OCIArchive, "is a directory"},
		{"web", filepath.Join(dir, "none", "x"), OCIArchive, "no such file"},
		{"none", filepath.Join(dir, "x"), OCIArchive, "no such image"},
		{"none", filepath.Join(dir, "x"), OCIDir, "no such image"},
	} {
		if err := ExportTo(t.Context(), store, []string{tt.ref}, tt.path, tt.format, nil); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v", tt, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for _, format := range Formats() {
		err := ExportTo(ctx, store, those(format), filepath.Join(dir, "x"), format, func(int64) { cancel() })
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", format, err)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("%v, %v", left, err)
	}
	if err := ExportTo(t.Context(), store, names(), "/dev/full", OCIArchive, nil); err == nil || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("/dev/full: %v", err)
	}
}
