package pack

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
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

	"github.com/cocker/cocker/image/unpack"
	"github.com/cocker/cocker/internal/linux/mounttest"
)

// withMounts runs a function in a mount namespace of its own thread, which ends with it.
func withMounts(t *testing.T, f func() error) {
	t.Helper()
	if err := mounttest.Do(f); err != nil {
		t.Fatal(err)
	}
}

// overlay mounts layers, the highest first, with or without an upper directory.
func overlay(target, upper, work string, layers ...string) error {
	options := "index=off,metacopy=off,redirect_dir=off,lowerdir=" + strings.Join(layers, ":")
	if upper != "" {
		options += ",upperdir=" + upper + ",workdir=" + work
	}
	return os.NewSyscallError("mount overlay", unix.Mount("test", target, "overlay", 0, options))
}

// listing describes a tree: for each path everything that an image keeps.
func listing(root string) (map[string]string, error) {
	all, first := map[string]string{}, map[uint64]string{}
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		line := fmt.Sprintf("%o %d:%d", st.Mode, st.Uid, st.Gid)
		if name != "." {
			line += fmt.Sprintf(" %d.%d", st.Mtim.Sec, st.Mtim.Nsec)
		}
		more, err := describe(path, st)
		if err != nil {
			return err
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR && st.Nlink > 1 {
			if first[st.Ino] == "" {
				first[st.Ino] = name
			}
			line += " as " + first[st.Ino]
		}
		all[name] = line + more
		return nil
	})
	return all, err
}

func describe(path string, st unix.Stat_t) (text string, err error) {
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		data, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		text = fmt.Sprintf(" %d %x", st.Size, sha256.Sum256(data))
	case unix.S_IFLNK:
		target, err := os.Readlink(path)
		if err != nil {
			return "", err
		}
		return " -> " + target, nil
	case unix.S_IFCHR, unix.S_IFBLK:
		return fmt.Sprintf(" %x", st.Rdev), nil
	}
	for _, name := range []string{"user.a", "user.b", "security.capability"} {
		var value [64]byte
		if n, err := unix.Lgetxattr(path, name, value[:]); err == nil {
			text += fmt.Sprintf(" %s=%x", name, value[:n])
		}
	}
	return text, nil
}

// wantChanges compares two listings in the way that Changes is defined, without a
// look at layers.
func wantChanges(before, after map[string]string) []Change {
	changed := map[string]string{}
	mark := func(name, kind string) {
		changed[name] = kind
		for dir := filepath.Dir(name); dir != "."; dir = filepath.Dir(dir) {
			if changed[dir] == "" {
				changed[dir] = "C"
			}
		}
	}
	for name, line := range after {
		switch old, ok := before[name]; {
		case !ok:
			mark(name, "A")
		case old != line && name != ".":
			mark(name, "C")
		}
	}
	for name := range before {
		_, still := after[name]
		_, parent := after[filepath.Dir(name)]
		if !still && parent && strings.HasPrefix(after[filepath.Dir(name)], "4") {
			mark(name, "D")
		}
	}
	var list []Change
	for _, name := range slices.Sorted(maps.Keys(changed)) {
		list = append(list, Change{changed[name], "/" + name})
	}
	slices.SortFunc(list, func(a, b Change) int { return strings.Compare(a.Path, b.Path) })
	return list
}

// world is a place with two layers and an empty writable one.
type world struct{ dir string }

func (w world) path(name string) string { return filepath.Join(w.dir, name) }

