package archive

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/image"
)

// fileTime has a fraction: a PAX header keeps it.
func fileTime() time.Time { return time.Unix(1_500_000_000, 123_456_789) }

func (e *entries) add(hdr tar.Header) {
	hdr.ModTime, hdr.Format = fileTime(), tar.FormatPAX
	*e = append(*e, hdr)
}

// treeStock is a store with tree:1, whose upper layer hides, replaces and adds.
func treeStock(t testing.TB) *image.Store {
	t.Helper()
	attrs := map[string]string{"SCHILY.xattr.user.kept": "value"}
	var lower, upper, e entries
	lower.add(tar.Header{Typeflag: tar.TypeDir, Name: "./", Mode: 0o711, Uid: 1, Gid: 2})
	lower.add(tar.Header{Typeflag: tar.TypeDir, Name: "./both/", Mode: 0o755})
	lower.add(tar.Header{Typeflag: tar.TypeReg, Name: "./both/gone", Size: 4, Linkname: "gone", Mode: 0o644})
	lower.add(tar.Header{Typeflag: tar.TypeReg, Name: "./both/kept", Size: 4, Linkname: "kept", Mode: 0o4711, Uid: 1000, Gid: 65535, PAXRecords: attrs})
	lower.add(tar.Header{Typeflag: tar.TypeLink, Name: "./both/same", Linkname: "./both/kept"})
	lower.add(tar.Header{Typeflag: tar.TypeReg, Name: "./both/turned", Size: 5, Linkname: "lower", Mode: 0o600})
	lower.add(tar.Header{Typeflag: tar.TypeChar, Name: "./null", Mode: 0o666, Devmajor: 1, Devminor: 3})
	lower.add(tar.Header{Typeflag: tar.TypeDir, Name: "./opaque/", Mode: 0o755})
	lower.add(tar.Header{Typeflag: tar.TypeReg, Name: "./opaque/hidden", Size: 1, Linkname: "x", Mode: 0o644})
	lower.add(tar.Header{Typeflag: tar.TypeDir, Name: "./removed/", Mode: 0o755})
	lower.add(tar.Header{Typeflag: tar.TypeReg, Name: "./removed/file", Size: 1, Linkname: "x", Mode: 0o644})
	upper.add(tar.Header{Typeflag: tar.TypeDir, Name: "./", Mode: 0o711, Uid: 1, Gid: 2})
	upper.add(tar.Header{Typeflag: tar.TypeReg, Name: "./.wh.removed"})
	upper.add(tar.Header{Typeflag: tar.TypeDir, Name: "./both/", Mode: 0o2750, Gid: 5})
	upper.add(tar.Header{Typeflag: tar.TypeReg, Name: "./both/.wh.gone"})
	upper.add(tar.Header{Typeflag: tar.TypeSymlink, Name: "./both/turned", Linkname: "../null", Mode: 0o777})
	upper.add(tar.Header{Typeflag: tar.TypeFifo, Name: "./fifo", Mode: 0o620})
	upper.add(tar.Header{Typeflag: tar.TypeDir, Name: "./opaque/", Mode: 0o755})
	upper.add(tar.Header{Typeflag: tar.TypeReg, Name: "./opaque/.wh..wh..opq"})
	upper.add(tar.Header{Typeflag: tar.TypeReg, Name: "./opaque/" + strings.Repeat("n", 200), Size: 5, Linkname: "upper", Mode: 0o644})
	e.index(t, e.image(t, lower.tar(t), upper.tar(t)).Named("tree:1"))
	store := newStore(t)
	if _, err := Import(t.Context(), store, write(t, e.tar(t)), "", Options{}); err != nil {
		t.Fatal(err)
	}
	return store
}

