package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// rewriter is one for a container of /etc with vendor files in /usr/lib.
func rewriter(t *testing.T, files map[string]string) (*Rewriter, string) {
	t.Helper()
	root := tree(t, files)
	l, err := Find([]string{root + "/etc", root + "/usr"}, "web")
	if err != nil {
		t.Fatal(err)
	}
	return &Rewriter{
		Location: l,
		DropIn:   root + "/etc/containers/web.toml.d/50-set.toml",
		Fixed:    func(file string) bool { return strings.HasPrefix(file, root+"/usr/") },
	}, root
}

func TestRewrite(t *testing.T) {
	const (
		main   = "etc/containers/web.toml"
		vendor = "usr/containers/web.toml"
		dropIn = "etc/containers/web.toml.d/10-a.toml"
		set    = "etc/containers/web.toml.d/50-set.toml"
	)
	tests := []struct {
		name  string
		files map[string]string
		keys  []string // KEY=VALUE
		want  map[string]string
	}{
		{"a key where it is", map[string]string{main: "image = 'a'\n\n[resources]\nmemory_max = 536870912 # why\n"},
			[]string{"resources.memory_max=1G"}, map[string]string{main: "image = 'a'\n\n[resources]\nmemory_max = \"1G\" # why\n"}},
		{"a key of one table only", map[string]string{main: "image = 'a'\n"},
			[]string{"memory_max=1G", "user=www"}, map[string]string{main: "image = 'a'\nuser = \"www\"\n\n[resources]\nmemory_max = \"1G\"\n"}},
		{"in the drop-in that sets it", map[string]string{main: "image = 'a'\nuser = 'b'\n", dropIn: "# mine\nuser = 'c'\n"},
			[]string{"user=d"}, map[string]string{dropIn: "# mine\nuser = 'd'\n"}},
		{"beside a drop-in", map[string]string{main: "image = 'a'\n", dropIn: "user = 'c'\n"},
			[]string{"workdir=/w"}, map[string]string{main: "image = 'a'\nworkdir = \"/w\"\n"}},
		{"of a package", map[string]string{vendor: "image = 'a'\nuser = 'b'\n"},
			[]string{"user=d", "resources.cpu_weight=7"}, map[string]string{set: "user = \"d\"\n\n[resources]\ncpu_weight = 7\n"}},
		{"of a package again", map[string]string{vendor: "image = 'a'\nuser = 'b'\n", set: "user = 'x' # c\n"},
			[]string{"user=d"}, map[string]string{set: "user = 'd' # c\n"}},
		{"a list of a package away", map[string]string{vendor: "image = 'a'\n[network]\nports = ['80:80']\n"},
			[]string{"network.ports="}, map[string]string{set: "[network]\nports = []\n"}},
		{"a key away", map[string]string{main: "image = 'a'\nuser = 'b'\n"}, []string{"user="}, map[string]string{main: "image = 'a'\n"}},
		{"ports as they are spelled", map[string]string{main: "image = 'a'\n[network]\nports = [\n  '0.0.0.0:80:80/tcp', # web\n  '9000-9002:9000-9002', # many\n]\n"},
			[]string{"network.ports=80:80,9000-9002:9000-9002,53:53/udp"},
			map[string]string{main: "image = 'a'\n[network]\nports = [\n  '0.0.0.0:80:80/tcp', # web\n  '9000-9002:9000-9002', # many\n  '53:53/udp',\n]\n"}},
		{"one of a range of ports less", map[string]string{main: "image = 'a'\n[network]\nports = ['9000-9002:9000-9002', '80:80']\n"},
			[]string{"ports=9000:9000,9002:9002,80:80"}, map[string]string{main: "image = 'a'\n[network]\nports = ['9000:9000', '9002:9002', '80:80']\n"}},
		{"the other spelling of image", map[string]string{main: "images = ['a', 'b'] # c\n"}, []string{"image=c"}, map[string]string{main: "image = 'c' # c\n"}},
		{"a command", map[string]string{main: "image = 'a'\ncommand = ['x']\n"}, []string{`command=["sh", "-c", "a,b"]`}, map[string]string{main: "image = 'a'\ncommand = ['sh', '-c', 'a,b']\n"}},
		{"a variable", map[string]string{main: "image = 'a'\n[environment]\nA = '1' # c\n"}, []string{"environment.A=2", "environment.B=3"},
			map[string]string{main: "image = 'a'\n[environment]\nA = '2' # c\nB = \"3\"\n"}},
		{"a directive", map[string]string{main: "image = 'a'\n[service]\nNice = '1' # c\n"}, []string{"service.nice=5"}, map[string]string{main: "image = 'a'\n[service]\nNice = '5' # c\n"}},
		{"nothing", map[string]string{main: "image = 'a'\nuser = 'b'\n"}, []string{"user=b"}, nil},
		{"a process", map[string]string{main: "image = 'a'\n[process.main]\ncommand = ['a'] # c\n[process.db]\ncommand = ['b']\n"},
			[]string{"process.db.user=u"}, map[string]string{main: "image = 'a'\n[process.main]\ncommand = ['a'] # c\n[process.db]\ncommand = ['b']\nuser = \"u\"\n"}},
	}
	for _, tt := range tests {
		r, root := rewriter(t, tt.files)
		wanted, err := r.Location.Read()
		for _, key := range tt.keys {
			name, value, _ := strings.Cut(key, "=")
			if err == nil {
				wanted, err = wanted.With(name, value)
			}
		}
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		files, _, err := r.Rewrite(wanted)
		if err != nil || len(files) != len(tt.want) {
			t.Errorf("%s: %v, %d files: %v", tt.name, err, len(files), files)
		}
		for _, f := range files {
			name, _ := filepath.Rel(root, f.File)
			if f.New != tt.want[name] || f.Old != tt.files[name] {
				t.Errorf("%s: %s is\n%s\nwant\n%s", tt.name, name, f.New, tt.want[name])
			}
		}
	}
}