func newWorld(t *testing.T) world {
	t.Helper()
	w := world{needRoot(t)}
	for _, d := range []string{"low", "middle", "upper", "work", "mnt", "new", "flat", "view"} {
		if err := os.Mkdir(w.path(d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	makeFiles(t, w.dir, "low/file", "low/gone", "low/dir/a", "low/dir/b", "low/dir/deep/er/c", "low/again/old", "low/again/same/x",
		"low/tofile/x", "low/todir", "low/set", "low/same", "low/hidden/x", "low/etc/passwd", "low/many/1", "low/many/2",
		"middle/dir/b", "middle/dir/m", "middle/etc/group")
	err := errors.Join(unix.Mknod(w.path("middle/hidden"), unix.S_IFCHR, 0), os.Symlink("dir", w.path("low/link")),
		unix.Mkdir(w.path("middle/again"), 0o755), unix.Setxattr(w.path("middle/many"), opaqueAttr, []byte("y"), 0))
	if errors.Is(err, unix.ENOENT) {
		err = errors.Join(unix.Mkdir(w.path("middle/many"), 0o755), unix.Setxattr(w.path("middle/many"), opaqueAttr, []byte("y"), 0))
	}
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (w world) writable() Writable {
	return Writable{Upper: w.path("upper"), Below: []string{w.path("low"), w.path("middle")}}
}

func write(name, content string, mode os.FileMode) error {
	return errors.Join(os.WriteFile(name, []byte(content), 0o600), os.Chmod(name, mode))
}

// changes are things that a container does to its root, which is the working
// directory.
func changes() map[string]func() error {
	capability := []byte{1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0} // cap_net_bind_service+ep
	return map[string]func() error{
		"nothing": func() error { return nil },
		"opened for writing": func() error {
			f, err := os.OpenFile("file", os.O_WRONLY, 0)
			if err == nil {
				err = f.Close()
			}
			return err
		},
		"owner set to what it was": func() error { return os.Lchown("same", 0, 0) },
		"files": func() error {
			return errors.Join(write("new", "new", 0o640), write("set", "x", 0o4755), os.Chown("set", 7, 8), os.Chmod("set", 0o4755), os.Mkdir("d", 0), os.Chmod("d", 0o3711))
		},
		"deleted":          func() error { return errors.Join(os.Remove("gone"), os.RemoveAll("dir/deep"), os.Remove("dir/m")) },
		"deleted and back": func() error { return errors.Join(os.Remove("gone"), write("gone", "other", 0o644)) },
		"directory anew": func() error {
			return errors.Join(os.RemoveAll("again"), os.MkdirAll("again/same", 0o755), write("again/same/y", "", 0o644), write("again/new", "", 0o644))
		},
		"directory anew and empty": func() error { return errors.Join(os.RemoveAll("dir"), os.Mkdir("dir", 0o700)) },
		"file for directory":       func() error { return errors.Join(os.RemoveAll("tofile"), write("tofile", "", 0o644)) },
		"directory for file":       func() error { return errors.Join(os.Remove("todir"), os.MkdirAll("todir/x", 0o755)) },
		"directory over whiteout":  func() error { return errors.Join(os.MkdirAll("hidden/new", 0o755), write("hidden/y", "", 0o644)) },
		"link for directory":       func() error { return errors.Join(os.RemoveAll("dir"), os.Symlink("again", "dir")) },
		"link turned":              func() error { return errors.Join(os.Remove("link"), os.Symlink("again", "link")) },
		"renamed": func() error {
			return errors.Join(os.Rename("file", "dir/file"), os.Mkdir("d", 0o755), write("d/x", "x", 0o644), os.Rename("d", "dir/deep/d"))
		},
		"in an opaque directory": func() error { return errors.Join(write("many/1", "x", 0o644), write("many/3", "x", 0o644)) },
		"hard links": func() error {
			return errors.Join(write("new", "new", 0o644), os.Link("new", "dir/a-new"), os.Link("new", "zz"), os.Link("file", "file2"))
		},
		"attributes": func() error {
			return errors.Join(unix.Setxattr("file", "user.a", []byte("\x00\n="), 0), unix.Setxattr("dir", "user.b", nil, 0), unix.Setxattr("set", "security.capability", capability, 0))
		},
		"modes of directories": func() error {
			return errors.Join(os.Chmod("dir/deep", 0o1777), os.Chown("etc", 1, 2), os.Chmod(".", 0o711))
		},
		"times": func() error { return os.Chtimes("dir/deep/er", time.Unix(1, 5), time.Unix(1, 5)) },
		"special files": func() error {
			return errors.Join(unix.Mkfifo("fifo", 0o604), unix.Mknod("dir/null", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))), unix.Mknod("disk", unix.S_IFBLK|0o600, int(unix.Mkdev(8, 0))))
		},
		"names": func() error {
			return errors.Join(write("a\nb", "", 0o644), write("\x1b[31m", "", 0o644), write("\xff\xfe", "", 0o644), write(" ", "", 0o644),
				write("a=b", "", 0o644), os.Symlink("\n", "l\n"), write(strings.Repeat("ä", 127), "", 0o644))
		},
		"holes": func() error { return errors.Join(write("sparse", "x", 0o644), os.Truncate("sparse", 1<<22)) },
	}
}

// What the kernel makes of an upper directory, as a layer on the same layers, is the
// same tree again; so is all in one layer; and Changes says what is different.
func TestLayerIsTheSameTree(t *testing.T) {
	for name, change := range changes() {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			var before, after map[string]string
			withMounts(t, func() (err error) {
				if err = overlay(w.path("mnt"), w.path("upper"), w.path("work"), w.path("middle"), w.path("low")); err != nil {
					return err
				}
				if before, err = listing(w.path("mnt")); err != nil {
					return err
				}
				if err := errors.Join(unix.Chdir(w.path("mnt")), change(), unix.Chdir("/")); err != nil {
					return err
				}
				after, err = listing(w.path("mnt"))
				return err
			})
			assertSameTree(t, w, after)
			got, err := w.writable().Changes(t.Context())
			if want := wantChanges(before, after); err != nil || !slices.Equal(got, want) {
				t.Errorf("changes:\n%q\nwant:\n%q\n%v", got, want, err)
			}
			entries, err := w.writable().Layer(t.Context(), &bytes.Buffer{}, ignore)
			if err != nil || (entries == 0) != maps.Equal(before, after) {
				t.Errorf("%d entries, %v", entries, err)
			}
		})
	}
}

