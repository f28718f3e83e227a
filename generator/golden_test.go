package generator

import (
	"context"
	"flag"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cocker/cocker/units"
)

var update = flag.Bool("update", false, "write the golden files anew") //nolint:gochecknoglobals // a flag of the test

// A case is a directory: etc and usr are configuration directories, want is what
// the unit directory must hold, want.log what is logged. The case's own path is
// taken off all texts.
func TestGolden(t *testing.T) {
	cases, err := os.ReadDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		t.Run(c.Name(), func(t *testing.T) {
			root, err := filepath.Abs(filepath.Join("testdata", c.Name()))
			if err != nil {
				t.Fatal(err)
			}
			golden(t, root)
		})
	}
}

func golden(t *testing.T, root string) {
	out := t.TempDir()
	var log strings.Builder
	g := generator{
		configDirs: []string{root + "/etc", root + "/run", root + "/usr"}, sink: directory(out),
		log: func(line string) { log.WriteString(strings.ReplaceAll(line, root, "") + "\n") },
	}
	status := g.run()
	got := readTree(t, out)
	for name, text := range got {
		got[name] = strings.ReplaceAll(text, root, "")
	}
	if *update {
		writeCase(t, root, got, log.String())
	}
	if want := readTree(t, root+"/want"); !maps.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", show(got), show(want))
	}
	wantLog, err := os.ReadFile(root + "/want.log")
	if err != nil {
		t.Fatal(err)
	}
	if log.String() != string(wantLog) || (status == exitOK) != (len(wantLog) == 0) {
		t.Errorf("status %d, logged\n%s\nwant\n%s", status, log.String(), wantLog)
	}
	verify(t, got)
}

// readTree gives the text of each file, and "-> TARGET" of each link.
func readTree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return ignoreMissing(err)
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if d.Type()&fs.ModeSymlink != 0 {
			target, err := os.Readlink(path)
			files[name] = "-> " + target
			return err
		}
		text, err := os.ReadFile(path)
		files[name] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func ignoreMissing(err error) error {
	if os.IsNotExist(err) { // a case that wants nothing has no directory
		return nil
	}
	return err
}

func show(files map[string]string) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(files)) {
		b.WriteString("--- " + name + "\n" + files[name] + "\n")
	}
	return b.String()
}

// writeCase keeps a link as a file with the text that readTree gives for it: not
// every copy of a repository has its links.
func writeCase(t *testing.T, root string, files map[string]string, log string) {
	t.Helper()
	if err := os.RemoveAll(root + "/want"); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := units.Write(filepath.Join(root, "want", name), []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(root+"/want.log", []byte(log), 0o600); err != nil {
		t.Fatal(err)
	}
}

func writeTree(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if target, isLink := strings.CutPrefix(text, "-> "); isLink {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(target, path); err != nil {
				t.Fatal(err)
			}
		} else if err := units.Write(path, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
}

// verify lets systemd-analyze judge each container of the output together with
// cocker's static units; it says nothing about good ones.
func verify(t *testing.T, files map[string]string) {
	t.Helper()
	judge, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Log("not verified: needs systemd-analyze")
		return
	}
	dir := t.TempDir()
	writeTree(t, dir, files)
	args := []string{"verify", "--man=no", "--recursive-errors=no"}
	for name := range files {
		if unit, ok := strings.CutSuffix(name, ".d/10-cocker.conf"); ok {
			args = append(args, unit)
		}
	}
	if len(args) == 3 {
		return
	}
	static, err := filepath.Glob("../units/*.service")
	if err != nil || len(static) == 0 {
		t.Fatalf("static units: %v, %v", static, err)
	}
	for _, path := range static {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		// It looks for the programs too, which need not be installed.
		runnable := strings.NewReplacer("/usr/libexec/cocker/cocker-launch", "/bin/true", "/usr/bin/cocker", "/bin/true").Replace(string(text))
		writeTree(t, dir, map[string]string{filepath.Base(path): runnable})
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, judge, args...)
	cmd.Dir = dir // it searches the working directory first
	cmd.Env = append(os.Environ(), "SYSTEMD_UNIT_PATH="+dir+":")
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze: %v\n%s", err, out)
	}
}
