package importer

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/image"
)

func needRoot(t testing.TB) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("unpacking a layer needs root: owners, devices, trusted attributes")
	}
	dir := t.TempDir()
	if err := unix.Setxattr(dir, "trusted.test", []byte("y"), 0); err != nil {
		t.Skipf("%s has no trusted attributes: %v", dir, err)
	}
	return dir
}

func needTool(t testing.TB, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("needs %s: %v", name, err)
	}
}

func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	needTool(t, name)
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

func TestRoundTrip(t *testing.T) {
	work := needRoot(t)
	tree := filepath.Join(work, "tree")
	if err := os.Mkdir(tree, 0o750); err != nil {
		t.Fatal(err)
	}
	makeTree(t, tree)
	want := snapshot(t, tree)
	socket := filepath.Join(tree, "socket")
	if err := errors.Join(unix.Mknod(socket, unix.S_IFSOCK|0o600, 0), setMtime(tree, 5)); err != nil {
		t.Fatal(err)
	}
	var notes []string
	opts := Options{Note: func(text string) { notes = append(notes, text) }}
	store := image.Open(filepath.Join(work, "store"))
	first, err := Import(t.Context(), store, tree, "base:1.0", opts)
	if err != nil {
		t.Fatal(err)
	}
	if len(notes) != 1 || !strings.Contains(notes[0], "socket") {
		t.Errorf("notes: %q; want one, about the socket", notes)
	}
	compare(t, snapshot(t, first.Layers[0]), want)
	// The unpacked layer is itself a directory that gives the very same layer.
	second, err := Import(t.Context(), store, first.Layers[0], "again", Options{})
	if err != nil {
		t.Fatal(err)
	}
	if second.DiffIDs[0] != first.DiffIDs[0] || second.Reference != "again:latest" {
		t.Errorf("second import: %s %s; want the diff id of the first, %s", second.Reference, second.DiffIDs[0], first.DiffIDs[0])
	}
}

func TestGNUTar(t *testing.T) {
	needTool(t, "tar")
	work := needRoot(t)
	tree := filepath.Join(work, "tree")
	if err := os.Mkdir(tree, 0o750); err != nil {
		t.Fatal(err)
	}
	makeTree(t, tree)
	want := snapshot(t, tree)
	tests := []struct {
		name   string
		flags  []string
		filter string
		exact  bool // the format keeps nanoseconds and attributes
	}{
		{"posix", []string{"--format=posix", "--xattrs", "--xattrs-include=*"}, "", true},
		{"posix sparse", []string{"--format=posix", "--sparse", "--xattrs", "--xattrs-include=*"}, "", true},
		{"posix gzip", []string{"--format=posix", "--xattrs", "--xattrs-include=*"}, "gzip", true},
		{"posix zstd", []string{"--format=posix", "--xattrs", "--xattrs-include=*"}, "zstd", true},
		{"posix xz", []string{"--format=posix", "--xattrs", "--xattrs-include=*"}, "xz", true},
		{"posix bzip2", []string{"--format=posix", "--xattrs", "--xattrs-include=*"}, "bzip2", true},
		{"gnu sparse", []string{"--format=gnu", "--sparse"}, "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			archive := filepath.Join(t.TempDir(), "a.tar")
			if tt.filter != "" {
				needTool(t, tt.filter)
				tt.flags = append(tt.flags, "--use-compress-program="+tt.filter)
			}
			run(t, "tar", append(tt.flags, "--sort=name", "-C", tree, "-cf", archive, ".")...)
			img, err := Import(t.Context(), image.Open(filepath.Join(t.TempDir(), "s")), archive, "a:1", Options{})
			if err != nil {
				t.Fatal(err)
			}
			if tt.exact {
				compare(t, snapshot(t, img.Layers[0]), want)
			} else if n := strings.Count(snapshot(t, img.Layers[0]), "\n"); n != strings.Count(want, "\n") {
				t.Errorf("%d entries; want as many as in the tree", n)
			}
		})
	}
}

