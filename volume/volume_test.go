package volume

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
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// newStore is a store in a directory of its own; busy volumes are mounted by "web".
func newStore(t *testing.T, busy ...string) *Store {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("volumes hold the files of other users: needs root")
	}
	return Open(t.TempDir(), func(name string) ([]string, error) {
		if slices.Contains(busy, name) {
			return []string{"web"}, nil
		}
		return nil, nil
	})
}

func shell(t *testing.T, dir, script string, args ...string) string {
	t.Helper()
	command := exec.Command("sh", append([]string{"-ec", script, "sh"}, args...)...)
	command.Dir = dir
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return string(out)
}

// tree is what a volume may be made of.
const tree = `umask 0; mkdir -p sub/empty; echo hello >sub/file; ln sub/file again; ln -s /etc/passwd link; mkfifo -m 640 fifo
	chown -h 5:6 link; chown 1000:33 sub sub/file; chmod 2750 sub; chmod 4711 again; touch -d @1234567890 again sub
	mknod null c 1 3; mknod whiteout c 0 0; echo x >.wh.x; mkdir -m 700 private; truncate -s 3M sparse
	chmod 1751 .; chown 7:8 .`

const show = `find . -printf '%P %y %m %U:%G %n %l %s\n' | sed 's/ \([dl] .*\) [0-9]*$/ \1/; /^null\|^whiteout/s/ [0-9]*$//' | sort
	stat -c '%Y %N' again sub; stat -c '%t:%T' null whiteout; cat again .wh.x`

// attributes are those of the tree: capabilities(7), cap_net_raw=ep in the form of
// version 2; acl(5), user 1000 may read.
var attributes = []struct{ name, file, value string }{ //nolint:gochecknoglobals // a table
	{"user.color", "sub", "red"},
	{"security.capability", "again", "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"},
	{"system.posix_acl_access", "sparse", "\x02\x00\x00\x00" + "\x01\x00\x06\x00\xff\xff\xff\xff" + "\x02\x00\x04\x00\xe8\x03\x00\x00" +
		"\x04\x00\x04\x00\xff\xff\xff\xff" + "\x10\x00\x04\x00\xff\xff\xff\xff" + "\x20\x00\x00\x00\xff\xff\xff\xff"},
}

// makeTree makes the tree and says what it is.
func makeTree(t *testing.T, dir string) string {
	t.Helper()
	shell(t, dir, tree)
	for _, a := range attributes {
		if err := unix.Setxattr(filepath.Join(dir, a.file), a.name, []byte(a.value), 0); err != nil {
			t.Skipf("%s: %v", a.name, err)
		}
	}
	return shell(t, dir, "touch -d @1234567890 again sub") + look(t, dir)
}

// look says what a tree is.
func look(t *testing.T, dir string) string {
	t.Helper()
	text := shell(t, dir, show)
	for _, a := range attributes {
		value := make([]byte, 256)
		n, err := unix.Getxattr(filepath.Join(dir, a.file), a.name, value)
		text += fmt.Sprintf("%s %q %v\n", a.name, value[:max(n, 0)], err)
	}
	return text
}

func content(t *testing.T, dir string, base uint32) Content {
	t.Helper()
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return Content{Dir: f, Base: base}
}

func ignore(string) {}

// find(1), stat(1) and getxattr(2) see the same in the copy as in the original.
func TestContent(t *testing.T) {
	s, source := newStore(t), t.TempDir()
	want := makeTree(t, source)
	data, err := s.Prepare(context.Background(), "db", 0, content(t, source, 0), ignore)
	if err != nil || data != s.dataOf("db") {
		t.Fatal(data, err)
	}
	if got := look(t, data); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if blocks := strings.Fields(shell(t, data, "du -k sparse"))[0]; blocks != "0" {
		t.Errorf("the sparse file takes %s KiB", blocks)
	}
	if got := shell(t, s.dir(), "stat -c %a . db; ls -A db"); got != "700\n700\ndata\n" {
		t.Errorf("the directories: %q", got)
	}
	shell(t, data, "echo changed >sub/file")
	other := t.TempDir()
	if _, err := s.Prepare(context.Background(), "db", 0, content(t, other, 0), ignore); err != nil {
		t.Fatal(err)
	}
	if got := shell(t, data, "cat sub/file"); got != "changed\n" {
		t.Errorf("a second start changed the content: %q", got)
	}
}

