package treecopy

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/internal/inode"
)

// sides are a host's and a container's side; the container's root is dir/root.
func sides(t *testing.T) (host, container *Side, dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "root"), 0o755); err != nil {
		t.Fatal(err)
	}
	root, err := unix.Open(filepath.Join(dir, "root"), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(root) })
	for side, open := range map[**Side]func() (*Side, error){&host: Host, &container: func() (*Side, error) { return Container(root) }} {
		if *side, err = open(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { (*side).Close() })
	}
	return host, container, dir
}

// makeTree makes what each line says: "dir/", "file=content", "link -> target".
func makeTree(t *testing.T, dir string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		var err error
		if name, target, ok := strings.Cut(line, " -> "); ok {
			err = os.Symlink(target, filepath.Join(dir, name))
		} else if name, content, ok := strings.Cut(line, "="); ok {
			err = os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644)
		} else {
			err = os.MkdirAll(filepath.Join(dir, line), 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// listTree lists a tree as makeTree has it.
func listTree(t *testing.T, dir string) []string {
	t.Helper()
	lines := []string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		name, _ := filepath.Rel(dir, path)
		switch {
		case err != nil || name == ".":
			return err
		case d.IsDir():
			lines = append(lines, name+"/")
		case d.Type() == fs.ModeSymlink:
			target, _ := os.Readlink(path)
			lines = append(lines, name+" -> "+target)
		default:
			content, _ := os.ReadFile(path)
			lines = append(lines, name+"="+string(content))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(lines)
	return lines
}

// copyBetween copies from one side to another.
func copyBetween(t *testing.T, from *Side, source, name string, follow bool, to *Side, destination string, o ReceiveOptions) error {
	t.Helper()
	r, w := io.Pipe()
	sent := make(chan error, 1)
	go func() {
		err := from.Send(t.Context(), w, source, SendOptions{Name: Top, Follow: follow})
		w.CloseWithError(err)
		sent <- err
	}()
	o.Name = name
	received := to.Receive(t.Context(), r, destination, o)
	r.CloseWithError(io.ErrClosedPipe)
	if err := <-sent; err != nil && !errors.Is(err, io.ErrClosedPipe) {
		return err
	}
	return received
}

// The table of docker-cp(1) and what cp(1) does beyond it, in both directions.
func TestWhereACopyGoes(t *testing.T) {
	tree := []string{"file=new", "dir/", "dir/a=A", "dir/sub/", "dir/sub/b=B", "link -> file", "dirlink -> dir"}
	there := []string{"old=old", "into/", "into/dir/", "into/dir/kept=K", "tofile -> old", "todir -> into", "dangling -> made", "away -> into/far"}
	cases := []struct {
		source, destination string
		follow              bool
		add, gone           []string // beside what was there
		err                 string
	}{
		{source: "file", destination: "new", add: []string{"new=new"}},
		{source: "file", destination: "new/", err: "make it first"},
		{source: "file", destination: "old", add: []string{"old=new"}, gone: []string{"old=old"}},
		{source: "file", destination: "old/", err: "make it first"},
		{source: "file", destination: "into", add: []string{"into/file=new"}},
		{source: "file", destination: "into/", add: []string{"into/file=new"}},
		{source: "file", destination: "into/dir", add: []string{"into/dir/file=new"}},
		{source: "file", destination: "none/x", err: "make it first"},
		{source: "file", destination: "old/x", err: "not a directory"},
		{source: "file", destination: "tofile", add: []string{"old=new"}, gone: []string{"old=old"}},
		{source: "file", destination: "todir", add: []string{"into/file=new"}},
		{source: "file", destination: "dangling", add: []string{"made=new"}},
		{source: "file", destination: "away", add: []string{"into/far=new"}},
		{source: "file/.", destination: "new", err: "not a directory"},
		{source: "none", destination: "new", err: "no such file"},
		{source: "dir", destination: "new", add: []string{"new/", "new/a=A", "new/sub/", "new/sub/b=B"}},
		{source: "dir", destination: "new/", add: []string{"new/", "new/a=A", "new/sub/", "new/sub/b=B"}},
		{source: "dir/", destination: "new", add: []string{"new/", "new/a=A", "new/sub/", "new/sub/b=B"}},
		{source: "dir/.", destination: "new", add: []string{"new/", "new/a=A", "new/sub/", "new/sub/b=B"}},
		{source: "dir", destination: "old", err: "no directory"},
		{source: "dir", destination: "into", add: []string{"into/dir/a=A", "into/dir/sub/", "into/dir/sub/b=B"}},
		{source: "dir/.", destination: "into", add: []string{"into/a=A", "into/sub/", "into/sub/b=B"}},
		{source: "dir", destination: "none/x", err: "make it first"},
		{source: "link", destination: "new", add: []string{"new -> file"}},
		{source: "link", destination: "new", follow: true, add: []string{"new=new"}},
		{source: "dirlink", destination: "into", add: []string{"into/dirlink -> dir"}},
		{source: "dirlink", destination: "into", follow: true, add: []string{"into/dirlink/", "into/dirlink/a=A", "into/dirlink/sub/", "into/dirlink/sub/b=B"}},
		{source: "dirlink/.", destination: "into", add: []string{"into/a=A", "into/sub/", "into/sub/b=B"}},
	}
	for _, c := range cases {
		for _, in := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s to %s, in %v, follow %v", c.source, c.destination, in, c.follow), func(t *testing.T) {
				host, container, dir := sides(t)
				outside, inside := filepath.Join(dir, "host"), filepath.Join(dir, "root")
				makeTree(t, dir, "host")
				from, to, target := host, container, inside
				source, destination := outside+"/"+c.source, "/"+c.destination
				makeTree(t, outside, tree...)
				if in {
					makeTree(t, inside, there...)
				} else {
					from, to, target = container, host, outside
					source, destination = "/"+c.source, outside+"/"+c.destination
					makeTree(t, inside, tree...)
					if err := os.RemoveAll(outside); err != nil {
						t.Fatal(err)
					}
					makeTree(t, dir, "host")
					makeTree(t, outside, there...)
				}
				before := listTree(t, target)
				err := copyBetween(t, from, source, BaseName(source), c.follow, to, destination, ReceiveOptions{})
				if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
					t.Errorf("error %v, want %q", err, c.err)
				}
				want := slices.DeleteFunc(append(before, c.add...), func(line string) bool { return slices.Contains(c.gone, line) })
				slices.Sort(want)
				if got := listTree(t, target); !slices.Equal(got, want) {
					t.Errorf("got  %q\nwant %q", got, want)
				}
			})
		}
	}
}

