package units

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coreos/go-systemd/v22/unit"

	"github.com/cocker/cocker/config"
)

func TestBytes(t *testing.T) {
	f := File{Header: "made"}
	f.Add("Unit", "After", "a.service")
	f.Add("Service", "ExecStopPost", "")
	f.Add("Unit", "After", "b.service")
	got, err := f.Bytes()
	if want := "# made\n[Unit]\nAfter=a.service\nAfter=b.service\n\n[Service]\nExecStopPost=\n"; err != nil || string(got) != want {
		t.Errorf("got %v %q, want %q", err, got, want)
	}
	if len(f.Section("Unit")) != 2 || f.Section("Install") != nil {
		t.Errorf("sections: %v", f)
	}
}

func TestUnsafeValues(t *testing.T) {
	for _, l := range []Line{
		{"A", "a\nB=c"}, {"A", "a\rB=c"}, {"A", "a\x00"}, {"A", "a\\"}, {"A", "a\\\\"}, {"A", "\x1b[2J"}, {"A", "\xff"}, {"A", "\u0085"},
		{"A", strings.Repeat("a", 1<<20)}, {"", "a"}, {"A\nB", "a"}, {"[A]", "a"}, {"#A", "a"}, {"A=b\nC", "a"},
	} {
		f := File{Sections: []Section{{"Unit", []Line{l}}}}
		if text, err := f.Bytes(); !errors.Is(err, ErrUnsafe) {
			t.Errorf("%q: %v, %q", l, err, text)
		}
	}
	if _, err := (File{Header: "a\nb"}).Bytes(); !errors.Is(err, ErrUnsafe) {
		t.Errorf("comment: %v", err)
	}
}

func TestWord(t *testing.T) {
	for in, want := range map[string]string{
		"/srv/www": "/srv/www", "/a%b": "/a%%b", "/a b": `"/a b"`, `/a"b`: `"/a\"b"`, `/a\`: `"/a\\"`, "/a'b": `"/a'b"`, "": `""`, "/é": "/é", "/a;b": `"/a;b"`,
	} {
		if got := Word(in); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}

func TestWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b.d", "c.conf")
	for _, text := range []string{"a long first text\n", "short\n", ""} {
		if err := Write(path, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != text {
			t.Errorf("got %q, %v", got, err)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if list, _ := os.ReadDir(filepath.Dir(path)); len(list) != 1 {
		t.Errorf("left over: %v", list)
	}
}

func TestWriteFails(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "a.conf", "x"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a.conf", "file/x.conf"} {
		if err := Write(filepath.Join(dir, name), []byte("x")); err == nil || !strings.Contains(err.Error(), "write unit: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if list, _ := os.ReadDir(dir); len(list) != 2 {
		t.Errorf("left over: %v", list)
	}
}

// Whatever stands in a container, either the text is refused or another parser
// of unit files finds exactly the directives that were meant.
func FuzzNoEscape(f *testing.F) {
	f.Add("a\nExecStart=/bin/sh", "/srv/a b", "x\\", "%n")
	f.Add("100% \"sure\" \\x", "/a\\", "Restart", "[Service]")
	f.Add("# no", ";no", "\u2028", "'\"")
	f.Fuzz(func(t *testing.T, description, source, signal, value string) {
		c := &config.Container{
			Name: "web", Description: description, Init: config.InitNone, StopSignal: signal,
			Network: config.Network{Mode: config.NetworkHost}, Sources: []string{source},
			Mounts:    []config.Mount{{Type: config.MountBind, Source: source, Target: "/t"}},
			Resources: config.Resources{MemoryMax: signal, CPUs: source},
			Unit:      []config.Directive{{Key: "After", Value: value}}, Service: []config.Directive{{Key: "ExecStartPre", Value: value}},
		}
		file := ForContainer(c)
		// The other parser takes no line above 2048 bytes (SYSTEMD_LINE_MAX).
		if text, err := file.Bytes(); err == nil && len(text) < 2048 {
			compare(t, file, text)
		}
	})
}

func compare(t *testing.T, f File, text []byte) {
	t.Helper()
	sections, err := unit.DeserializeSections(bytes.NewReader(text))
	if err != nil || len(sections) != len(f.Sections) {
		t.Fatalf("%v: %d sections in %q", err, len(sections), text)
	}
	for i, s := range sections {
		want := f.Sections[i]
		if s.Section != want.Name || len(s.Entries) != len(want.Lines) {
			t.Fatalf("got %v, want %v", s, want)
		}
		for j, e := range s.Entries {
			if l := want.Lines[j]; e.Name != l.Key || e.Value != strings.TrimSpace(l.Value) {
				t.Errorf("got %q=%q, want %q", e.Name, e.Value, l)
			}
		}
	}
}
