package unpack

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// needRoot skips where layers cannot be unpacked: without root, or on a file
// system (overlayfs, mostly) that has no trusted attributes.
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

// e is an entry with defaults; text is content, or a link's target.
func e(kind byte, name, text string) tar.Header {
	h := tar.Header{Typeflag: kind, Name: name, Mode: 0o644, ModTime: time.Unix(1e9, 0), Format: tar.FormatPAX}
	switch kind {
	case tar.TypeReg:
		h.Size = int64(len(text))
		h.PAXRecords = map[string]string{textRecord: text}
	case tar.TypeDir:
		h.Mode = 0o755
	default:
		h.Linkname = text
	}
	return h
}

func file(name, text string) tar.Header   { return e(tar.TypeReg, name, text) }
func dir(name string) tar.Header          { return e(tar.TypeDir, name, "") }
func symlink(name, to string) tar.Header  { return e(tar.TypeSymlink, name, to) }
func hardlink(name, to string) tar.Header { return e(tar.TypeLink, name, to) }
func device(name string, a, b int64) tar.Header {
	h := e(tar.TypeChar, name, "")
	h.Devmajor, h.Devminor = a, b
	return h
}

const textRecord = "content" // carries a file's content to makeTar

func makeTar(t testing.TB, entries ...tar.Header) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, h := range entries {
		text := h.PAXRecords[textRecord]
		h.PAXRecords = maps.Clone(h.PAXRecords)
		delete(h.PAXRecords, textRecord)
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// tree describes what is below dir: one line for each node, in the order of names.
func listTree(t *testing.T, dir string) string {
	t.Helper()
	var lines []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		line, err := describe(path, rel)
		lines = append(lines, line)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(lines, "\n")
}

func describe(path, rel string) (string, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return "", err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		var v [8]byte
		if n, err := unix.Lgetxattr(path, opaqueAttr, v[:]); err == nil {
			return rel + "/ opaque=" + string(v[:n]), nil
		}
		return rel + "/", nil
	case unix.S_IFLNK:
		to, err := os.Readlink(path)
		return rel + " -> " + to, err
	case unix.S_IFREG:
		text, err := os.ReadFile(path)
		return fmt.Sprintf("%s %q", rel, text), err
	}
	return fmt.Sprintf("%s device %d:%d", rel, unix.Major(uint64(st.Rdev)), unix.Minor(uint64(st.Rdev))), nil
}

