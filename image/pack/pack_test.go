package pack

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/image/unpack"
)

func ignore(string) {}

func entries(t *testing.T, dir string) []string {
	t.Helper()
	var buf bytes.Buffer
	if err := Dir(t.Context(), &buf, dir, ignore); err != nil {
		t.Fatal(err)
	}
	var names []string
	for r := tar.NewReader(&buf); ; {
		h, err := r.Next()
		if err == io.EOF {
			return names
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, fmt.Sprintf("%c %s", h.Typeflag, h.Name))
	}
}

func makeFiles(t *testing.T, dir string, names ...string) {
	t.Helper()
	for _, name := range names {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(name), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSortedWalk(t *testing.T) {
	dir := t.TempDir()
	makeFiles(t, dir, "b", "a/z", "a/B", "a.txt", "c/d/e")
	want := []string{"5 ./", "5 ./a/", "0 ./a/B", "0 ./a/z", "0 ./a.txt", "0 ./b", "5 ./c/", "5 ./c/d/", "0 ./c/d/e"}
	if got := entries(t, dir); !slices.Equal(got, want) {
		t.Errorf("entries:\n%q\nwant:\n%q", got, want)
	}
}

func TestCancelled(t *testing.T) {
	dir := t.TempDir()
	makeFiles(t, dir, "a")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Dir(ctx, io.Discard, dir, ignore); !errors.Is(err, context.Canceled) {
		t.Errorf("Dir: %v", err)
	}
}

func TestBadDirectory(t *testing.T) {
	dir := t.TempDir()
	makeFiles(t, dir, "a", "w/.wh.x")
	for _, path := range []string{filepath.Join(dir, "none"), filepath.Join(dir, "a"), dir} {
		if err := Dir(t.Context(), io.Discard, path, ignore); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("Dir(%s): %v; want an error with the path", path, err)
		}
	}
}

func needRoot(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("whiteouts need root")
	}
	dir := t.TempDir()
	if err := unix.Setxattr(dir, "trusted.test", []byte("y"), 0); err != nil {
		t.Skipf("%s has no trusted attributes: %v", dir, err)
	}
	return dir
}

// What overlayfs writes into its upper directory becomes the whiteouts of the OCI
// format, and back; and the kernel agrees about what they mean.
func TestOverlayUpper(t *testing.T) {
	work := needRoot(t)
	path := func(name string) string { return filepath.Join(work, name) }
	makeFiles(t, work, "lower/keep", "lower/gone", "lower/dir/old", "lower/again/old")
	for _, d := range []string{"upper", "work", "mnt", "copy"} {
		if err := os.Mkdir(path(d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	const script = `cd "$0" && mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work none mnt &&
		rm -r mnt/gone mnt/dir mnt/again && mkdir mnt/again && echo new >mnt/again/new`
	inNamespace(t, script, work)
	got := entries(t, path("upper"))
	want := []string{"5 ./", "5 ./again/", "0 ./again/.wh..wh..opq", "0 ./again/new", "0 ./.wh.dir", "0 ./.wh.gone"}
	if !slices.Equal(got, want) {
		t.Errorf("entries:\n%q\nwant:\n%q", got, want)
	}
	var buf bytes.Buffer
	if err := Dir(t.Context(), &buf, path("upper"), ignore); err != nil {
		t.Fatal(err)
	}
	if _, err := unpack.Tar(path("copy"), &buf, unpack.Options{}); err != nil {
		t.Fatal(err)
	}
	seen := inNamespace(t, `cd "$0" && mount -t overlay -o lowerdir=copy:lower none mnt && cd mnt && find . | sort`, work)
	if want := ".\n./again\n./again/new\n./keep\n"; seen != want {
		t.Errorf("seen through overlayfs:\n%swant:\n%s", seen, want)
	}
}

// inNamespace runs a shell script in a mount namespace of its own.
func inNamespace(t *testing.T, script, dir string) string {
	t.Helper()
	if _, err := exec.LookPath("unshare"); err != nil {
		t.Skip(err)
	}
	out, err := exec.Command("unshare", "-m", "sh", "-c", script, dir).CombinedOutput()
	if err != nil && strings.Contains(string(out), "unknown filesystem") {
		t.Skipf("no overlayfs: %s", out)
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

// A tree as systemd-nspawn --private-users=pick chowns it.
func TestShiftedTree(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("chown needs root")
	}
	dir := t.TempDir()
	makeFiles(t, dir, "app", "root", "stray")
	const base = 0x7FFE0000 / 2 &^ 0xFFFF
	for name, id := range map[string]int{".": base, "app": base + 1000, "root": base, "stray": 7} {
		if err := os.Lchown(filepath.Join(dir, name), id, id); err != nil {
			t.Fatal(err)
		}
	}
	var buf bytes.Buffer
	var notes []string
	if err := Dir(t.Context(), &buf, dir, func(text string) { notes = append(notes, text) }); err != nil {
		t.Fatal(err)
	}
	want := map[string]int{"./": 0, "./app": 1000, "./root": 0, "./stray": 65534}
	for r := tar.NewReader(&buf); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != want[h.Name] || h.Gid != want[h.Name] {
			t.Errorf("%s belongs to %d:%d, want %d", h.Name, h.Uid, h.Gid, want[h.Name])
		}
	}
	if len(notes) != 1 || !strings.Contains(notes[0], fmt.Sprint(base)) {
		t.Errorf("notes: %q", notes)
	}
}