// Tables of an array are kept, dropped and added as wholes.
func TestRewriteMounts(t *testing.T) {
	text := "image = 'a'\n\n# the first\n[[mount]]\nsource = '/a' # c\ntype = 'bind'\ntarget = '/a'\n\n# the second\n[[mount]]\ntarget = '/b'\ntype = 'tmpfs'\n"
	r, _ := rewriter(t, map[string]string{"etc/containers/web.toml": text})
	wanted, err := r.Location.Read()
	if err != nil {
		t.Fatal(err)
	}
	wanted.Mounts = append(wanted.Mounts[:1:1], Mount{Type: MountTmpfs, Target: "/c"})
	files, keys, err := r.Rewrite(wanted)
	want := "image = 'a'\n\n# the first\n[[mount]]\nsource = '/a' # c\ntype = 'bind'\ntarget = '/a'\n\n# the second\n\n[[mount]]\ntype = \"tmpfs\"\ntarget = \"/c\"\n"
	if err != nil || len(files) != 1 || files[0].New != want || strings.Join(keys, " ") != "mount" {
		t.Errorf("%v %v: %+v", err, keys, files)
	}
}

func TestRewriteRefuses(t *testing.T) {
	tests := []struct {
		name, key, value, want string
		files                  map[string]string
	}{
		{"a drop-in hides it", "user", "d", "hides", map[string]string{"usr/containers/web.toml": "image = 'a'\n", "usr/containers/web.toml.d/90-x.toml": "user = 'x'\n"}},
		{"a package's key away", "user", "", "belongs to a package", map[string]string{"usr/containers/web.toml": "image = 'a'\nuser = 'b'\n"}},
		{"an unknown key", "memory", "1", "unknown key", map[string]string{"etc/containers/web.toml": "image = 'a'\n"}},
		{"a bad value", "memory_max", "lots", "no size", map[string]string{"etc/containers/web.toml": "image = 'a'\n"}},
		{"no key", "a..b", "1", "no key", map[string]string{"etc/containers/web.toml": "image = 'a'\n"}},
		{"the image away", "image", "", "no image", map[string]string{"etc/containers/web.toml": "image = 'a'\n"}},
		{"a bad port", "ports", "80", "80", map[string]string{"etc/containers/web.toml": "image = 'a'\n"}},
	}
	for _, tt := range tests {
		r, root := rewriter(t, tt.files)
		c, err := r.Location.Read()
		if err == nil {
			c, err = c.With(tt.key, tt.value)
		}
		if err == nil {
			_, _, err = r.Rewrite(c)
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
		for name, text := range tt.files {
			if now, _ := os.ReadFile(filepath.Join(root, name)); string(now) != text {
				t.Errorf("%s: %s was written", tt.name, name)
			}
		}
	}
}
