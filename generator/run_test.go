package generator

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/cocker/cocker/config"
)

// etc makes a configuration directory with a good file for each name.
func etc(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	files := map[string]string{}
	for _, name := range names {
		files["containers/"+name+".toml"] = "image = \"a\"\n[install]\nwanted_by = [\"a.target\"]\n"
	}
	writeTree(t, dir, files)
	return dir
}

func TestUsage(t *testing.T) {
	for args, want := range map[string]int{"": exitUsage, "a b": exitUsage, "a b c d": exitUsage, "--foo": exitUsage, "--help": exitOK} {
		var stdout, stderr bytes.Buffer
		if got := Run(strings.Fields(args), &stdout, &stderr); got != want || !strings.Contains(stderr.String(), "usage: ") || stdout.Len() > 0 {
			t.Errorf("%q: status %d, %q, %q", args, got, stdout.String(), stderr.String())
		}
	}
}

func TestDryRunPrintsAndWritesNothing(t *testing.T) {
	var out bytes.Buffer
	g := generator{configDirs: []string{etc(t, "b", "a")}, sink: printer{&out}, log: func(string) {}}
	if status := g.run(); status != exitOK {
		t.Fatal("status", status)
	}
	var titles []string
	for line := range strings.Lines(out.String()) {
		if strings.HasPrefix(line, "---") {
			titles = append(titles, strings.Trim(line, "-\n"))
		}
	}
	want := "[cocker@a.service.d/10-cocker.conf a.target.wants/cocker@a.service -> /usr/lib/systemd/system/cocker@.service" +
		" cocker@b.service.d/10-cocker.conf a.target.wants/cocker@b.service -> /usr/lib/systemd/system/cocker@.service]"
	if got := fmt.Sprint(titles); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

// One that can't be written is not enabled, is reported, and stops no other.
func TestWriteFailureIsIsolated(t *testing.T) {
	out := t.TempDir()
	writeTree(t, out, map[string]string{"cocker@b.service.d": "a file in the way", "a.target.wants/cocker@c.service": "-> /elsewhere"})
	var lines []string
	g := generator{configDirs: []string{etc(t, "a", "b", "c", "d")}, sink: directory(out), log: func(line string) { lines = append(lines, line) }}
	if status := g.run(); status != exitFailed {
		t.Error("status", status)
	}
	if len(lines) != 2 || !strings.Contains(lines[0], "write unit: ") || !strings.Contains(lines[1], "enable: ") {
		t.Errorf("logged %q", lines)
	}
	files := readTree(t, out)
	for name, want := range map[string]bool{"a": true, "b": false, "c": true, "d": true} {
		if _, got := files["cocker@"+name+".service.d/10-cocker.conf"]; got != want {
			t.Errorf("drop-in of %s: %v", name, got)
		}
		if _, got := files["a.target.wants/cocker@"+name+".service"]; got != want {
			t.Errorf("link of %s: %v", name, got)
		}
	}
}

func TestSecondRunIsTheSame(t *testing.T) {
	out := t.TempDir()
	g := generator{configDirs: []string{etc(t, "a")}, sink: directory(out), log: func(line string) { t.Error(line) }}
	for range 2 {
		if status := g.run(); status != exitOK {
			t.Error("status", status)
		}
	}
	if files := readTree(t, out); len(files) != 2 {
		t.Errorf("files: %v", files)
	}
}

func TestUnreadableDirectory(t *testing.T) {
	dir, good := t.TempDir(), etc(t, "a")
	writeTree(t, dir, map[string]string{"containers": "a file"})
	var lines []string
	out := t.TempDir()
	g := generator{configDirs: []string{dir, good}, sink: directory(out), log: func(line string) { lines = append(lines, line) }}
	if status := g.run(); status != exitFailed || len(lines) != 1 || len(readTree(t, out)) != 2 {
		t.Errorf("status %d, logged %q, wrote %v", status, lines, readTree(t, out))
	}
}

func TestLog(t *testing.T) {
	var errs []error
	for i := range maxRecords + 5 {
		errs = append(errs, &config.Problem{File: "/e/a\n.toml", Line: i + 1, Text: "x\x1b\xff"}, nil)
	}
	var lines []string
	logAll(func(line string) { lines = append(lines, line) }, errs)
	if len(lines) != maxRecords+1 || lines[0] != "/e/a?.toml:1: x?\ufffd" || lines[maxRecords] != `5 more problems; "cocker check" shows all` {
		t.Errorf("%d lines, %q ... %q", len(lines), lines[0], lines[len(lines)-1])
	}
}

// A record of /dev/kmsg is one write of at most 1024 bytes.
func TestRecords(t *testing.T) {
	long := strings.Repeat("ü", maxRecord)
	if got := truncate(long, 101); len(got) != 100 || !utf8.ValidString(got) {
		t.Errorf("%d bytes", len(got))
	}
	if got := truncate("short", 101); got != "short" {
		t.Error(got)
	}
	path := filepath.Join(t.TempDir(), "kmsg")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := writeRecord(path, "<3>x\n"); err != nil {
		t.Error(err)
	}
	if got, _ := os.ReadFile(path); string(got) != "<3>x\n" {
		t.Errorf("%q", got)
	}
	if writeRecord(path+"/x", "x") == nil {
		t.Error("no error, so stderr would not be used")
	}
}
