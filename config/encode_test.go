package config

import (
	"errors"
	"reflect"
	"testing"
)

func TestEncode(t *testing.T) {
	c := &Container{
		Name: "web", Description: `say "hi" \ 100%`, Images: []string{"a"}, Command: []string{"sh", "-c", "a\n\tb\x1b\x7f"},
		Init: InitCocker, Hostname: "web", Autologin: "root", Seccomp: "/etc/cocker/narrow.json", NoNewPrivileges: true,
		Environment: []EnvironmentVariable{{"EMPTY", ""}, {"TZ", "UTC"}},
		Network:     Network{Mode: NetworkNone},
		Mounts:      []Mount{{Type: MountTmpfs, Target: "/tmp", Size: 64 << 20}, {Type: MountBind, Source: "/a", Target: "/b", ReadOnly: true}},
		Service:     []Directive{{"ExecStartPre", "a"}, {"Nice", "1"}, {"ExecStartPre", "b"}},
	}
	const want = `description = "say \"hi\" \\ 100%"
image = "a"
command = ["sh", "-c", "a\n\tb\u001b\u007f"]
autologin = "root"

[environment]
EMPTY = ""
TZ = "UTC"

[network]
mode = "none"

[[mount]]
type = "tmpfs"
target = "/tmp"
size = "64M"

[[mount]]
type = "bind"
source = "/a"
target = "/b"
read_only = true

[security]
seccomp = "/etc/cocker/narrow.json"
no_new_privileges = true

[service]
ExecStartPre = ["a", "b"]
Nice = "1"
`
	got, err := Encode(c)
	if err != nil || string(got) != want {
		t.Errorf("got %v\n%s\nwant\n%s", err, got, want)
	}
	if _, err := Encode(&Container{Description: "\xff"}); !errors.Is(err, errEncode) {
		t.Errorf("invalid UTF-8: %v", err)
	}
}

func roundTrip(t *testing.T, c *Container) {
	t.Helper()
	text, err := Encode(c)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Parse(c.Name, c.Sources[0], string(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if !reflect.DeepEqual(c, again) {
		t.Errorf("was %+v\nis  %+v\n%s", c, again, text)
	}
}

func TestEncodeRoundTrip(t *testing.T) { roundTrip(t, fullContainer()) }

// Whatever text is read without a problem comes back the same after Encode.
func FuzzEncode(f *testing.F) {
	f.Add(full)
	f.Add("image = \"a\"\nmount = [{type=\"tmpfs\",target=\"/x\\u007e\"}]\n[unit]\nAfter=[\"\", \"%i\\\\\\\\\"]\n[environment]\nA=\"\\u0001\\\"\\\\\"")
	f.Fuzz(func(t *testing.T, text string) {
		if c, err := Parse("web", "/e/web.toml", text); err == nil {
			roundTrip(t, c)
		}
	})
}

// No text makes the reader panic, and each problem is one line with a place.
func FuzzLoad(f *testing.F) {
	f.Add(full, "image=\"b\"\n[[mount]]\n")
	f.Add("[mount]\n[unit.x]\n", "network = 1\nmount = [1, {}, [], {type=1}]\nunit=[]")
	f.Add("[[unit]]\n[environment]\n\"\"=1", "a.b.c.d = {}\n[[network.ports]]\n[resources]\ncpus=''")
	f.Fuzz(func(t *testing.T, text, dropIn string) {
		sources := []*source{{file: "/e/web.toml", text: text}, {file: "/e/web.toml.d/1.toml", text: dropIn}}
		c, _, err := build(Location{Name: "web", File: "/e/web.toml"}, sources, nil)
		if c == nil || err != nil && len(Problems(err)) == 0 {
			t.Errorf("container %v, error %v", c, err)
		}
		for _, p := range Problems(err) {
			checkShape(t, p)
		}
	})
}

func checkShape(t *testing.T, p *Problem) {
	t.Helper()
	if p.File == "" || p.Text == "" {
		t.Errorf("no file or no text: %+v", p)
	}
	for _, r := range p.Error() {
		if r < ' ' {
			t.Errorf("not one line: %q", p.Error())
		}
	}
}

// idmap is the one key whose default depends on another one.
func TestIDMap(t *testing.T) {
	for mount, want := range map[string]bool{
		"":                                   false,
		"read_only = true":                   true,
		"idmap = true":                       true,
		"read_only = true\nidmap = false":    false,
		"read_only = false\nidmap = true":    true,
		"read_only = true\nidmap = true\n\n": true,
	} {
		text := "image = \"a\"\n[[mount]]\ntype = \"bind\"\nsource = \"/a\"\ntarget = \"/b\"\n" + mount
		c, err := Parse("web", "/e/web.toml", text)
		if err != nil {
			t.Fatal(err)
		}
		encoded, err := Encode(c)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse("web", "/e/web.toml", string(encoded))
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Mounts[0].MapsIDs(); got != want || again.Mounts[0].MapsIDs() != want {
			t.Errorf("%q: %v, and %v after a round trip; want %v", mount, got, again.Mounts[0].MapsIDs(), want)
		}
	}
	if _, err := Parse("web", "/e/web.toml", "image = \"a\"\n[[mount]]\ntype = \"tmpfs\"\ntarget = \"/b\"\nidmap = true"); err == nil {
		t.Error("idmap of a tmpfs was accepted")
	}
}
