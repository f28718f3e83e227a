package demo

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/image"
	"github.com/cocker/cocker/image/importer"
)

func TestCreate(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("unpacking a layer needs root")
	}
	if _, err := findBusybox("/bin/busybox", "/usr/bin/busybox"); err != nil {
		t.Skip(err)
	}
	store := image.Open(t.TempDir())
	img, err := Create(t.Context(), store, importer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := store.Resolve("demo"); err != nil || got.Digest != img.Digest {
		t.Errorf("Resolve: %+v, %v", got, err)
	}
	root := img.Layers[0]
	modes := map[string]uint32{"tmp": 0o1777, "root": 0o700, "etc/shadow": 0o640, "bin/busybox": 0o755}
	for name, want := range modes {
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join(root, name), &st); err != nil || st.Mode&0o7777 != want {
			t.Errorf("%s: mode %o, %v; want %o", name, st.Mode&0o7777, err, want)
		}
	}
	// The command works where there is nothing but the image.
	for _, command := range [][]string{{"/usr/bin/env", "sh", "-c", "cat /etc/motd"}, {"/bin/" + img.Config.Command[0], "--help"}} {
		out, _ := exec.Command("chroot", append([]string{root}, command...)...).CombinedOutput() // help exits with 1
		if !strings.Contains(string(out), "cocker demo") && !strings.Contains(string(out), "Usage: httpd") {
			t.Errorf("%q: %s", command, out)
		}
	}
}

func TestTreeIsReproducible(t *testing.T) {
	var a, b bytes.Buffer
	for _, w := range []io.Writer{&a, &b} {
		if err := writeTree(w, []byte("busybox"), []string{"httpd", "sh"}); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(a.Bytes(), b.Bytes()) {
		t.Error("two trees of the same busybox differ")
	}
}

func TestFindBusybox(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "busybox")
	if err := os.WriteFile(text, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	dynamic := "/usr/bin/tar"
	tests := []struct {
		name  string
		paths []string
		want  string
	}{
		{"none", []string{filepath.Join(dir, "none")}, "apt-get install busybox-static"},
		{"no program", []string{text}, text},
		{"dynamic", []string{dynamic}, "needs shared libraries"},
	}
	for _, tt := range tests {
		if _, err := os.Stat(tt.paths[0]); err != nil && tt.name == "dynamic" {
			continue
		}
		if _, err := findBusybox(tt.paths...); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v; want %q", tt.name, err, tt.want)
		}
	}
}