// wantTree is what overlayfs shows of tree:1: a hard link has the time, owner and mode
// of the file that it is another name of.
func wantTree() map[string]string {
	return map[string]string{
		".":                                  "directory 711 1:2",
		"both":                               "directory 2750 0:5",
		"both/kept":                          "file 4711 1000:65535 kept user.kept=value",
		"both/same":                          "file 4711 1000:65535 kept user.kept=value",
		"both/turned":                        "link 777 0:0 ../null",
		"fifo":                               "fifo 620 0:0",
		"null":                               "device 666 0:0 1:3",
		"opaque":                             "directory 755 0:0",
		"opaque/" + strings.Repeat("n", 200): "file 644 0:0 upper",
	}
}

// treeOfTar says in words what a tar has; links are what they are links to.
func treeOfTar(t testing.TB, data []byte) map[string]string {
	t.Helper()
	tree := map[string]string{}
	for r := tar.NewReader(bytes.NewReader(data)); ; {
		hdr, err := r.Next()
		if err == io.EOF {
			return tree
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Clean(hdr.Name)
		kind, rest := "", ""
		switch hdr.Typeflag {
		case tar.TypeDir:
			kind = "directory"
		case tar.TypeReg:
			kind, rest = "file", " "+string(content)
		case tar.TypeLink:
			tree[name] = tree[filepath.Clean(hdr.Linkname)]
			continue
		case tar.TypeSymlink:
			kind, rest = "link", " "+hdr.Linkname
		case tar.TypeFifo:
			kind = "fifo"
		case tar.TypeChar:
			kind, rest = "device", fmt.Sprintf(" %d:%d", hdr.Devmajor, hdr.Devminor)
		}
		for key, value := range hdr.PAXRecords {
			if attr, ok := strings.CutPrefix(key, "SCHILY.xattr."); ok {
				rest += " " + attr + "=" + value
			}
		}
		tree[name] = fmt.Sprintf("%s %o %d:%d%s", kind, hdr.Mode, hdr.Uid, hdr.Gid, rest)
		if !hdr.ModTime.Equal(fileTime()) {
			t.Errorf("%s is of %v", name, hdr.ModTime)
		}
	}
}

// treeOfDir says the same of a directory.
func treeOfDir(t testing.TB, dir string) map[string]string {
	t.Helper()
	tree := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		kind, rest := "", ""
		switch d.Type() {
		case fs.ModeDir:
			kind = "directory"
		case 0:
			content, readErr := os.ReadFile(path)
			kind, rest, err = "file", " "+string(content), errors.Join(err, readErr)
		case fs.ModeSymlink:
			target, readErr := os.Readlink(path)
			kind, rest, err = "link", " "+target, errors.Join(err, readErr)
		case fs.ModeNamedPipe:
			kind = "fifo"
		case fs.ModeDevice | fs.ModeCharDevice:
			kind, rest = "device", fmt.Sprintf(" %d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
		}
		list, value := make([]byte, 1024), make([]byte, 1024)
		if n, listErr := unix.Llistxattr(path, list); listErr == nil && n > 0 {
			for attr := range strings.SplitSeq(strings.TrimSuffix(string(list[:n]), "\x00"), "\x00") {
				n, getErr := unix.Lgetxattr(path, attr, value)
				err = errors.Join(err, getErr)
				rest += " " + attr + "=" + string(value[:max(n, 0)])
			}
		}
		tree[name] = fmt.Sprintf("%s %o %d:%d%s", kind, st.Mode&0o7777, st.Uid, st.Gid, rest)
		if mtime := time.Unix(st.Mtim.Unix()); !mtime.Equal(fileTime()) {
			t.Errorf("%s is of %v", name, mtime)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func assertTree(t testing.TB, what string, got map[string]string) {
	t.Helper()
	if want := wantTree(); !maps.Equal(got, want) {
		for _, name := range slices.Sorted(maps.Keys(got)) {
			if got[name] != want[name] {
				t.Errorf("%s: %s is %q, want %q", what, name, got[name], want[name])
			}
			delete(want, name)
		}
		for name := range want {
			t.Errorf("%s: there is no %s", what, name)
		}
	}
}

// Both forms are the tree that a container begins with, and an image made of either
// gives the same bytes again.
func TestExportTree(t *testing.T) {
	store := treeStock(t)
	archive := exportTar(t, store, Tar, "tree:1")
	assertTree(t, "tar", treeOfTar(t, archive))
	dir := filepath.Join(t.TempDir(), "tree")
	if err := ExportTo(t.Context(), store, []string{"tree:1"}, dir, Dir, nil); err != nil {
		t.Fatal(err)
	}
	assertTree(t, "dir", treeOfDir(t, dir))
	var kept, same unix.Stat_t
	if err := errors.Join(unix.Stat(filepath.Join(dir, "both/kept"), &kept), unix.Stat(filepath.Join(dir, "both/same"), &same)); err != nil || kept.Ino != same.Ino {
		t.Errorf("the hard link is a copy: %d, %d, %v", kept.Ino, same.Ino, err)
	}
	for what, source := range map[string]string{"tar": write(t, archive), "dir": dir} {
		again := newStore(t)
		if _, err := Import(t.Context(), again, source, "tree:1", Options{}); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if !bytes.Equal(exportTar(t, again, Tar, "tree:1"), archive) {
			t.Errorf("%s: what was imported again gives other bytes", what)
		}
	}
}

// An image without layers is an empty tree, which an own directory is all of.
func TestExportTreeOfNothing(t *testing.T) {
	store := newStore(t)
	if _, err := Import(t.Context(), store, write(t, layoutWith(t, "none:1").tar(t)), "", Options{}); err != nil {
		t.Fatal(err)
	}
	if got := treeOfNothing(t, exportTar(t, store, Tar, "none:1")); got != "./ 755" {
		t.Errorf("tar: %s", got)
	}
	dir := filepath.Join(t.TempDir(), "tree")
	err := ExportTo(t.Context(), store, []string{"none:1"}, dir, Dir, nil)
	if left, readErr := os.ReadDir(dir); err != nil || readErr != nil || len(left) > 0 {
		t.Errorf("dir: %v, %v, %v", err, readErr, left)
	}
}

func treeOfNothing(t testing.TB, data []byte) string {
	t.Helper()
	var list []string
	for r := tar.NewReader(bytes.NewReader(data)); ; {
		hdr, err := r.Next()
		if err == io.EOF {
			return strings.Join(list, ", ")
		}
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, fmt.Sprintf("%s %o", hdr.Name, hdr.Mode))
	}
}

// A tree is of one image; what was in the way of it stays as it was.
func TestExportTreeRefusals(t *testing.T) {
	store, dir := treeStock(t), t.TempDir()
	if _, err := store.Tag("tree:1", "tree:2"); err != nil {
		t.Fatal(err)
	}
	full := filepath.Join(dir, "full")
	if err := errors.Join(os.Mkdir(full, 0o700), os.WriteFile(filepath.Join(full, "x"), []byte("old"), 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		refs   []string
		path   string
		format Format
		want   string
	}{
		{[]string{"tree:1", "tree:2"}, "new", Tar, "one image, not of 2"},
		{[]string{"tree:1", "tree:2"}, "new", Dir, "one image, not of 2"},
		{[]string{"none"}, "new", Tar, "no such image"},
		{[]string{"none"}, "new", Dir, "no such image"},
		{[]string{"tree:1"}, "full", Dir, "not empty"},
		{[]string{"tree:1"}, "full", Tar, "is a directory"},
		{[]string{"tree:1"}, "full/x", Dir, "not a directory"},
		{[]string{"tree:1"}, "none/new", Dir, "no such file"},
	} {
		err := ExportTo(t.Context(), store, tt.refs, filepath.Join(dir, tt.path), tt.format, nil)
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), tt.path) {
			t.Errorf("%+v: %v", tt, err)
		}
	}
	left, err := os.ReadDir(dir)
	data, readErr := os.ReadFile(filepath.Join(full, "x"))
	if err != nil || readErr != nil || len(left) != 1 || string(data) != "old" {
		t.Errorf("%v, %q: %v, %v", left, data, err, readErr)
	}
}