func TestTree(t *testing.T) {
	tests := []struct {
		name    string
		entries []tar.Header
		want    string
	}{
		{"implied parents", []tar.Header{file("a/b/c", "x")}, "a/\na/b/\na/b/c \"x\""},
		{"dots and slashes", []tar.Header{dir("./"), dir("./a//"), file("./a/./b", "x")}, "a/\na/b \"x\""},
		{"hard link", []tar.Header{file("a", "x"), hardlink("b", "./a"), file("a", "y")}, "a \"y\"\nb \"x\""},
		{"hard link to itself", []tar.Header{file("a", "x"), hardlink("a", "a")}, `a "x"`},
		{"hard link to a symlink", []tar.Header{symlink("a", "/etc/passwd"), hardlink("b", "a")}, "a -> /etc/passwd\nb -> /etc/passwd"},
		{"global header", []tar.Header{{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "c"}}, file("a", "x")}, `a "x"`},
		// Replacing, as containerd does it.
		{"file over file", []tar.Header{file("a", "long text"), file("a", "x")}, `a "x"`},
		{"directory over directory", []tar.Header{file("a/b", "x"), dir("a"), file("a/c", "y")}, "a/\na/b \"x\"\na/c \"y\""},
		{"file over directory", []tar.Header{file("a/b/c", "x"), file("a", "y")}, `a "y"`},
		{"directory over file", []tar.Header{file("a", "x"), dir("a")}, "a/"},
		{"directory over symlink", []tar.Header{dir("b"), symlink("a", "b"), dir("a"), file("a/x", "y")}, "a/\na/x \"y\"\nb/"},
		{"symlink over directory", []tar.Header{dir("c"), file("a/b", "x"), symlink("a", "c"), file("a/d", "y")}, "a -> c\nc/\nc/d \"y\""},
		{"directory again", []tar.Header{file("a/b", "x"), file("a", "y"), dir("a"), file("a/c", "z")}, "a/\na/c \"z\""},
		{"through a symlink", []tar.Header{dir("usr/lib"), symlink("lib", "usr/lib"), file("lib/x", "y")}, "lib -> usr/lib\nusr/\nusr/lib/\nusr/lib/x \"y\""},
		// Whiteouts: image-spec, layer.md.
		{"whiteout", []tar.Header{file("a/.wh.b", "")}, "a/\na/b device 0:0"},
		{"opaque", []tar.Header{dir("a"), file("a/.wh..wh..opq", ""), file("a/b", "x")}, "a/ opaque=y\na/b \"x\""},
		{"opaque, no entry", []tar.Header{file("a/.wh..wh..opq", "")}, "a/ opaque=y"},
		{"whiteout, then file", []tar.Header{file(".wh.a", ""), file("a", "x")}, `a "x"`},
		{"file, then whiteout", []tar.Header{file("a", "x"), file(".wh.a", "")}, `a "x"`},
		{"whiteout, then directory", []tar.Header{file(".wh.a", ""), dir("a"), file("a/b", "x")}, "a/ opaque=y\na/b \"x\""},
		{"whiteout, then implied", []tar.Header{file(".wh.a", ""), file("a/b", "x")}, "a/ opaque=y\na/b \"x\""},
		{"directory, then whiteout", []tar.Header{file("a/b", "x"), file(".wh.a", "")}, "a/ opaque=y\na/b \"x\""},
		{"aufs metadata", []tar.Header{file(".wh..wh.plnk", ""), file("a", "x")}, `a "x"`},
		{"device", []tar.Header{device("null", 1, 3)}, "null device 1:3"},
		{"large minor", []tar.Header{device("d", 259, 1<<20-1)}, "d device 259:1048575"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := needRoot(t)
			n, err := Tar(dir, bytes.NewReader(makeTar(t, tt.entries...)), Options{})
			if err != nil || n != len(tt.entries) {
				t.Fatalf("Tar = %d, %v; want %d entries", n, err, len(tt.entries))
			}
			if got := listTree(t, dir); got != tt.want {
				t.Errorf("got:\n%s\nwant:\n%s", got, tt.want)
			}
		})
	}
}

// "umoci insert" of a directory calls the root "/", and nothing else by an absolute name.
func TestRootIsSlash(t *testing.T) {
	dir := needRoot(t)
	root := e(tar.TypeDir, "/", "")
	root.Mode = 0o750
	if _, err := Tar(dir, bytes.NewReader(makeTar(t, root, file("f", "x"))), Options{}); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o750 {
		t.Errorf("the root has mode %v, %v", info.Mode(), err)
	}
	if got := listTree(t, dir); !strings.HasPrefix(got, "f ") {
		t.Errorf("the layer has %q", got)
	}
}