// A tree with shifted owners, as an overlay for a container shows it, comes back to the
// ids inside; what is no id of the container is nobody.
func TestShiftedContent(t *testing.T) {
	s, source := newStore(t), t.TempDir()
	shell(t, source, `touch a b c; chown 1879048192:1879048225 a; chown 1879113727 b; chown 0:1879113728 c; chown 1879048199 .`)
	data, err := s.Prepare(context.Background(), "db", 0, content(t, source, 0x70000000), ignore)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := shell(t, data, "stat -c '%n %u:%g' . a b c"), ". 7:65534\na 0:33\nb 65535:65534\nc 65534:65534\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestNoContent(t *testing.T) {
	s := newStore(t)
	data, err := s.Prepare(context.Background(), "empty", 0, Content{}, ignore)
	if err != nil {
		t.Fatal(err)
	}
	if got := shell(t, data, "stat -c '%a %u:%g' .; ls -A"); got != "755 0:0\n" {
		t.Errorf("got %q", got)
	}
}

// Of many who start with a new volume at the same time one fills it, and all get it
// whole.
func TestPrepareAtTheSameTime(t *testing.T) {
	s := newStore(t)
	var group sync.WaitGroup
	sources := make([]string, 8)
	for i := range sources {
		sources[i] = t.TempDir()
		shell(t, sources[i], `for i in $(seq 50); do echo $1 >$i; done`, string(rune('a'+i)))
		from := content(t, sources[i], 0)
		group.Go(func() {
			data, err := s.Prepare(context.Background(), "db", 0, from, ignore)
			if err != nil {
				t.Error(err)
				return
			}
			if files, err := os.ReadDir(data); err != nil || len(files) != 50 {
				t.Errorf("%d files, %v", len(files), err)
			}
		})
	}
	group.Wait()
	if got := strings.Fields(shell(t, s.dataOf("db"), "cat * | sort -u")); len(got) != 1 {
		t.Errorf("the content is of %v", got)
	}
}

// What somebody who was killed has left is no content.
func TestLeftByKill(t *testing.T) {
	s, source := newStore(t), t.TempDir()
	shell(t, source, "echo whole >file")
	if err := s.Create("db", 0); err != nil {
		t.Fatal(err)
	}
	shell(t, s.dir(), "mkdir -p db/data.new/deep; echo half >db/data.new/file; mkdir -p .old.removed/data/a")
	data, err := s.Prepare(context.Background(), "db", 0, content(t, source, 0), ignore)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Create("next", 0); err != nil {
		t.Fatal(err)
	}
	if got := shell(t, s.dir(), "ls -A; rmdir next"); got != "db\nnext\n" {
		t.Errorf("got %q", got)
	}
	if got := shell(t, data, "ls -A; cat file; ls -A .."); got != "file\nwhole\ndata\n" {
		t.Errorf("got %q", got)
	}
	if names, err := s.Names(); err != nil || !slices.Equal(names, []string{"db"}) {
		t.Errorf("%v, %v", names, err)
	}
	if err := s.Remove("db"); err != nil {
		t.Error(err)
	}
	if got := shell(t, s.dir(), "ls -A"); got != "" {
		t.Errorf("left: %q", got)
	}
}

// A start that cannot fill a volume leaves none.
func TestPrepareFails(t *testing.T) {
	s, source := newStore(t), t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	shell(t, source, "touch a")
	if _, err := s.Prepare(ctx, "db", 0, content(t, source, 0), ignore); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if got := shell(t, s.dir(), "ls -A"); got != "" {
		t.Errorf("left: %q", got)
	}
	if err := s.Create("db", 0); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Prepare(ctx, "db", 0, content(t, source, 0), ignore); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if got := shell(t, s.dir(), "ls -A . db"); got != ".:\ndb\n\ndb:\n" {
		t.Errorf("what was made before is lost, or something is left: %q", got)
	}
}

