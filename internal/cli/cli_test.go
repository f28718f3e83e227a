package cli

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/scope"
	"github.com/cocker/cocker/units"
)

func TestInventedNamesAreValid(t *testing.T) {
	for _, image := range []string{"demo", "demo:1.0", "registry.example.com:5000/Tools/my_app.x:1.0", "a__b",
		"sha256:" + strings.Repeat("a", 64), "x@sha256:00", strings.Repeat("long", 60)} {
		name := inventName(image)
		if err := config.ValidName(name); err != nil {
			t.Errorf("%s: %v", image, err)
		}
	}
	if name := inventName("registry/demo:1.0"); !strings.HasPrefix(name, "demo-") || len(name) != len("demo-")+4 {
		t.Errorf("got %q", name)
	}
}

func TestTable(t *testing.T) {
	var b bytes.Buffer
	if err := printTable(&b, []string{"NAME", "STATE"}, [][]string{{"web", ""}, {"a-long-name", "\x1b[2Jx"}}); err != nil {
		t.Fatal(err)
	}
	want := "NAME         STATE\nweb          -\na-long-name  ?[2Jx\n"
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

func TestAgo(t *testing.T) {
	now := time.Unix(1e9, 0)
	tests := []struct {
		since time.Duration
		want  string
	}{{0, "0s"}, {59 * time.Second, "59s"}, {61 * time.Second, "1min"}, {25 * time.Hour, "1d"}, {-time.Minute, "0s"}}
	for _, tt := range tests {
		if got := ago(now, now.Add(-tt.since)); got != tt.want {
			t.Errorf("%v: got %q, want %q", tt.since, got, tt.want)
		}
	}
	if got := ago(now, time.Time{}); got != "" {
		t.Errorf("never: got %q", got)
	}
}

func TestByteSize(t *testing.T) {
	tests := []struct {
		n    int64
		want string
	}{{0, "0B"}, {1023, "1023B"}, {1024, "1.0K"}, {20 << 20, "20M"}, {5 << 40, "5.0T"}}
	for _, tt := range tests {
		if got := byteSize(tt.n); got != tt.want {
			t.Errorf("%d: got %q, want %q", tt.n, got, tt.want)
		}
	}
}

func TestExitStatusIsTheContainers(t *testing.T) {
	tests := []struct {
		wait unix.WaitStatus
		want int
	}{{0, 0}, {7 << 8, 7}, {unix.WaitStatus(unix.SIGKILL), 137}, {133 << 8, 133}}
	for _, tt := range tests {
		got := 0
		var exit exitError
		if errors.As(exitOf(tt.wait), &exit) {
			got = int(exit)
		}
		if got != tt.want {
			t.Errorf("status %#x: got %d, want %d", tt.wait, got, tt.want)
		}
	}
}

// Both kinds of transient units must be expressible for everything that cocker
// itself writes; a scope has no Restart=.
func TestTransientUnitsOfAFullContainer(t *testing.T) {
	c, err := parseFlags(t, "--init=none", "--stop-signal=SIGINT", "-p8080:80", "-v/srv/a b:/srv", "--memory=1G", "--memory-high=50%",
		"--cpu-quota=50%", "--cpu-weight=5", "--cpus=0-1", "--tasks-max=99", "--io-weight=7", "--memory-swap-max=0",
		"--io-read-bandwidth-max=/dev/vda 10M", "--io-write-iops-max=/dev/vda 1K", "--unit=After=%i.service", "img")
	if err != nil {
		t.Fatal(err)
	}
	c.Name = "web"
	_, c, err = checked(c, "/run/cocker/containers/web.toml")
	if err != nil {
		t.Fatal(err)
	}
	service, err := scope.Properties(scope.Service, units.TransientService("web"), serviceDirectives(c, true))
	if err != nil {
		t.Error(err)
	}
	scoped, err := scope.Properties(scope.Scope, units.Scope("web"), scopeDirectives(c, true))
	if err != nil {
		t.Error(err)
	}
	for _, p := range scoped {
		if p.Name == "KillMode" || strings.HasPrefix(p.Name, "Exec") {
			t.Errorf("the scope has %s", p.Name)
		}
	}
	if len(service) <= len(scoped) || len(scoped) < 15 {
		t.Errorf("%d properties of the service, %d of the scope", len(service), len(scoped))
	}
	c.Service = []config.Directive{{Key: "Restart", Value: "always"}}
	if _, err := scope.Properties(scope.Scope, units.Scope("web"), scopeDirectives(c, true)); err == nil || !strings.Contains(err.Error(), "Restart") {
		t.Errorf("Restart= of a scope: %v", err)
	}
}

func TestOptionsOfRun(t *testing.T) {
	in, _ := os.Open("/dev/null")
	defer in.Close()
	for _, o := range []runOptions{{detach: true, interactive: true}, {detach: true, terminal: true}, {interactive: true, terminal: true}} {
		if err := o.check(&streams{in: in}, new(config.Container)); err == nil {
			t.Errorf("%+v: no error", o)
		}
	}
}

// Every command says what it does; those with arguments show an example.
func TestHelpTexts(t *testing.T) {
	for _, c := range Command("test", os.Stdin, os.Stdout, os.Stderr).Commands() {
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: short text %q", c.Name(), c.Short)
		}
		if strings.Contains(c.Use, "NAME") && c.Example == "" {
			t.Errorf("%s has no example", c.Name())
		}
	}
}

func TestCheckReportsEachProblem(t *testing.T) {
	dir := t.TempDir()
	containers := filepath.Join(dir, "containers")
	if err := os.MkdirAll(containers, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"good": `image = "a:1"`, "bad": "imagee = \"a:1\"\nuser = 3\n"} {
		if err := os.WriteFile(filepath.Join(containers, name+".toml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	good, err := config.Check([]string{dir})
	result := resultOf(good, err, nil)
	if len(result.Good) != 1 || result.Good[0] != "good" || len(result.Problems) < 2 {
		t.Errorf("got %+v", result)
	}
	for _, p := range result.Problems {
		if p.File != filepath.Join(containers, "bad.toml") || p.Text == "" {
			t.Errorf("problem %+v", p)
		}
	}
}

func TestOutline(t *testing.T) {
	var b bytes.Buffer
	value := map[string]any{"b": []string{"x", "y"}, "name": "web", "c": map[string]any{"d": 1}, "e": []string{}}
	if err := printOutline(&b, value); err != nil {
		t.Fatal(err)
	}
	want := "name: web\nb:\n  - x\n  - y\nc:\n  d: 1\ne: none\n"
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
}

// What a registry or an archive puts into an error does not steer the terminal.
func TestReportIsPrintable(t *testing.T) {
	var w strings.Builder
	command := &cobra.Command{Use: "cocker"}
	if status := report(&w, command, errors.New("a\x1b[2Jb\u009b2Jc\td\nmore")); status != exitFailure {
		t.Errorf("status %d", status)
	}
	if got, want := w.String(), "cocker: a?[2Jb?2Jc d\ncocker: more\n"; got != want {
		t.Errorf("%q; want %q", got, want)
	}
}