func TestMetadata(t *testing.T) {
	dir := needRoot(t)
	h := file("d/f", "x")
	h.Mode, h.Uid, h.Gid, h.ModTime = 0o6755, 1234, 65535, time.Unix(1e9, 123456789)
	capability := "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" // cap_net_bind_service=ep
	h.PAXRecords["SCHILY.xattr.security.capability"] = capability
	h.PAXRecords["SCHILY.xattr.user.note"] = "a\x00b"
	h.PAXRecords["SCHILY.xattr.trusted.overlay.redirect"] = "/etc"
	h.PAXRecords["SCHILY.xattr.user.overlay.opaque"] = "y"
	h.PAXRecords["SCHILY.xattr.security.selinux"] = "x"
	d := e(tar.TypeDir, "d", "")
	d.Mode, d.Uid, d.ModTime = 0o1777, 5, time.Unix(2e9, 1)
	link := symlink("l", "f")
	link.Uid, link.ModTime = 7, time.Unix(-5, 0)
	root := e(tar.TypeDir, "./", "")
	root.Mode = 0o711
	var notes []string
	opts := Options{Note: func(s string) { notes = append(notes, s) }}
	if _, err := Tar(dir, bytes.NewReader(makeTar(t, root, d, h, link)), opts); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name  string
		mode  uint32
		uid   uint32
		gid   uint32
		mtime time.Time
	}{
		{".", unix.S_IFDIR | 0o711, 0, 0, time.Unix(1e9, 0)},
		{"d", unix.S_IFDIR | 0o1777, 5, 0, time.Unix(2e9, 1)},
		{"d/f", unix.S_IFREG | 0o6755, 1234, 65535, time.Unix(1e9, 123456789)},
		{"l", unix.S_IFLNK | 0o777, 7, 0, time.Unix(-5, 0)},
	}
	for _, tt := range tests {
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(dir, tt.name), &st); err != nil {
			t.Fatal(err)
		}
		mtime := time.Unix(st.Mtim.Unix())
		if st.Mode != tt.mode || st.Uid != tt.uid || st.Gid != tt.gid || !mtime.Equal(tt.mtime) {
			t.Errorf("%s: mode %o, owner %d:%d, %v; want %o, %d:%d, %v",
				tt.name, st.Mode, st.Uid, st.Gid, mtime, tt.mode, tt.uid, tt.gid, tt.mtime)
		}
	}
	wantAttrs(t, filepath.Join(dir, "d/f"), map[string]string{"security.capability": capability, "user.note": "a\x00b"})
	if len(notes) != 3 {
		t.Errorf("notes: %q; want one for each of the 3 attributes left out", notes)
	}
}