func TestRefused(t *testing.T) {
	s := newStore(t, "busy")
	for _, name := range []string{"", "..", ".", "a/b", ".x", "-x"} {
		_, err := s.Prepare(context.Background(), name, 0, Content{}, ignore)
		_, inspected := s.Inspect(name)
		for what, err := range map[string]error{"prepare": err, "create": s.Create(name, 0), "remove": s.Remove(name), "inspect": inspected,
			"import": s.Import(context.Background(), name, strings.NewReader(""), false, ignore), "export": s.Export(context.Background(), name, nil, ignore)} {
			if err == nil || !strings.Contains(err.Error(), "volume") {
				t.Errorf("%s %q: %v", what, name, err)
			}
		}
	}
	if err := s.Create("busy", 0); err != nil {
		t.Fatal(err)
	}
	if err := s.Create("busy", 0); !errors.Is(err, ErrExists) {
		t.Errorf("create: %v", err)
	}
	if err := s.Remove("busy"); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), "busy is mounted by web") {
		t.Errorf("remove: %v", err)
	}
	if err := s.Remove("none"); !errors.Is(err, ErrNotFound) {
		t.Errorf("remove: %v", err)
	}
	if err := s.Export(context.Background(), "busy", nil, ignore); err == nil || !strings.Contains(err.Error(), "no content yet") {
		t.Errorf("export: %v", err)
	}
}

