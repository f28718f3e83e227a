package tests

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/tests/host"
)

const examplesDir = "../examples"

// Every file of the examples is right, and has no key that says nothing.
func TestExampleFilesAreFine(t *testing.T) {
	files, err := filepath.Glob(examplesDir + "/*/*.toml")
	if err != nil || len(files) < 6 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(file), ".toml")
		c, err := config.Parse(name, file, string(text))
		if err != nil {
			t.Error(err)
			continue
		}
		if c.Description == "" || c.Images[0] != "demo:1.0" && c.Images[0] != richImage {
			t.Errorf("%s: an example has a description, and uses the image that needs no network, or one that its README makes", file)
		}
	}
	networks, err := filepath.Glob(examplesDir + "/*/networks/*.toml")
	if err != nil || len(networks) < 2 {
		t.Fatalf("%d files, %v", len(networks), err)
	}
	for _, file := range networks {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		n, err := config.ParseNetwork(strings.TrimSuffix(filepath.Base(file), ".toml"), file, string(text))
		if err != nil || n.Description == "" {
			t.Errorf("%s: %v, or no description", file, err)
		}
	}
}

// Each README of the examples is what one sees who follows it, and who has
// followed it to its end has a host as before.
func TestExamples(t *testing.T) {
	readmes, err := filepath.Glob(examplesDir + "/*/README.md")
	if err != nil || len(readmes) < 5 {
		t.Fatalf("%d examples, %v", len(readmes), err)
	}
	for _, readme := range readmes {
		dir := filepath.Dir(readme)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			steps := readmeSteps(t, readme)
			onCleanHost(t, func(t *testing.T, h *host.Host) {
				if filepath.Base(dir) == "rich" {
					prepareRich(t, h)
				}
				put := copyExample(t, h, dir)
				before := h.Snapshot(t)
				follow(t, h, put, steps)
				// The directories of the leases of networks that are gone, and an empty one.
				h.MustRun(t, `cd /run/cocker/networks && ls | grep -vx cocker0 | xargs rm -rf; rmdir --ignore-fail-on-non-empty /etc/cocker/networks /etc/cocker/pods 2>/dev/null || :`)
				h.AssertClean(t, before)
				h.MustRun(t, `left=$(ls -A /etc/cocker/containers /etc/cocker/networks /etc/cocker/pods /srv 2>/dev/null | grep -v '^/\|^$'); [ -z "$left" ] || { echo "$left"; exit 1; }`)
			})
		})
	}
}

// The first container of the README is what one sees who follows it.
func TestReadme(t *testing.T) {
	steps := readmeSteps(t, "../README.md")
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		follow(t, h, "/root", steps)
	})
}

// copyExample puts the files of an example on the host and returns where.
func copyExample(t *testing.T, h *host.Host, dir string) string {
	t.Helper()
	target := "/root/examples/" + filepath.Base(dir)
	err := filepath.WalkDir(dir, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		h.WriteFile(t, target+strings.TrimPrefix(file, dir), string(text), 0o644)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return target
}

// readmeStep is a block of commands in a text, and what they print if that follows.
type readmeStep struct {
	script string
	output string // as matches takes it; "": not shown
}

// readmeSteps reads the blocks of a text that are marked as sh, and as text where
// that comes right after them.
func readmeSteps(t *testing.T, file string) []readmeStep {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?ms)^```sh\n(.*?)^```\n(?:```text\n(.*?)^```\n)?")
	var steps []readmeStep
	for _, block := range blocks.FindAllStringSubmatch(string(text), -1) {
		steps = append(steps, readmeStep{script: block[1], output: block[2]})
	}
	if len(steps) == 0 {
		t.Fatalf("%s has no commands", file)
	}
	return steps
}

// prelude makes the commands of a text behave in a test as for a reader, who types
// slower than the journal writes.
const prelude = `set -e; exec 2>&1
journalctl() { command journalctl --sync; command journalctl "$@"; }
cd "$1"
`

// follow runs the steps, each in a shell of its own.
func follow(t *testing.T, h *host.Host, dir string, steps []readmeStep) {
	t.Helper()
	for _, step := range steps {
		got := h.MustRun(t, prelude+step.script, dir)
		if step.output != "" && !matches(step.output, got) {
			t.Errorf("commands:\n%sprinted:\n%s\nshown is:\n%s", step.script, got, step.output)
		}
	}
}

// matches tells whether a text is as shown: "..." stands for anything in a line,
// and alone for any lines; the widths of columns don't count.
func matches(shown, got string) bool {
	var pattern strings.Builder
	for line := range strings.Lines(shown) {
		line = strings.Join(strings.Fields(line), " ")
		if line == "..." {
			pattern.WriteString(`(.*\n)*?`)
			continue
		}
		pattern.WriteString(strings.ReplaceAll(regexp.QuoteMeta(line), `\.\.\.`, ".*") + "\n")
	}
	var text strings.Builder
	for line := range strings.Lines(got) {
		text.WriteString(strings.Join(strings.Fields(line), " ") + "\n")
	}
	return regexp.MustCompile(`\A` + pattern.String() + `\z`).MatchString(text.String())
}

func TestMatches(t *testing.T) {
	tests := []struct {
		shown, got string
		want       bool
	}{
		{"a\nb\n", "a\nb", true},
		{"a\n", "a\nb", false},
		{"a\n...\n", "a\nb\nc", true},
		{"...\nc\n", "a\nb\nc", true},
		{"...\nc\n", "a\nb\ncc", false},
		{"a ... c\n", "a  b  c", true},
		{"a.c\n", "abc", false},
		{"A  B\n1  2\n", "A      B\n1      2  ", true},
	}
	for _, tt := range tests {
		if got := matches(tt.shown, tt.got); got != tt.want {
			t.Errorf("matches(%q, %q): %v", tt.shown, tt.got, got)
		}
	}
}
