package registry

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/image"
	"github.com/cocker/cocker/image/transfer"
)

// needRoot returns a directory for a store: unpacking keeps owners.
func needRoot(t testing.TB) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("layers are unpacked with their owners, which needs root: run this test as root")
	}
	return t.TempDir()
}

// server is a registry on 127.0.0.1 that can be made to misbehave: wrap sees each
// request first and says whether it has answered it.
type server struct {
	*httptest.Server

	mu       sync.Mutex
	wrap     func(w http.ResponseWriter, r *http.Request) bool
	requests []string
}

func newServer(t testing.TB) *server {
	t.Helper()
	s := &server{}
	s.Server = httptest.NewServer(s.handler())
	t.Cleanup(s.Close)
	return s
}

func (s *server) handler() http.Handler {
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.requests = append(s.requests, r.Method+" "+r.URL.Path)
		wrap := s.wrap
		s.mu.Unlock()
		if wrap == nil || !wrap(w, r) {
			inner.ServeHTTP(w, r)
		}
	})
}

func (s *server) misbehave(wrap func(w http.ResponseWriter, r *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wrap, s.requests = wrap, nil
}

// asked counts the requests that hold a text.
func (s *server) asked(text string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.requests {
		if strings.Contains(r, text) {
			n++
		}
	}
	return n
}

func (s *server) host() string {
	return strings.TrimPrefix(strings.TrimPrefix(s.URL, "http://"), "https://")
}

// put uploads by hand: what is wrong with it is the test's business.
func (s *server) put(t testing.TB, path, contentType string, data []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, s.URL+path, bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	resp, err := s.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		text, _ := io.ReadAll(resp.Body)
		t.Fatalf("PUT %s: %s %s", path, resp.Status, text)
	}
}

func (s *server) putBlob(t testing.TB, repo, mediaType string, data []byte) image.Descriptor {
	t.Helper()
	d := image.Descriptor{MediaType: mediaType, Digest: image.DigestOf(data), Size: int64(len(data))}
	s.put(t, "/v2/"+repo+"/blobs/uploads/1?digest="+d.Digest, "application/octet-stream", data)
	return d
}

func (s *server) putJSON(t testing.TB, repo, tag, mediaType string, document any) image.Descriptor {
	t.Helper()
	data, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	s.put(t, "/v2/"+repo+"/manifests/"+tag, mediaType, data)
	return image.Descriptor{MediaType: mediaType, Digest: image.DigestOf(data), Size: int64(len(data))}
}

// testLayer is one layer of an image to be made.
type testLayer struct {
	mediaType string
	plain     []byte // the tar
	packed    []byte
}

func layerOf(t testing.TB, files map[string]string, mediaType string) testLayer {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for name, text := range files {
		err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text)), Typeflag: tar.TypeReg})
		if err == nil {
			_, err = io.WriteString(w, text)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return testLayer{mediaType, buf.Bytes(), pack(t, buf.Bytes(), mediaType)}
}

func pack(t testing.TB, data []byte, mediaType string) []byte {
	t.Helper()
	var buf bytes.Buffer
	var w io.WriteCloser
	var err error
	switch {
	case strings.HasSuffix(mediaType, "zstd"):
		w, err = zstd.NewWriter(&buf)
	case strings.HasSuffix(mediaType, "gzip"):
		w = gzip.NewWriter(&buf)
	default:
		return data
	}
	if err == nil {
		_, err = w.Write(data)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// putImage uploads an image for a platform and returns its manifest's descriptor.
func (s *server) putImage(t testing.TB, repo, tag string, docker bool, platform string, layers ...testLayer) image.Descriptor {
	t.Helper()
	m := image.Manifest{SchemaVersion: 2, MediaType: image.MediaTypeManifest}
	configType := image.MediaTypeConfig
	if docker {
		m.MediaType, configType = string(types.DockerManifestSchema2), string(types.DockerConfigJSON)
	}
	p, err := transfer.ParsePlatform(platform)
	if err != nil {
		t.Fatal(err)
	}
	file := image.ConfigFile{OS: "linux", Architecture: p.Architecture, Variant: p.Variant, RootFS: image.RootFS{Type: "layers"},
		Config: image.RunConfig{Cmd: []string{"true"}}}
	for _, l := range layers {
		file.RootFS.DiffIDs = append(file.RootFS.DiffIDs, image.DigestOf(l.plain))
		m.Layers = append(m.Layers, s.putBlob(t, repo, l.mediaType, l.packed))
	}
	data, err := json.Marshal(file)
	if err != nil {
		t.Fatal(err)
	}
	m.Config = s.putBlob(t, repo, configType, data)
	d := s.putJSON(t, repo, tag, m.MediaType, m)
	d.Platform = &image.Platform{OS: "linux", Architecture: p.Architecture, Variant: p.Variant}
	return d
}

// newClient is a client that does not wait, and notes what it is told.
func newClient(t testing.TB, r *config.Registries, files ...string) (*Client, *events) {
	t.Helper()
	e := &events{}
	c := New(Config{Registries: r, AuthFiles: append([]string{filepath.Join(t.TempDir(), "none")}, files...), Version: "test", Progress: e.add})
	c.patience.wait = func(ctx context.Context, d time.Duration) error {
		e.waited(d)
		return context.Cause(ctx)
	}
	c.backoff.Duration = time.Nanosecond
	return c, e
}

type events struct {
	mu    sync.Mutex
	all   []Event
	waits []time.Duration
}

func (e *events) add(v Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, v)
}

func (e *events) waited(d time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.waits = append(e.waits, d)
}

func (e *events) count(k Kind) (n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, v := range e.all {
		if v.Kind == k {
			n++
		}
	}
	return n
}

func (e *events) notes() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var texts []string
	for _, v := range e.all {
		if v.Kind == Note {
			texts = append(texts, v.Text)
		}
	}
	return strings.Join(texts, "\n")
}

// wantClean asserts that a store has so many images and nothing half done.
func wantClean(t testing.TB, store *image.Store, images int) {
	t.Helper()
	list, err := store.List()
	if err != nil || len(list) != images {
		t.Errorf("%d images, %v; want %d", len(list), err, images)
	}
	for _, i := range list {
		if i.Problem != nil {
			t.Errorf("%s: %v", i.Reference, i.Problem)
		}
	}
	root := filepath.Dir(store.OCI())
	for _, pattern := range []string{"oci/.staging*", "layers/.staging*", "oci/*.tmp"} {
		if left, _ := filepath.Glob(filepath.Join(root, pattern)); len(left) > 0 {
			t.Errorf("left over: %q", left)
		}
	}
	if images > 0 {
		return
	}
	for _, pattern := range []string{"oci/blobs/sha256/*", "layers/sha256/*"} {
		if left, _ := filepath.Glob(filepath.Join(root, pattern)); len(left) > 0 {
			t.Errorf("left over: %q", left)
		}
	}
}

func wantFile(t testing.TB, img *image.Image, layer int, name, text string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(img.Layers[layer], name))
	if err != nil || string(data) != text {
		t.Errorf("%s of layer %d: %.40q, %v; want %.40q", name, layer, data, err, text)
	}
}