// tar(1) reads what is exported; what it writes, and what was exported, is imported.
func TestExportImport(t *testing.T) {
	s, source := newStore(t), t.TempDir()
	want := makeTree(t, source)
	if _, err := s.Prepare(context.Background(), "db", 0, content(t, source, 0), ignore); err != nil {
		t.Fatal(err)
	}
	var exported bytes.Buffer
	if err := s.Export(context.Background(), "db", &exported, ignore); err != nil {
		t.Fatal(err)
	}
	archive := filepath.Join(t.TempDir(), "db.tar")
	if err := os.WriteFile(archive, exported.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	extracted := t.TempDir()
	shell(t, extracted, `tar --xattrs --xattrs-include='*' --numeric-owner --same-permissions -xf "$1"`, archive)
	if got := look(t, extracted); got != want {
		t.Errorf("tar makes\n%s\nof it, want\n%s", got, want)
	}
	byTar := shell(t, source, `tar --xattrs --xattrs-include='*' --numeric-owner --format=pax -cf - .`)
	for name, text := range map[string]string{"ours": exported.String(), "tars": byTar} {
		if err := s.Import(context.Background(), name, strings.NewReader(text), false, ignore); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := look(t, s.dataOf(name)); got != want {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
		}
	}
}

func archiveOf(t *testing.T, names ...string) string {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, name := range names {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.String()
}

func TestReplace(t *testing.T) {
	s := newStore(t, "busy")
	for _, name := range []string{"db", "busy"} {
		if err := s.Import(context.Background(), name, strings.NewReader(archiveOf(t, "old")), false, ignore); err != nil {
			t.Fatal(err)
		}
	}
	next := archiveOf(t, "new")
	if err := s.Import(context.Background(), "db", strings.NewReader(next), false, ignore); !errors.Is(err, ErrExists) || !strings.Contains(err.Error(), "--replace") {
		t.Errorf("without --replace: %v", err)
	}
	if err := s.Import(context.Background(), "busy", strings.NewReader(next), true, ignore); !errors.Is(err, ErrInUse) {
		t.Errorf("in use: %v", err)
	}
	for _, bad := range []string{next[:600], archiveOf(t, "ok", "../escape"), archiveOf(t, "/abs"), "garbage"} {
		if err := s.Import(context.Background(), "db", strings.NewReader(bad), true, ignore); err == nil {
			t.Errorf("%.20q was imported", bad)
		}
	}
	if got := shell(t, s.dir(), "ls -A db db/data busy/data"); got != "busy/data:\nold\n\ndb:\ndata\n\ndb/data:\nold\n" {
		t.Errorf("after errors: %q", got)
	}
	if err := s.Import(context.Background(), "db", strings.NewReader(next), true, ignore); err != nil {
		t.Fatal(err)
	}
	if got := shell(t, s.dir(), "ls -A db db/data"); got != "db:\ndata\n\ndb/data:\nnew\n" {
		t.Errorf("after: %q", got)
	}
	if err := s.Import(context.Background(), "fresh", strings.NewReader("garbage"), false, ignore); err == nil {
		t.Error("garbage was imported")
	}
	if names, err := s.Names(); err != nil || !slices.Equal(names, []string{"busy", "db"}) {
		t.Errorf("%v, %v", names, err)
	}
}

func TestImportInterrupted(t *testing.T) {
	s := newStore(t)
	ctx, cancel := context.WithCancel(context.Background())
	r, w := io.Pipe()
	defer w.Close()
	go func() {
		_, _ = io.WriteString(w, archiveOf(t, "a")[:512])
		cancel()
	}()
	if err := s.Import(ctx, "db", r, false, ignore); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if got := shell(t, s.dir(), "ls -A"); got != "" {
		t.Errorf("left: %q", got)
	}
}

// A container that writes while its volume is read cannot lead the reader elsewhere, and
// nothing that is mounted in it is read.
func TestExportOfHostileContent(t *testing.T) {
	s := newStore(t)
	if _, err := s.Prepare(context.Background(), "db", 0, Content{}, ignore); err != nil {
		t.Fatal(err)
	}
	data := s.dataOf("db")
	shell(t, data, "mkdir mounted; ln -s / root; ln -s /etc dir")
	if err := unix.Mount("x", data+"/mounted", "tmpfs", 0, ""); err != nil {
		t.Skip(err)
	}
	defer unix.Unmount(data+"/mounted", unix.MNT_DETACH)
	shell(t, data, "touch mounted/canary")
	var out bytes.Buffer
	var notes []string
	if err := s.Export(context.Background(), "db", &out, func(note string) { notes = append(notes, note) }); err != nil {
		t.Fatal(err)
	}
	var names []string
	for r := tar.NewReader(&out); ; {
		hdr, err := r.Next()
		if err != nil {
			break
		}
		names = append(names, hdr.Name)
	}
	if want := []string{"./", "./dir", "./root"}; !slices.Equal(names, want) {
		t.Errorf("got %v", names)
	}
	if len(notes) != 1 || !strings.Contains(notes[0], "mounted") {
		t.Errorf("notes %q", notes)
	}
}

// A PAX header has no form for "=" in the name of an attribute, and whoever may write to
// a file can give it one (xattr(7)): it must not keep the volume from being saved.
func TestExportOfNamesWithoutForm(t *testing.T) {
	s := newStore(t)
	if _, err := s.Prepare(context.Background(), "db", 0, Content{}, ignore); err != nil {
		t.Fatal(err)
	}
	shell(t, s.dataOf("db"), "mkdir d; echo x >d/f; echo y >later")
	for file, attribute := range map[string]string{"d": "user.=", "d/f": "user.a=b"} {
		if err := unix.Setxattr(filepath.Join(s.dataOf("db"), file), attribute, []byte("v"), 0); err != nil {
			t.Skip(err)
		}
	}
	var out bytes.Buffer
	var notes []string
	if err := s.Export(context.Background(), "db", &out, func(note string) { notes = append(notes, note) }); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "./later") || len(notes) != 2 || !strings.Contains(notes[1], `"user.a=b"`) {
		t.Errorf("notes %q", notes)
	}
}

func TestInspect(t *testing.T) {
	s := newStore(t)
	if err := s.Create("new", 0); err != nil {
		t.Fatal(err)
	}
	if err := s.Import(context.Background(), "db", strings.NewReader(archiveOf(t, "a")), false, ignore); err != nil {
		t.Fatal(err)
	}
	list, err := s.List()
	if err != nil || len(list) != 2 || list[0].Name != "db" || !list[0].Filled || list[0].Limit != 0 || list[1].Name != "new" || list[1].Filled {
		t.Errorf("%+v, %v", list, err)
	}
	if _, err := s.Inspect("none"); !errors.Is(err, ErrNotFound) {
		t.Errorf("%v", err)
	}
}
