package archive

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/image"
)

func newStore(t testing.TB) *image.Store {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("unpacking a layer needs root: owners, devices, trusted attributes")
	}
	dir := t.TempDir()
	if err := unix.Setxattr(dir, "trusted.test", []byte("y"), 0); err != nil {
		t.Skipf("%s has no trusted attributes: %v", dir, err)
	}
	return image.Open(dir)
}

func storeRoot(s *image.Store) string { return filepath.Dir(s.OCI()) }

// entries are an archive in the making.
type entries []tar.Header

func (e *entries) file(name string, data []byte) {
	*e = append(*e, tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(data)), Mode: 0o644, Linkname: string(data)})
}

func (e *entries) link(kind byte, name, target string) {
	*e = append(*e, tar.Header{Typeflag: kind, Name: name, Linkname: target, Mode: 0o777})
}

func (e *entries) json(t testing.TB, name string, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	e.file(name, data)
	return data
}

func (e entries) tar(t testing.TB) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, hdr := range e {
		content := ""
		if hdr.Typeflag == tar.TypeReg {
			content, hdr.Linkname = hdr.Linkname, ""
		}
		if err := w.WriteHeader(&hdr); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// layerOf is the tar of a layer with one file.
func layerOf(t testing.TB, text string) []byte {
	t.Helper()
	var e entries
	e.file("text", []byte(text))
	return e.tar(t)
}

func gzipped(t testing.TB, data []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func zstandard(t testing.TB, data []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll(data, nil)
}

func configOf(layers ...[]byte) image.ConfigFile {
	created := time.Unix(1_700_000_000, 0).UTC()
	c := image.ConfigFile{Created: &created, OS: "linux", Architecture: runtime.GOARCH, RootFS: image.RootFS{Type: "layers"}}
	for _, l := range layers {
		c.RootFS.DiffIDs = append(c.RootFS.DiffIDs, image.DigestOf(l))
	}
	return c
}

// blob adds a blob to a layout.
func (e *entries) blob(mediaType string, data []byte) image.Descriptor {
	digest := image.DigestOf(data)
	if !slices.ContainsFunc(*e, func(h tar.Header) bool { return h.Name == blobPath(digest) }) {
		e.file(blobPath(digest), data)
	}
	return image.Descriptor{MediaType: mediaType, Digest: digest, Size: int64(len(data))}
}

func (e *entries) jsonBlob(t testing.TB, mediaType string, v any) image.Descriptor {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return e.blob(mediaType, data)
}

// image adds an image of gzip layers to a layout.
func (e *entries) image(t testing.TB, layers ...[]byte) image.Descriptor {
	t.Helper()
	m := image.Manifest{SchemaVersion: 2, MediaType: image.MediaTypeManifest, Config: e.jsonBlob(t, image.MediaTypeConfig, configOf(layers...))}
	for _, l := range layers {
		m.Layers = append(m.Layers, e.blob(image.MediaTypeLayerGzip, gzipped(t, l)))
	}
	return e.jsonBlob(t, image.MediaTypeManifest, m)
}

func (e *entries) index(t testing.TB, images ...image.Descriptor) {
	t.Helper()
	e.json(t, "index.json", layoutIndex{SchemaVersion: 2, MediaType: image.MediaTypeIndex, Manifests: images})
	e.file("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
}

// layoutWith is an OCI archive of one image.
func layoutWith(t testing.TB, name string, layers ...[]byte) entries {
	t.Helper()
	var e entries
	e.index(t, e.image(t, layers...).Named(name))
	return e
}

// dockerWith is what "docker save" wrote before version 25: the second image shares
// its lower layer with the first, by a symbolic link.
func dockerWith(t testing.TB) entries {
	t.Helper()
	lower, upper := layerOf(t, "lower"), layerOf(t, "upper")
	id := func(n byte) string { return string(bytes.Repeat([]byte{n}, 64)) }
	var e entries
	e.file(id('a')+"/VERSION", []byte("1.0"))
	e.file(id('a')+"/json", []byte("{}"))
	e.file(id('a')+"/layer.tar", lower)
	e.link(tar.TypeSymlink, id('b')+"/layer.tar", "../"+id('a')+"/layer.tar")
	e.file(id('c')+"/layer.tar", upper)
	var list []savedImage
	for _, i := range []struct {
		tags   []string
		layers [][]byte
		paths  []string
	}{
		{[]string{"web:1.0", "web:latest"}, [][]byte{lower}, []string{id('a') + "/layer.tar"}},
		{[]string{"example.com/db:2"}, [][]byte{lower, upper}, []string{id('b') + "/layer.tar", id('c') + "/layer.tar"}},
	} {
		data, err := json.Marshal(configOf(i.layers...))
		if err != nil {
			t.Fatal(err)
		}
		name := hexOf(image.DigestOf(data)) + ".json"
		e.file(name, data)
		list = append(list, savedImage{Config: name, RepoTags: i.tags, Layers: i.paths})
	}
	e.json(t, savedName, list)
	return e
}

// write puts an archive into a file.
func write(t testing.TB, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "archive")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// unpacked writes an archive's entries into a directory.
func (e entries) unpacked(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for _, hdr := range e {
		path := filepath.Join(dir, hdr.Name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(hdr.Linkname), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func namesOf(images []*image.Image) (names []string) {
	for _, i := range images {
		names = append(names, i.Reference)
	}
	return names
}

// texts are what the layers of an image hold.
func texts(t testing.TB, store *image.Store, ref string) []string {
	t.Helper()
	img, err := store.Resolve(ref)
	if err != nil {
		t.Fatal(err)
	}
	list := []string{}
	for _, dir := range img.Layers {
		data, err := os.ReadFile(filepath.Join(dir, "text"))
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, string(data))
	}
	return list
}

// assertEmpty asserts that a store holds no image and no part of one.
func assertEmpty(t testing.TB, store *image.Store) {
	t.Helper()
	if list, err := store.List(); err != nil || len(list) > 0 {
		t.Errorf("the store has %v, %v", list, err)
	}
	marks := map[string]bool{"oci-layout": true, "index.json": true, ".lock": true}
	err := filepath.WalkDir(storeRoot(store), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !marks[d.Name()] && (!d.IsDir() || d.Name()[0] == '.') {
			err = fmt.Errorf("%s is left", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func digestsOf(t testing.TB, store *image.Store) map[string]string {
	t.Helper()
	list, err := store.List()
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]string{}
	for _, i := range list {
		m[i.Reference] = i.Digest
	}
	return m
}

func sameDigests(t testing.TB, a, b *image.Store) {
	t.Helper()
	if x, y := digestsOf(t, a), digestsOf(t, b); !maps.Equal(x, y) {
		t.Errorf("%v became %v", x, y)
	}
}

func gunzipped(t testing.TB, data []byte) []byte {
	t.Helper()
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return plain
}