func TestBaseName(t *testing.T) {
	for path, want := range map[string]string{"/": "", "/etc": "etc", "/etc/": "etc", "/etc/.": "", ".": "", "..": "", "a/..": "", "a": "a", "//": "", "a//b//": "b"} {
		if got := BaseName(path); got != want {
			t.Errorf("%q: %q, want %q", path, got, want)
		}
	}
}

// What cannot be read again as it was written is lost: modes, times to the nanosecond,
// hard links, holes, attributes.
func TestWhatIsKept(t *testing.T) {
	host, container, dir := sides(t)
	source := filepath.Join(dir, "tree")
	makeTree(t, dir, "tree", "tree/sub", "tree/one=content", "tree/link -> nowhere")
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	stamp := time.Unix(1234567890, 123456789)
	check(os.Link(source+"/one", source+"/two"))
	check(unix.Mkfifo(source+"/fifo", 0o640))
	sparse, err := os.Create(source + "/sparse")
	check(err)
	_, err = sparse.WriteAt([]byte("end"), 64<<20)
	check(errors.Join(err, sparse.Close()))
	check(os.Chmod(source+"/one", 0o640))
	check(os.Chmod(source+"/sub", fs.ModeSticky|0o711))
	attributes := unix.Setxattr(source+"/one", "user.test", []byte("a\x00b"), 0) == nil
	for _, name := range []string{"one", "sub", "fifo", ""} {
		check(os.Chtimes(filepath.Join(source, name), stamp, stamp))
	}
	check(copyBetween(t, host, source, "tree", false, container, "/", ReceiveOptions{}))
	check(copyBetween(t, container, "/tree", "tree", false, host, dir+"/back", ReceiveOptions{}))

	for name, mode := range map[string]fs.FileMode{"one": 0o640, "sub": fs.ModeDir | fs.ModeSticky | 0o711, "fifo": fs.ModeNamedPipe | 0o640, "": fs.ModeDir | 0o755} {
		info, err := os.Lstat(filepath.Join(dir, "back", name))
		check(err)
		if !info.ModTime().Equal(stamp) || info.Mode() != mode {
			t.Errorf("%q: %v, %v", name, info.Mode(), info.ModTime())
		}
	}
	one, err := os.Stat(dir + "/back/one")
	check(err)
	two, err := os.Stat(dir + "/back/two")
	check(err)
	if !os.SameFile(one, two) {
		t.Error("a hard link became a file of its own")
	}
	var st unix.Stat_t
	check(unix.Stat(dir+"/back/sparse", &st))
	if st.Size != 64<<20+3 || st.Blocks*512 > 1<<20 {
		t.Errorf("a sparse file: %d bytes, %d on the disk", st.Size, st.Blocks*512)
	}
	if target, err := os.Readlink(dir + "/back/link"); err != nil || target != "nowhere" {
		t.Errorf("link: %q, %v", target, err)
	}
	value := make([]byte, 16)
	if n, err := unix.Getxattr(dir+"/back/one", "user.test", value); attributes && (err != nil || string(value[:n]) != "a\x00b") {
		t.Errorf("attribute: %q, %v", value[:max(n, 0)], err)
	}
	if left, _ := filepath.Glob(dir + "/*/.cocker-cp-*"); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// entry is one entry of a tar that nobody honest writes.
func entry(kind byte, name, link string) *tar.Header {
	return &tar.Header{Typeflag: kind, Name: name, Linkname: link, Mode: 0o6755, Size: map[byte]int64{tar.TypeReg: 5}[kind], Uid: 1 << 20, Format: tar.FormatPAX,
		PAXRecords: map[string]string{inode.AttributeRecord + "trusted.overlay.redirect": "/x", inode.AttributeRecord + "security.capability": "\x01\x00\x00\x02\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"}}
}

func makeTar(t *testing.T, entries ...*tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, hdr := range entries {
		if err := w.WriteHeader(hdr); err != nil {
			t.Fatal(err)
		}
		if hdr.Typeflag == tar.TypeReg {
			if _, err := w.Write([]byte("evil\n")); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// What comes out of a container stays below the destination, whatever the tar says.
func TestNothingEscapesOnTheHost(t *testing.T) {
	const r, d, s, l = tar.TypeReg, tar.TypeDir, tar.TypeSymlink, tar.TypeLink
	cases := map[string][]*tar.Header{
		"absolute":                       {entry(d, "source/", ""), entry(r, "/source/x", "")},
		"parent":                         {entry(d, "source/", ""), entry(r, "source/../../canary", "")},
		"other tree":                     {entry(d, "source/", ""), entry(r, "sourcecode", "")},
		"through a link":                 {entry(d, "source/", ""), entry(s, "source/l", "CANARYDIR"), entry(r, "source/l/canary", "")},
		"through a relative link":        {entry(d, "source/", ""), entry(s, "source/l", "../../.."), entry(r, "source/l/canary", "")},
		"directory over a link":          {entry(d, "source/", ""), entry(s, "source/l", "CANARYDIR"), entry(d, "source/l/", ""), entry(r, "source/l/canary", "")},
		"through an old link":            {entry(d, "source/", ""), entry(r, "source/old/canary", "")},
		"hard link out":                  {entry(d, "source/", ""), entry(l, "source/h", "../canary")},
		"hard link through a link":       {entry(d, "source/", ""), entry(s, "source/l", "CANARYDIR"), entry(l, "source/h", "source/l/canary")},
		"hard link through an old link":  {entry(d, "source/", ""), entry(l, "source/h", "source/old/canary")},
		"root is a link, then its child": {entry(s, "source", "CANARYDIR"), entry(r, "source/canary", "")},
	}
	for name, entries := range cases {
		for _, archive := range []bool{false, true} {
			t.Run(fmt.Sprint(name, archive), func(t *testing.T) {
				host, _, dir := sides(t)
				makeTree(t, dir, "canaries", "canaries/canary=safe", "to", "to/source", "to/source/old -> ../../canaries")
				for _, hdr := range entries {
					hdr.Linkname = strings.ReplaceAll(hdr.Linkname, "CANARYDIR", dir+"/canaries")
					hdr.Uid = os.Getuid()
				}
				if name == "root is a link, then its child" {
					if err := os.RemoveAll(dir + "/to/source"); err != nil {
						t.Fatal(err)
					}
				}
				err := host.Receive(t.Context(), bytes.NewReader(makeTar(t, entries...)), dir+"/to", ReceiveOptions{Name: "source", Archive: archive})
				if err == nil {
					t.Error("it was taken")
				}
				if got := listTree(t, dir+"/canaries"); !slices.Equal(got, []string{"canary=safe"}) {
					t.Errorf("the canary: %q", got)
				}
				if info, err := os.Stat(dir + "/canaries"); err != nil || info.Mode() != fs.ModeDir|0o755 {
					t.Errorf("its directory: %v, %v", info, err)
				}
				var st unix.Stat_t
				if err := unix.Stat(dir+"/canaries/canary", &st); err != nil || st.Nlink != 1 {
					t.Errorf("the canary has %d names (%v)", st.Nlink, err)
				}
			})
		}
	}
}

// A program of a container must not become one that makes the host's users root.
func TestPrivilegesOnTheHost(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	data := makeTar(t, entry(tar.TypeDir, "source/", ""), entry(tar.TypeReg, "source/su", ""), entry(tar.TypeChar, "source/disk", ""))
	for archive, want := range map[bool]struct {
		mode uint32
		uid  uint32
	}{false: {0o755, 0}, true: {0o6755, 1 << 20}} {
		host, _, dir := sides(t)
		var notes []string
		o := ReceiveOptions{Archive: archive, Note: func(text string) { notes = append(notes, text) }}
		if err := host.Receive(t.Context(), bytes.NewReader(data), dir+"/to", o); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"/to", "/to/su"} {
			var st unix.Stat_t
			if err := unix.Lstat(dir+name, &st); err != nil || st.Mode&0o7777 != want.mode || st.Uid != want.uid {
				t.Errorf("archive %v: %s has mode %o, owner %d (%v)", archive, name, st.Mode, st.Uid, err)
			}
		}
		_, err := unix.Lgetxattr(dir+"/to/su", capabilityAttr, make([]byte, 64))
		if has := err == nil; has != archive && !errors.Is(err, unix.ENOTSUP) {
			t.Errorf("archive %v: file capabilities: %v", archive, err)
		}
		if _, err := unix.Lgetxattr(dir+"/to", "trusted.overlay.redirect", make([]byte, 64)); err == nil {
			t.Error("an attribute of overlayfs was set")
		}
		if _, err := os.Lstat(dir + "/to/disk"); !errors.Is(err, fs.ErrNotExist) || len(notes) != 1 || !strings.Contains(notes[0], "/to/disk") {
			t.Errorf("a device: %v, notes %q", err, notes)
		}
	}
}

// A directory of the user's that is there keeps what the user has set.
func TestDirectoriesThatAreThere(t *testing.T) {
	host, _, dir := sides(t)
	makeTree(t, dir, "to", "to/source", "to/source/sub")
	for _, name := range []string{"to/source", "to/source/sub"} {
		if err := os.Chmod(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	data := makeTar(t, entry(tar.TypeDir, "source/", ""), entry(tar.TypeDir, "source/sub/", ""), entry(tar.TypeReg, "source/sub/x", ""))
	if err := host.Receive(t.Context(), bytes.NewReader(data), dir+"/to", ReceiveOptions{Name: "source"}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"to/source", "to/source/sub"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode() != fs.ModeDir|0o700 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
}

// In a container a link to a directory is what a tar's directory means: /bin is one in
// many images. It cannot lead out.
func TestTarThroughLinksOfTheContainer(t *testing.T) {
	_, container, dir := sides(t)
	makeTree(t, dir, "root/usr", "root/usr/bin", "root/bin -> usr/bin", "outside")
	makeTree(t, dir+"/root", "out -> ../../../../../../../../../../.."+dir+"/outside", "abs -> "+dir+"/outside")
	extract := func(entries ...*tar.Header) error {
		return container.Receive(t.Context(), bytes.NewReader(makeTar(t, entries...)), "/", ReceiveOptions{Extract: true})
	}
	if err := extract(entry(tar.TypeDir, "./", ""), entry(tar.TypeDir, "bin/", ""), entry(tar.TypeReg, "bin/tool", ""), entry(tar.TypeReg, "a/b/c", "")); err != nil {
		t.Fatal(err)
	}
	got := listTree(t, dir+"/root")
	for _, want := range []string{"bin -> usr/bin", "usr/bin/tool=evil\n", "a/b/c=evil\n"} {
		if !slices.Contains(got, want) {
			t.Errorf("%q is not in %q", want, got)
		}
	}
	for _, name := range []string{"out/x", "abs/x"} {
		if err := extract(entry(tar.TypeReg, name, "")); err == nil {
			t.Errorf("%s was made", name)
		}
	}
	if got := listTree(t, dir+"/outside"); len(got) > 0 {
		t.Errorf("outside: %q", got)
	}
}

// What is cut off in the middle leaves neither a half file nor a temporary one, and the
// one that was there.
func TestCutShort(t *testing.T) {
	host, _, dir := sides(t)
	makeTree(t, dir, "to", "to/x=old")
	whole := makeTar(t, entry(tar.TypeReg, "x", ""), entry(tar.TypeReg, "y", ""))
	for n := range len(whole) - 512 {
		if n%64 != 0 && n%512 > 6 {
			continue
		}
		err := host.Receive(t.Context(), bytes.NewReader(whole[:n]), dir+"/to", ReceiveOptions{Extract: true})
		if !errors.Is(err, ErrCutShort) {
			t.Fatalf("%d of %d bytes: %v", n, len(whole), err)
		}
		for _, line := range listTree(t, dir+"/to") {
			if !slices.Contains([]string{"x=old", "x=evil\n", "y=evil\n"}, line) {
				t.Fatalf("%d bytes: %q is there", n, line)
			}
		}
	}
	err := host.Receive(t.Context(), strings.NewReader(strings.Repeat("no tar ", 1000)), dir+"/to", ReceiveOptions{Extract: true})
	if !errors.Is(err, tar.ErrHeader) {
		t.Errorf("no tar: %v", err)
	}
}

func TestCancelled(t *testing.T) {
	host, _, dir := sides(t)
	makeTree(t, dir, "from", "from/x=1", "to")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := host.Send(ctx, io.Discard, dir+"/from", SendOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("send: %v", err)
	}
	data := makeTar(t, entry(tar.TypeReg, "x", ""))
	if err := host.Receive(ctx, bytes.NewReader(data), dir+"/to", ReceiveOptions{Extract: true}); !errors.Is(err, context.Canceled) {
		t.Errorf("receive: %v", err)
	}
	if got := listTree(t, dir+"/to"); len(got) > 0 {
		t.Errorf("left: %q", got)
	}
}

// The log of a container that runs may be cut while it is read; tar(1) fills up with
// zeros too.
func TestFileThatShrinks(t *testing.T) {
	_, container, dir := sides(t)
	log := dir + "/root/log"
	if err := os.WriteFile(log, bytes.Repeat([]byte{1}, 4*bufferSize), 0o644); err != nil {
		t.Fatal(err)
	}
	r, w := io.Pipe()
	var notes []string
	go func() {
		o := SendOptions{Name: Top, Note: func(text string) { notes = append(notes, text) }}
		w.CloseWithError(container.Send(t.Context(), w, "/log", o))
	}()
	archive := tar.NewReader(r)
	if _, err := archive.Next(); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(log, 10); err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(archive)
	if err != nil || len(content) != 4*bufferSize {
		t.Fatalf("%d bytes, %v", len(content), err)
	}
	if _, err := archive.Next(); err != io.EOF {
		t.Errorf("after it: %v", err)
	}
	if len(notes) != 1 || !strings.Contains(notes[0], "/log became shorter") {
		t.Errorf("notes: %q", notes)
	}
}

// open(2) of a fifo waits or wakes somebody, that of a device acts: neither is opened.
// inotify(7) tells of every open but those with O_PATH.
func TestFifosAreNotOpened(t *testing.T) {
	host, container, dir := sides(t)
	makeTree(t, dir, "root/tree", "root/tree/file=x")
	if err := unix.Mkfifo(dir+"/root/tree/fifo", 0o644); err != nil {
		t.Fatal(err)
	}
	watch, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(watch)
	for _, name := range []string{"fifo", "file"} {
		if _, err := unix.InotifyAddWatch(watch, dir+"/root/tree/"+name, unix.IN_OPEN); err != nil {
			t.Fatal(err)
		}
	}
	if err := copyBetween(t, container, "/tree", "tree", false, host, dir, ReceiveOptions{}); err != nil {
		t.Fatal(err)
	}
	events := make([]byte, 4096)
	n, err := unix.Read(watch, events)
	if err != nil || n != unix.SizeofInotifyEvent { // the one of the file
		t.Errorf("%d bytes of events, want %d (%v)", n, unix.SizeofInotifyEvent, err)
	}
	if info, err := os.Lstat(dir + "/tree/fifo"); err != nil || info.Mode().Type() != fs.ModeNamedPipe {
		t.Errorf("the copy: %v, %v", info, err)
	}
}

// No descriptor per level is left open, and a tree that is too deep is an error.
func TestDepth(t *testing.T) {
	_, container, dir := sides(t)
	fd, err := unix.Open(dir+"/root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	for range maxDepth + 2 {
		if err == nil {
			err = unix.Mkdirat(fd, "d", 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
		parent := fd
		fd, err = unix.Openat(parent, "d", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		unix.Close(parent)
	}
	unix.Close(fd)
	if err := container.Send(t.Context(), io.Discard, "/", SendOptions{}); err == nil || !strings.Contains(err.Error(), "nested deeper") {
		t.Errorf("%v", err)
	}
}

// A container names its files as it likes: a copy must neither fail nor change a name.
func TestStrangeNames(t *testing.T) {
	host, container, dir := sides(t)
	makeTree(t, dir, "root/tree", "root/tree/\xff\xfe=1", "root/tree/a\nb=2", "root/tree/ =3", "root/tree/...=4", "root/tree/.wh.x=5", "root/tree/\x1b[2J=6",
		"root/tree/"+strings.Repeat("n", 255)+"=7", "root/tree/-rf=8", "root/tree/source=9", "root/tree/l -> \xff\n")
	attribute := unix.Setxattr(dir+"/root/tree/-rf", "user.a=b", []byte("x"), 0) // which no PAX header can hold
	if err := copyBetween(t, container, "/tree", "tree", false, host, dir+"/tree", ReceiveOptions{}); err != nil {
		t.Errorf("%v (attribute: %v)", err, attribute)
	}
	if got, want := listTree(t, dir+"/tree"), listTree(t, dir+"/root/tree"); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// What is mounted in a tree stays mounted: rename(2) in one mount namespace takes a mount
// of another away.
func TestMountsAreNotReplaced(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	_, container, dir := sides(t)
	makeTree(t, dir+"/root", "file=below", "over=above")
	mounted, release := make(chan error), make(chan struct{})
	var root int
	go func() { // a mount namespace as a container has one
		runtime.LockOSThread() // never unlocked: the thread ends, and the namespace with it
		err := unix.Unshare(unix.CLONE_NEWNS)
		if err == nil {
			err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		}
		if err == nil {
			err = unix.Mount(dir+"/root/over", dir+"/root/file", "", unix.MS_BIND, "")
		}
		if err == nil {
			root, err = unix.Open(dir+"/root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		}
		mounted <- err
		<-release
	}()
	if err := <-mounted; err != nil {
		t.Skip("needs mount namespaces: ", err)
	}
	defer close(release)
	defer unix.Close(root)
	inside := *container
	inside.root = root
	if err := inside.Receive(t.Context(), bytes.NewReader(makeTar(t, entry(tar.TypeReg, "source", ""))), "/file", ReceiveOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := inside.Receive(t.Context(), bytes.NewReader(makeTar(t, entry(tar.TypeSymlink, "source", "x"))), "/file", ReceiveOptions{}); !errors.Is(err, errMounted) {
		t.Errorf("a link over a mount: %v", err)
	}
	if got := listTree(t, dir+"/root"); !slices.Equal(got, []string{"file=below", "over=evil\n"}) {
		t.Errorf("%q", got)
	}
}
