package cli

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/cocker/cocker/config"
)

// changedBy is the text of a container's file after the flags and keys of "set".
func changedBy(t *testing.T, text string, args ...string) (string, error) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "containers", "web.toml")
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
	location, err := config.Find([]string{dir}, "web")
	if err != nil {
		t.Fatal(err)
	}
	var given []givenFlag
	var wanted *config.Container
	command := &cobra.Command{Use: "set", SilenceErrors: true, SilenceUsage: true, RunE: func(_ *cobra.Command, pairs []string) (err error) {
		wanted, err = wantedContainer(location, given, pairs)
		return err
	}}
	for _, f := range setFlags() {
		command.Flags().VarPF(recordedFlag{f, &given}, f.name, f.short, f.usage)
	}
	command.Flags().SetNormalizeFunc(otherNames)
	command.SetArgs(args)
	if err := command.Execute(); err != nil {
		return "", err
	}
	files, _, err := (&config.Rewriter{Location: location, Fixed: ofPackage}).Rewrite(wanted)
	if err != nil {
		return "", err
	}
	if err := writeAll(files); err != nil {
		return "", err
	}
	written, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("the file has the mode %v, %v", info.Mode(), err)
	}
	return string(written), nil
}

func TestSetFlags(t *testing.T) {
	const ports = "image = 'a'\n[network]\nports = ['80:80', '81:81']\n"
	tests := []struct {
		text string
		args []string
		want string
	}{
		{ports, []string{"-p", "82:82", "-p", "80:80"}, "image = 'a'\n[network]\nports = ['82:82', '80:80']\n"},
		{ports, []string{"--port", "82:82"}, "image = 'a'\n[network]\nports = ['82:82']\n"},
		{ports, []string{"--port-add", "82:82", "--port-rm", "80"}, "image = 'a'\n[network]\nports = ['81:81', '82:82']\n"},
		{ports, []string{"--publish-add", "82:82", "--publish-rm", "81:81"}, "image = 'a'\n[network]\nports = ['80:80', '82:82']\n"},
		{ports, []string{"--publish", ""}, "image = 'a'\n[network]\n"},
		{ports, []string{"--egress-max", "10M", "ingress_max=1G"}, "image = 'a'\n[network]\nports = ['80:80', '81:81']\negress_max = \"10M\"\ningress_max = \"1G\"\n"},
		{"image = 'a'\n[network]\negress_max = '1M'\n", []string{"--egress-max", ""}, "image = 'a'\n[network]\n"},
		{"image = 'a'\n[environment]\nA = '1' # c\nB = '2'\n", []string{"-e", "A=3"}, "image = 'a'\n[environment]\nA = '3' # c\nB = '2'\n"},
		{"image = 'a'\n[service]\nNice = '1'\nLimitNOFILE = '5'\n", []string{"--service", "Nice=2"}, "image = 'a'\n[service]\nNice = '2'\nLimitNOFILE = '5'\n"},
		{"image = 'a'\n[unit]\nAfter = ['x.service', 'y.service'] # c\nWants = 'x.service'\n", []string{"--unit", "After=y.service", "--unit", "After=z.service"}, "image = 'a'\n[unit]\nAfter = ['y.service', 'z.service'] # c\nWants = 'x.service'\n"},
		{"image = 'a'\n[install]\nwanted_by = ['a.target']\n", []string{"--wanted-by", "b.target"}, "image = 'a'\n[install]\nwanted_by = ['b.target']\n"},
		{"image = 'a'\nentrypoint = ['x']\n", []string{"--entrypoint", ""}, "image = 'a'\nentrypoint = []\n"},
		{"image = 'a'\n", []string{"--alias", "b", "--alias", "c"}, "image = 'a'\n\n[network]\naliases = [\"b\", \"c\"]\n"},
		{"image = 'a'\n[network]\nmode = 'host'\n", []string{"--network", "none"}, "image = 'a'\n[network]\nmode = 'none'\n"},
		{"image = 'a'\n[network]\nmode = 'host'\n", []string{"--network", "bridge"}, "image = 'a'\n[network]\n"},
		{"image = 'a'\n[[mount]]\ntype = 'tmpfs'\ntarget = '/t'\nsize = '1M'\n", []string{"--tmpfs", "/t:2M"}, "image = 'a'\n\n[[mount]]\ntype = \"tmpfs\"\ntarget = \"/t\"\nsize = \"2M\"\n"},
		{"image = 'a'\n", []string{"--memory", ""}, "image = 'a'\n"},
		{"image = 'a'\nnotify_ready = true\n", []string{"--notify-ready=false"}, "image = 'a'\n"},
	}
	for _, tt := range tests {
		if got, err := changedBy(t, tt.text, tt.args...); err != nil || got != tt.want {
			t.Errorf("%q: %v: got\n%s\nwant\n%s", tt.args, err, got, tt.want)
		}
	}
}

func TestSetFlagsRefuse(t *testing.T) {
	const text = "image = 'a'\n[network]\nports = ['80:80', ':90']\n"
	for want, args := range map[string][]string{
		"published are: 80:80, :90": {"--port-rm", "81"},
		"is not published":          {"--port-rm", "80:81"},
		"no KEY=VALUE":              {"memory_max"},
		"nothing is mounted":        {"--mount-rm", "/x"},
		"published already":         {"--port-add", "80:81"},
		"no rate":                   {"--egress-max", "x"},
	} {
		if got, err := changedBy(t, text, args...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %q, %v, want %q", args, got, err, want)
		}
	}
}

// A file that somebody edits meanwhile stays as he has it, and so do the others.
func TestRewriteOfChangedFile(t *testing.T) {
	dir := t.TempDir()
	first, second := filepath.Join(dir, "a.toml"), filepath.Join(dir, "b.toml")
	for _, file := range []string{first, second} {
		if err := os.WriteFile(file, []byte("theirs\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	err := writeAll([]config.Rewrite{{File: first, Old: "theirs\n", New: "ours\n"}, {File: second, Old: "before\n", New: "ours\n"}})
	if err == nil || !strings.Contains(err.Error(), "b.toml has changed meanwhile") {
		t.Errorf("got %v", err)
	}
	for _, file := range []string{first, second} {
		if text, _ := os.ReadFile(file); string(text) != "theirs\n" {
			t.Errorf("%s is %q", file, text)
		}
	}
	if names, _ := filepath.Glob(dir + "/.*"); len(names) > 0 {
		t.Errorf("left: %v", names)
	}
}

// A link stays one; what it leads to has the new text.
func TestRewriteThroughLink(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "real.toml"), filepath.Join(dir, "link.toml")
	if err := os.WriteFile(file, []byte("a\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("real.toml", link); err != nil {
		t.Fatal(err)
	}
	if err := writeAll([]config.Rewrite{{File: link, Old: "a\n", New: "b\n"}}); err != nil {
		t.Fatal(err)
	}
	target, err := os.Readlink(link)
	if text, _ := os.ReadFile(file); string(text) != "b\n" || target != "real.toml" || err != nil {
		t.Errorf("%q, %q, %v", text, target, err)
	}
}

func TestCompleteSet(t *testing.T) {
	keys, _ := completeSet(nil, []string{"web"}, "res")
	for _, want := range []string{"resources.memory_max=", "network.ports=", "user="} {
		if !slices.Contains(keys, want) {
			t.Errorf("%s is not offered", want)
		}
	}
	if keys, _ := completeSet(nil, []string{"web"}, "workdir=/"); keys != nil {
		t.Errorf("offered for a value: %v", keys)
	}
}
