package render

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/internal/agent"
	"github.com/cocker/cocker/internal/template"
	"github.com/cocker/cocker/rootfs"
)

// An agent is the program that starts it.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == Verb && os.Args[2] == Argument {
		if err := Serve(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

const base = 0x70000000

// tree is a directory that belongs to a container's root, with files.
func tree(t *testing.T, files map[string]string) (agent.Tree, string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir := t.TempDir()
	for path, text := range files {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, base, base)
	})
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	root := os.NewFile(uintptr(fd), dir)
	t.Cleanup(func() { root.Close() })
	return agent.Tree{Root: root, IDBase: base}, dir
}

func job(source, target string, values template.Values) Job {
	return Job{Name: source, Source: source, Target: target, Values: values}
}

func TestRunAsTheContainersRoot(t *testing.T) {
	tree, dir := tree(t, map[string]string{"a.tpl": "${A}\xff\n"})
	uid, gid, mode := uint32(33), uint32(34), uint32(0o604)
	other := job("/a.tpl", "/sub/b", template.Values{"A": []byte("\x00\xfe")})
	other.UID, other.GID, other.Mode = &uid, &gid, &mode
	own := Job{Name: "/host.tpl", Text: []byte("h ${A}"), Meta: rootfs.Meta{Mode: 0o600}, Target: "/c", Values: template.Values{"A": []byte("b")}}
	results, err := Run(t.Context(), tree, true, []Job{other, own})
	if err != nil || len(results) != 2 || !results[0].Changed || !results[1].Changed {
		t.Fatalf("got %+v, %v", results, err)
	}
	for path, want := range map[string]struct {
		text           string
		uid, gid, mode uint32
	}{
		"sub/b": {"\x00\xfe\xff\n", base + 33, base + 34, 0o604},
		"c":     {"h b", base, base, 0o600},
	} {
		text, err := os.ReadFile(filepath.Join(dir, path))
		if err != nil || string(text) != want.text {
			t.Errorf("%s: %q, %v", path, text, err)
		}
		var st syscall.Stat_t
		if err := syscall.Stat(filepath.Join(dir, path), &st); err != nil || st.Uid != want.uid || st.Gid != want.gid || st.Mode&0o7777 != want.mode {
			t.Errorf("%s: %d:%d %04o, %v", path, st.Uid, st.Gid, st.Mode&0o7777, err)
		}
	}
	results, err = Run(t.Context(), tree, true, []Job{other, own})
	if err != nil || results[0].Changed || results[1].Changed {
		t.Errorf("again: %+v, %v", results, err)
	}
}

// What belongs to the host's root is out of reach, although the caller is that.
func TestRunHasNoPowerOverTheHost(t *testing.T) {
	tree, dir := tree(t, map[string]string{"a.tpl": "x"})
	closed := filepath.Join(dir, "closed")
	if err := os.Mkdir(closed, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(closed, "secret"), []byte("s"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, j := range []Job{job("/a.tpl", "/closed/new", nil), job("/a.tpl", "/closed/secret", nil), job("/closed/secret", "/b", nil)} {
		if _, err := Run(t.Context(), tree, true, []Job{j}); err == nil || !strings.Contains(err.Error(), "the container's root may not") {
			t.Errorf("%s to %s: %v", j.Source, j.Target, err)
		}
	}
	if entries, _ := os.ReadDir(closed); len(entries) != 1 {
		t.Errorf("something is new: %v", entries)
	}
}

func TestRunWritesAllOrNothing(t *testing.T) {
	tree, dir := tree(t, map[string]string{"a.tpl": "fine", "b.tpl": "${B}\n${C}", "c.tpl": "${D}"})
	_, err := Run(t.Context(), tree, true, []Job{job("/a.tpl", "/a", nil), job("/b.tpl", "/b", nil), job("/c.tpl", "/c", nil), job("/none", "/d", nil)})
	for _, want := range []string{"/b.tpl:1: there is no value for ${B}", "/b.tpl:2: there is no value for ${C}", "/c.tpl:1: there is no value for ${D}", "open /none"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 3 {
		t.Errorf("something is new: %v", entries)
	}
}

func TestRunDry(t *testing.T) {
	tree, dir := tree(t, map[string]string{"a.tpl": "new", "a": "old"})
	results, err := Run(t.Context(), tree, false, []Job{job("/a.tpl", "/a", nil), job("/a.tpl", "/sub/b", nil), job("/a.tpl", "/a.tpl", nil)})
	if err != nil || len(results) != 3 {
		t.Fatalf("got %+v, %v", results, err)
	}
	for i, want := range []Result{{"/a", true, []byte("old"), []byte("new")}, {"/sub/b", true, nil, []byte("new")}, {"/a.tpl", false, []byte("new"), []byte("new")}} {
		if got := results[i]; got.Target != want.Target || got.Changed != want.Changed || string(got.Old) != string(want.Old) || string(got.New) != string(want.New) {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 2 {
		t.Errorf("something is new: %v", entries)
	}
}