// Other tools must be able to use the layout: skopeo reads it, and the layer blob
// it copies out unpacks to the same tree.
func TestSkopeo(t *testing.T) {
	needTool(t, "skopeo")
	work := needRoot(t)
	tree := filepath.Join(work, "tree")
	if err := os.Mkdir(tree, 0o755); err != nil {
		t.Fatal(err)
	}
	makeTree(t, tree)
	store := image.Open(filepath.Join(work, "store"))
	for _, ref := range []string{"base:1.0", "r.example.com/x/web:1.27"} {
		img, err := Import(t.Context(), store, tree, ref, Options{Command: []string{"sh"}, ExposedPorts: []string{"80"}})
		if err != nil {
			t.Fatal(err)
		}
		out := run(t, "skopeo", "inspect", "oci:"+store.OCI()+":"+ref)
		if !strings.Contains(out, img.Digest) {
			t.Errorf("skopeo inspect: no digest %s in %s", img.Digest, out)
		}
		run(t, "skopeo", "copy", "--insecure-policy", "oci:"+store.OCI()+":"+ref, "dir:"+filepath.Join(work, "out"))
	}
	// And the other way: what skopeo adds is listed, and known to lack its layers.
	if err := os.Mkdir(filepath.Join(work, "other"), 0o700); err != nil {
		t.Fatal(err)
	}
	run(t, "skopeo", "copy", "--insecure-policy", "dir:"+filepath.Join(work, "out"), "oci:"+filepath.Join(work, "other", "oci")+":c:1")
	if _, err := image.Open(filepath.Join(work, "other")).Resolve("c:1"); !errors.Is(err, image.ErrIncomplete) {
		t.Errorf("Resolve: %v; want ErrIncomplete", err)
	}
}

func TestOptions(t *testing.T) {
	work := needRoot(t)
	if err := os.WriteFile(filepath.Join(work, "f"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	store := image.Open(filepath.Join(t.TempDir(), "store"))
	opts := Options{
		Entrypoint: []string{"/e"}, Command: []string{"c"}, Environment: []string{"A=b"}, WorkDir: "/w", User: "u:g",
		StopSignal: "SIGINT", ExposedPorts: []string{"80", "53/udp"}, Labels: map[string]string{"l": "v"},
	}
	img, err := Import(t.Context(), store, work, "a:1", opts)
	if err != nil {
		t.Fatal(err)
	}
	c := img.Config
	got := strings.Join([]string{c.Entrypoint[0], c.Command[0], c.Environment[0], c.WorkDir, c.User, c.StopSignal, strings.Join(c.ExposedPorts, ","), c.Labels["l"]}, " ")
	if want := "/e c A=b /w u:g SIGINT 53/udp,80/tcp v"; got != want || img.Created.Unix() != 1700000000 {
		t.Errorf("config %q, created %v; want %q", got, img.Created, want)
	}
	again, err := Import(t.Context(), store, work, "b:1", opts)
	if err != nil || again.Digest != img.Digest {
		t.Errorf("the same import again: %+v, %v; want the same digest", again, err)
	}
	for _, bad := range []Options{
		{Environment: []string{"x"}}, {Environment: []string{"=x"}}, {WorkDir: "w"},
		{ExposedPorts: []string{"0"}}, {ExposedPorts: []string{"80/icmp"}}, {ExposedPorts: []string{"65536"}},
	} {
		if _, err := Import(t.Context(), store, work, "c:1", bad); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
}

func TestStdin(t *testing.T) {
	work := needRoot(t)
	data := smallTar(t)
	store := image.Open(filepath.Join(work, "store"))
	var last int64
	opts := Options{Stdin: bytes.NewReader(data), Progress: func(n int64) { last = n }}
	img, err := Import(t.Context(), store, "-", "a:1", opts)
	if err != nil {
		t.Fatal(err)
	}
	if img.DiffIDs[0] != image.DigestOf(data) || last != int64(len(data)) {
		t.Errorf("diff id %s, progress %d; want the digest and size of the tar", img.DiffIDs[0], last)
	}
}

func smallTar(t testing.TB) []byte {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "f"), bytes.Repeat([]byte("0123456789abcdef"), 10000), 0o600); err != nil {
		t.Fatal(err)
	}
	needTool(t, "tar")
	out, err := exec.Command("tar", "-C", dir, "-cf", "-", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// blocked is a source that never gives anything, as a terminal.
type blocked struct{ asked chan struct{} }

func (b blocked) Read([]byte) (int, error) {
	close(b.asked)
	select {}
}

func TestCancel(t *testing.T) {
	store := image.Open(needRoot(t))
	ctx, cancel := context.WithCancel(t.Context())
	b := blocked{asked: make(chan struct{})}
	go func() { <-b.asked; cancel() }()
	_, err := Import(ctx, store, "-", "a:1", Options{Stdin: io.MultiReader(bytes.NewReader(smallTar(t)[:50000]), b)})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Import: %v; want context.Canceled", err)
	}
	wantEmpty(t, store)
}

// wantEmpty says that a failed import left nothing.
func wantEmpty(t testing.TB, store *image.Store) {
	t.Helper()
	if list, err := store.List(); err != nil || len(list) != 0 {
		t.Errorf("images: %v, %v; want none", list, err)
	}
	root := filepath.Dir(store.OCI())
	for _, pattern := range []string{"oci/.staging*", "oci/blobs/sha256/*", "layers/.staging*", "layers/sha256/*"} {
		if left, _ := filepath.Glob(filepath.Join(root, pattern)); len(left) > 0 {
			t.Errorf("left over: %q", left)
		}
	}
}

func fixedTime() time.Time { return time.Unix(1700000000, 0) }