func wantAttrs(t *testing.T, path string, want map[string]string) {
	t.Helper()
	buf := make([]byte, 4096)
	n, err := unix.Llistxattr(path, buf)
	if err != nil {
		t.Fatal(err)
	}
	names := strings.Split(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00")
	if len(names) != len(want) {
		t.Errorf("attributes of %s: %q; want %d", path, names, len(want))
	}
	for name, value := range want {
		if n, err := unix.Lgetxattr(path, name, buf); err != nil || string(buf[:n]) != value {
			t.Errorf("%s: %q, %v; want %q", name, buf[:max(n, 0)], err, value)
		}
	}
}

// Every way a tar is known to try to reach out of its directory, with a canary.
func TestHostile(t *testing.T) {
	long := strings.Repeat("x", 256)
	badOwner := file("a", "")
	badOwner.Uid = 65536
	badGroup := dir("a")
	badGroup.Gid = 1 << 20
	attrs := file("a", "")
	for i := range 200 {
		attrs.PAXRecords[fmt.Sprintf("SCHILY.xattr.user.n%d", i)] = "v"
	}
	tests := []struct {
		name    string
		entries []tar.Header
		want    string // in the error; "": no error, but the canary lives
	}{
		{"dotdot", []tar.Header{file("../canary", "x")}, `"../canary": the name has an element ".."`},
		{"dotdot inside", []tar.Header{dir("a"), file("a/../../canary", "x")}, `element ".."`},
		{"dotdot last", []tar.Header{dir("a/..")}, `element ".."`},
		{"absolute", []tar.Header{file("/canary", "x")}, "the name is absolute"},
		{"root a file", []tar.Header{file(".", "x")}, "not a directory"},
		{"root a symlink", []tar.Header{symlink("./", "/")}, "not a directory"},
		{"symlink up", []tar.Header{symlink("s", ".."), file("s/canary", "x")}, ""},
		{"symlink absolute", []tar.Header{symlink("s", "CANARYDIR"), file("s/canary", "x")}, "leads to no directory"},
		{"symlink chain", []tar.Header{symlink("a", "b"), symlink("b", "../.."), file("a/canary", "x")}, ""},
		{"symlink to proc", []tar.Header{symlink("s", "/proc/self/cwd"), file("s/canary", "x")}, "leads to no directory"},
		{"symlink loop", []tar.Header{symlink("a", "b"), symlink("b", "a"), file("a/x", "x")}, "a"},
		{"dangling symlink", []tar.Header{symlink("s", "nothing"), file("s/x", "x")}, "leads to no directory"},
		{"file through symlink", []tar.Header{symlink("s", "CANARYDIR/canary"), file("s", "x")}, ""},
		{"directory through symlink", []tar.Header{symlink("s", "CANARYDIR"), dir("s")}, ""},
		{"remove through symlink", []tar.Header{dir("d"), symlink("d/s", "CANARYDIR"), file("d", "x")}, ""},
		{"whiteout through symlink", []tar.Header{symlink("s", ".."), file("s/.wh.canary", "")}, ""},
		{"hard link up", []tar.Header{hardlink("h", "../canary"), file("h", "x")}, `hard link to "../canary"`},
		{"hard link absolute", []tar.Header{hardlink("h", "CANARYDIR/canary")}, "is absolute"},
		{"hard link through symlink", []tar.Header{symlink("s", "CANARYDIR"), hardlink("h", "s/canary")}, "hard link to"},
		{"hard link to symlink, then file", []tar.Header{symlink("s", "CANARYDIR/canary"), hardlink("h", "s"), file("h", "x")}, ""},
		{"hard link to nothing", []tar.Header{hardlink("h", "nothing")}, "in the same layer"},
		{"hard link to directory", []tar.Header{dir("d"), hardlink("h", "d")}, "is a directory"},
		{"below a file", []tar.Header{file("a", "x"), file("a/b", "y")}, "no directory"},
		{"below a device", []tar.Header{device("a", 1, 3), file("a/b", "y")}, "no directory"},
		{"whiteout of dot", []tar.Header{file(".wh..", "")}, `whiteout of "."`},
		{"whiteout of dotdot", []tar.Header{file(".wh...", "")}, `whiteout of ".."`},
		{"whiteout of nothing", []tar.Header{file(".wh.", "")}, `whiteout of ""`},
		{"owner", []tar.Header{badOwner}, "owner 65536:0"},
		{"group", []tar.Header{badGroup}, "owner 0:1048576"},
		{"long element", []tar.Header{file(long, "x")}, "longer than 255"},
		{"long path", []tar.Header{dir(strings.Repeat("abcdefghi/", 500))}, "longer than 4095"},
		{"deep path", []tar.Header{dir(strings.Repeat("a/", 300))}, "more than 256"},
		{"attributes", []tar.Header{attrs}, "more than 128 extended"},
		{"overlayfs's own whiteout", []tar.Header{device("a", 0, 0)}, "device 0:0 hides"},
		{"hard link to a whiteout", []tar.Header{file(".wh.a", ""), hardlink("h", ".wh.a")}, "in the same layer"},
		{"whiteout of the root", []tar.Header{file("./.wh.", "")}, `whiteout of ""`},
		{"opaque below a file", []tar.Header{file("a", "x"), file("a/.wh..wh..opq", "")}, "no directory"},
		{"whiteout below a symlink out", []tar.Header{symlink("s", "CANARYDIR"), file("s/.wh.canary", "")}, "leads to no directory"},
		{"opaque below a symlink up", []tar.Header{symlink("s", ".."), file("s/.wh..wh..opq", "")}, ""},
		{"no such device", []tar.Header{device("a", 1<<20, 0)}, "no device"},
		{"unknown type", []tar.Header{e('Z', "a", "")}, `type 'Z'`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			outside := needRoot(t)
			canary := filepath.Join(outside, "canary")
			if err := os.WriteFile(canary, []byte("alive"), 0o644); err != nil {
				t.Fatal(err)
			}
			before := listTree(t, outside)
			root := filepath.Join(outside, "root")
			if err := os.Mkdir(root, 0o755); err != nil {
				t.Fatal(err)
			}
			for i := range tt.entries {
				tt.entries[i].Linkname = strings.Replace(tt.entries[i].Linkname, "CANARYDIR", outside, 1)
			}
			_, err := Tar(root, bytes.NewReader(makeTar(t, tt.entries...)), Options{})
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v; want %q", err, tt.want)
			}
			if err := os.RemoveAll(root); err != nil {
				t.Fatal(err)
			}
			if after := listTree(t, outside); after != before {
				t.Errorf("outside of the root there is now:\n%s\nwant:\n%s", after, before)
			}
		})
	}
}

