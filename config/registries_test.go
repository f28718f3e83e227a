package config

import (
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestRegistries(t *testing.T) {
	got, err := ParseRegistries("/r.toml", `
default = "registry.example.com:5000"
max_size = "20G"
max_files = 1000000
[registry."docker.io"]
mirrors = ["http://127.0.0.1:65001", "https://mirror.example.com/hub/cache/", "other.example.com"]
[registry."registry.example.com:5000"]
ca = "/etc/ssl/own.pem"
[registry.localhost]
insecure = true
[ssh."me@images.example.com:2222"]
directory = "/srv/images"
`)
	want := &Registries{Default: "registry.example.com:5000", MaxSize: 20 << 30, MaxFiles: 1000000, ByHost: map[string]Registry{
		"docker.io": {Mirrors: []Mirror{
			{Plain: true, Host: "127.0.0.1:65001"}, {Host: "mirror.example.com", Path: "hub/cache"}, {Host: "other.example.com"},
		}},
		"registry.example.com:5000": {CA: "/etc/ssl/own.pem"},
		"localhost":                 {Insecure: true},
	}, SSH: map[string]SSHRepository{"me@images.example.com:2222": {Directory: "/srv/images"}}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	if s := want.ByHost["docker.io"].Mirrors[1].String(); s != "mirror.example.com/hub/cache" {
		t.Errorf("mirror: %s", s)
	}
}

func TestNoRegistriesFile(t *testing.T) {
	r, err := LoadRegistries(filepath.Join(t.TempDir(), "none"))
	if err != nil || r.Default != "docker.io" || len(r.ByHost) != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := LoadRegistries(t.TempDir()); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a directory: %v", err)
	}
}

func TestRegistriesProblems(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"defualt = 'a'", `/r.toml:1: unknown key "defualt" (did you mean "default"?)`},
		{"\n[registries.'a']\nca = 'x'", `/r.toml:2: unknown key "registries" (did you mean "registry"?)`},
		{"default = 'a b'", `/r.toml:1: default: "a b" is no host`},
		{"max_size = 'large'", `/r.toml:1: max_size: "large" is no size`},
		{"max_files = 0", "/r.toml:1: max_files: 0 is out of range"},
		{"default = 1", "/r.toml:1: default: must be a string"},
		{"registry = 1", "/r.toml:1: registry: must be tables"},
		{"[registry]\n'a' = 1", "/r.toml:2: registry.a: must be a table"},
		{"[registry]\nca = '/x'", "/r.toml:2: registry.ca: must be a table"},
		{"[registry.'a/b']\n", `/r.toml:1: registry."a/b": "a/b" is no host`},
		{"[registry.'a.b']\nmiror = []", `/r.toml:2: unknown key "miror" in registry."a.b" (did you mean "mirrors"?)`},
		{"[registry.'a.b']\nmirrors = 'x'", `/r.toml:2: registry."a.b".mirrors: must be an array`},
		{"[registry.'a.b']\nmirrors = [\n'x.y',\n'ftp://x']", `/r.toml:4: registry."a.b".mirrors[1]: "ftp://x" is no mirror`},
		{"[registry.'a.b']\nmirrors = ['x/../y']", `"x/../y" is no mirror`},
		{"[registry.'a.b']\nmirrors = ['u:p@x']", `"u:p@x" is no mirror`},
		{"[registry.'a.b']\ninsecure = 'yes'", `/r.toml:2: registry."a.b".insecure: must be true or false`},
		{"[registry.'a.b']\nca = 'own.pem'", `/r.toml:2: registry."a.b".ca: "own.pem" must be an absolute path`},
		{"ssh = 1", "/r.toml:1: ssh: must be tables"},
		{"[ssh]\n'a' = 1", "/r.toml:2: ssh.a: must be a table"},
		{"[ssh.'-oProxyCommand=x']\n", `"-oProxyCommand=x" is no host: the host after ssh://`},
		{"[ssh.'h']\ndir = '/x'", `/r.toml:2: unknown key "dir" in ssh.h`},
		{"[ssh.'h']\ndirectory = 'x'", `/r.toml:2: ssh.h.directory: "x" must be an absolute path`},
		{"[registry.'a.b'\n", "/r.toml:1: not valid TOML"},
	} {
		_, err := ParseRegistries("/r.toml", c.text)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v; want %s", c.text, err, c.want)
		}
	}
}