func assertSameTree(t *testing.T, w world, want map[string]string) {
	t.Helper()
	for dir, pack := range map[string]func(context.Context, *bytes.Buffer) error{
		"new": func(ctx context.Context, b *bytes.Buffer) error {
			_, err := w.writable().Layer(ctx, b, ignore)
			return err
		},
		"flat": func(ctx context.Context, b *bytes.Buffer) error {
			return Merged(ctx, b, []string{w.path("low"), w.path("middle"), w.path("upper")}, ignore)
		},
	} {
		var packed, again bytes.Buffer
		if err := errors.Join(pack(t.Context(), &packed), pack(t.Context(), &again)); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(packed.Bytes(), again.Bytes()) {
			t.Errorf("%s: packed twice, it is not the same", dir)
		}
		if _, err := unpack.Tar(w.path(dir), &packed, unpack.Options{}); err != nil {
			t.Fatal(err)
		}
		layers := []string{w.path("new"), w.path("middle"), w.path("low")}
		if dir == "flat" {
			layers = []string{w.path("flat"), w.path("view")} // overlayfs wants two
		}
		var got map[string]string
		withMounts(t, func() (err error) {
			if err = overlay(w.path("mnt"), "", "", layers...); err == nil {
				got, err = listing(w.path("mnt"))
			}
			return err
		})
		if dir == "new" && len(got) > 0 && strings.HasPrefix(got["."], "40755 0:0") {
			got["."] = want["."] // a layer without an entry has no root either
		}
		if !maps.Equal(got, want) {
			t.Errorf("%s:\n%s", dir, difference(got, want))
		}
	}
}

func difference(got, want map[string]string) string {
	var b strings.Builder
	for name, line := range want {
		if got[name] != line {
			fmt.Fprintf(&b, "%q: %q, want %q\n", name, got[name], line)
		}
	}
	for name, line := range got {
		if want[name] == "" {
			fmt.Fprintf(&b, "%q: %q, want none\n", name, line)
		}
	}
	return b.String()
}

// packed returns the entries of a writable layer and what was noted.
func packed(t *testing.T, l Writable) (entries, notes []string) {
	t.Helper()
	var b bytes.Buffer
	if _, err := l.Layer(t.Context(), &b, func(text string) { notes = append(notes, text) }); err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(&b); ; {
		h, err := r.Next()
		if err == io.EOF {
			return entries, notes
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, strings.TrimSpace(fmt.Sprintf("%c %s %d:%d %s", h.Typeflag, h.Name, h.Uid, h.Gid, content)))
	}
}