func TestLimits(t *testing.T) {
	full := file("a", strings.Repeat("x", 10000))
	tests := []struct {
		name    string
		limits  Limits
		entries []tar.Header
		want    string
	}{
		{"entries", Limits{Entries: 2}, []tar.Header{dir("a"), dir("b"), dir("c")}, `"c": the layer has more than 2 entries`},
		{"devices", Limits{Devices: 1}, []tar.Header{device("a", 1, 3), device("b", 1, 3)}, "more than 1 devices"},
		{"bytes", Limits{Bytes: 9999}, []tar.Header{full}, "more than the 9999 bytes"},
		{"logical", Limits{Logical: 15000}, []tar.Header{full, full}, "larger than 15000"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Tar(needRoot(t), bytes.NewReader(makeTar(t, tt.entries...)), Options{Limits: tt.limits})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v; want %q", err, tt.want)
			}
		})
	}
}

func TestZerosBecomeHoles(t *testing.T) {
	text := "start" + strings.Repeat("\x00", 1<<20) + "middle" + strings.Repeat("\x00", 1<<20)
	h := file("a", "")
	h.Size = int64(len(text))
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	if err := w.WriteHeader(&h); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	dir := needRoot(t)
	if _, err := Tar(dir, &buf, Options{Limits: Limits{Bytes: 3 * 4096}}); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(dir, "a"))
	if err != nil || string(got) != text {
		t.Errorf("%d bytes, %v; want the %d written", len(got), err, len(text))
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(dir, "a"), &st); err != nil || st.Blocks*512 > 64<<10 {
		t.Errorf("takes %d bytes, %v; want holes", st.Blocks*512, err)
	}
}

// Whatever the offset at which an archive stops, the error says so.
func TestTruncated(t *testing.T) {
	data := makeTar(t, dir("a"), file("a/zeros", strings.Repeat("\x00", 1024)), file("a/b", strings.Repeat("x", 700)), symlink("s", "t"))
	last := len(data) - 1024 // the end mark
	for size := 0; size <= last; size += 97 {
		if _, err := Tar(needRoot(t), bytes.NewReader(data[:size]), Options{}); !errors.Is(err, ErrTruncated) {
			t.Errorf("%d of %d bytes: %v; want ErrTruncated", size, len(data), err)
		}
	}
	for size := 0; size <= last; size += 512 {
		if _, err := Tar(needRoot(t), bytes.NewReader(data[:size]), Options{}); !errors.Is(err, ErrTruncated) {
			t.Errorf("%d of %d bytes: %v; want ErrTruncated", size, len(data), err)
		}
	}
}

func TestGarbage(t *testing.T) {
	data := makeTar(t, file("a", "x"))
	flipped := bytes.Clone(data)
	flipped[len(data)-1024-1024+20] ^= 0xff // in the header of the file
	for name, bad := range map[string][]byte{"text": bytes.Repeat([]byte("no tar "), 1000), "flipped": flipped} {
		_, err := Tar(needRoot(t), bytes.NewReader(bad), Options{})
		if !errors.Is(err, tar.ErrHeader) {
			t.Errorf("%s: %v; want tar.ErrHeader", name, err)
		}
	}
}

func FuzzTar(f *testing.F) {
	f.Add(makeTar(f, dir("a"), file("a/b", "x"), symlink("s", ".."), hardlink("h", "a/b"), file("a/.wh.x", "")))
	f.Fuzz(func(t *testing.T, data []byte) {
		outside := needRoot(t)
		root := filepath.Join(outside, "root")
		if err := os.Mkdir(root, 0o755); err != nil {
			t.Fatal(err)
		}
		_, _ = Tar(root, bytes.NewReader(data), Options{Limits: Limits{Entries: 1000, Bytes: 1 << 20, Logical: 1 << 24}})
		names, err := os.ReadDir(outside)
		if err != nil || len(names) != 1 {
			t.Errorf("outside of the root: %v, %v", names, err)
		}
	})
}