func TestWhatAStartFillsInIsLeftOut(t *testing.T) {
	w := world{needRoot(t)}
	l := Writable{Upper: w.path("upper"), Below: []string{w.path("low")}, Filled: Filled{
		Files:  []string{"/etc/hostname", "/link/id"},
		Links:  map[string]string{"/link/run": "/run", "/var/mine": "/run"},
		Points: []string{"/proc", "/srv/www/data", "/run/lock/../x", "/file", "/mine"},
		Edited: map[string]func([]byte) []byte{"/etc/hosts": func(old []byte) []byte {
			_, after, _ := bytes.Cut(old, []byte("#\n"))
			return after
		}},
	}}
	makeFiles(t, w.dir, "low/etc/passwd", "low/var/x")
	if err := errors.Join(os.Symlink("/var", w.path("low/link")), os.WriteFile(w.path("low/etc/hosts"), []byte("#\nbelow\n"), 0o644)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.MkdirAll(w.path("upper/var"), 0o755), os.Symlink("/run", w.path("upper/var/run"))); err != nil {
		t.Fatal(err)
	}
	fill := func(hosts string) {
		t.Helper()
		makeFiles(t, w.dir, "upper/etc/hostname", "upper/var/id")
		for _, dir := range []string{"upper/proc", "upper/srv/www/data", "upper/mine"} {
			if err := os.MkdirAll(w.path(dir), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(write(w.path("upper/file"), "", 0o644), write(w.path("upper/etc/hosts"), hosts, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	fill("block\n#\nbelow\n")
	if got, notes := packed(t, l); len(got)+len(notes) > 0 {
		t.Errorf("entries %q, notes %q, want none", got, notes)
	}
	if got, err := l.Changes(t.Context()); len(got) > 0 || err != nil {
		t.Errorf("changes %q, %v, want none", got, err)
	}

	// What is somebody's own stays: beside a mount point, at one, in the edited file.
	fill("block\n#\nown\n")
	makeFiles(t, w.dir, "upper/srv/own")
	if err := errors.Join(os.Chown(w.path("upper/mine"), 3, 4), write(w.path("upper/file"), "x", 0o644), os.Remove(w.path("upper/etc/hostname")), os.Symlink("x", w.path("upper/etc/hostname")), os.Symlink("/elsewhere", w.path("upper/var/mine"))); err != nil {
		t.Fatal(err)
	}
	got, _ := packed(t, l)
	want := []string{"5 ./ 0:0", "5 ./etc/ 0:0", "2 ./etc/hostname 0:0", "0 ./etc/hosts 0:0 own", "0 ./file 0:0 x", "5 ./mine/ 3:4", "5 ./srv/ 0:0", "0 ./srv/own 0:0 upper/srv/own", "5 ./var/ 0:0", "2 ./var/mine 0:0"}
	if !slices.Equal(got, want) {
		t.Errorf("entries\n%q\nwant\n%q", got, want)
	}
	changes, err := l.Changes(t.Context())
	if want := "[{C /etc} {A /etc/hostname} {C /etc/hosts} {A /file} {A /mine} {A /srv} {A /srv/own} {C /var} {A /var/mine}]"; err != nil || fmt.Sprint(changes) != want {
		t.Errorf("changes\n%v, %v\nwant\n%s", changes, err, want)
	}
}

func TestWhatNoImageHasAFormFor(t *testing.T) {
	cases := []struct {
		name string
		make func(w world) error
		want string // of the error; "": a note
		note string
	}{
		{"redirected directory", func(w world) error {
			return errors.Join(os.Mkdir(w.path("upper/moved"), 0o755), unix.Setxattr(w.path("upper/moved"), redirectAttr, []byte("old"), 0))
		}, `"./moved" was renamed`, ""},
		{"file without content", func(w world) error {
			return errors.Join(write(w.path("upper/file"), "", 0o600), unix.Setxattr(w.path("upper/file"), metacopyAttr, nil, 0))
		}, `"./file" was changed`, ""},
		{"name of a whiteout", func(w world) error { return write(w.path("upper/.wh.x"), "", 0o600) }, "kept for whiteouts", ""},
		{"socket", func(w world) error { return unix.Mknod(w.path("upper/s"), unix.S_IFSOCK|0o600, 0) }, "", "./s: sockets are left out"},
		{"the host's root", func(w world) error {
			return errors.Join(write(w.path("upper/x"), "", 0o600), os.Chown(w.path("upper/x"), 65536, 65536))
		}, "", "./x: it belongs to the host's root"},
		{"attribute of the host", func(w world) error {
			return errors.Join(write(w.path("upper/x"), "", 0o600), unix.Setxattr(w.path("upper/x"), "trusted.other", nil, 0))
		}, "", "./x: the extended attribute trusted.other"},
		{"attribute with =", func(w world) error {
			return errors.Join(write(w.path("upper/x"), "", 0o600), unix.Setxattr(w.path("upper/x"), "user.a=b", nil, 0))
		}, "", "./x: the extended attribute user.a=b"},
		{"attributes of overlayfs", func(w world) error {
			return errors.Join(write(w.path("upper/x"), "", 0o600), unix.Setxattr(w.path("upper/x"), overlayAttrs+"origin", nil, 0), unix.Setxattr(w.path("upper"), overlayAttrs+"uuid", nil, 0))
		}, "", ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := world{needRoot(t)}
			if err := errors.Join(os.Mkdir(w.path("upper"), 0o755), os.Mkdir(w.path("low"), 0o755), c.make(w)); err != nil {
				t.Fatal(err)
			}
			l := Writable{Upper: w.path("upper"), Below: []string{w.path("low")}}
			if c.want == "" {
				got, notes := packed(t, l)
				if strings.Contains(fmt.Sprint(got), "65536") || (len(notes) == 0) != (c.note == "") || !strings.HasPrefix(strings.Join(notes, "\n"), c.note) {
					t.Errorf("entries %q, notes %q", got, notes)
				}
				return
			}
			if _, err := l.Layer(t.Context(), io.Discard, ignore); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// Since Linux 6.7 a whiteout may be a file with an attribute, in a directory that is
// marked for it. overlayfs makes none in an upper directory; other programs may.
func TestWhiteoutsByAttribute(t *testing.T) {
	w := world{needRoot(t)}
	makeFiles(t, w.dir, "low/d/gone", "low/d/kept", "upper/d/new")
	if err := errors.Join(unix.Setxattr(w.path("upper/d"), opaqueAttr, []byte("x"), 0), write(w.path("upper/d/gone"), "", 0), unix.Setxattr(w.path("upper/d/gone"), whiteoutAttr, nil, 0)); err != nil {
		t.Fatal(err)
	}
	got, _ := packed(t, Writable{Upper: w.path("upper"), Below: []string{w.path("low")}})
	if want := []string{"5 ./ 0:0", "5 ./d/ 0:0", "0 ./d/.wh.gone 0:0", "0 ./d/new 0:0 upper/d/new"}; !slices.Equal(got, want) {
		t.Errorf("entries\n%q\nwant\n%q", got, want)
	}
}

func TestNeverStarted(t *testing.T) {
	l := Writable{Upper: filepath.Join(t.TempDir(), "none"), Below: []string{t.TempDir()}}
	if got, _ := packed(t, l); len(got) > 0 {
		t.Errorf("entries %q", got)
	}
	l.Upper, l.Below = t.TempDir(), []string{"/nonexistent"}
	if _, err := l.Changes(t.Context()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a layer that is gone: %v", err)
	}
}

// A container that runs on removes and replaces files while they are read.
func TestChangesUnderAWriter(t *testing.T) {
	w := world{needRoot(t)}
	makeFiles(t, w.dir, "low/x", "upper/a/f", "upper/b")
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			_ = os.RemoveAll(w.path("upper/a"))
			_ = os.Symlink("/etc", w.path("upper/a"))
			_ = os.Remove(w.path("upper/a"))
			_ = os.MkdirAll(w.path("upper/a/g"), 0o755)
			_ = os.WriteFile(w.path("upper/a/f"), []byte("x"), 0o600)
		}
	}()
	for range 300 {
		l := Writable{Upper: w.path("upper"), Below: []string{w.path("low")}}
		changes, err := l.Changes(t.Context())
		if err != nil {
			t.Error(err)
			break
		}
		for _, c := range changes {
			if !slices.Contains([]string{"/a", "/a/f", "/a/g", "/b"}, c.Path) {
				t.Errorf("%v", c)
			}
		}
	}
	close(stop)
	<-stopped
}
