package cli

import (
	"strings"
	"testing"
)

// docker-cp(1): a path of the host that has a colon is written absolute or with "./".
func TestEndpoints(t *testing.T) {
	for argument, want := range map[string]endpoint{
		"web:/etc": {"web", "/etc"}, "web:etc": {"web", "/etc"}, "web:/": {"web", "/"}, "web://a": {"web", "/a"}, "web:/a:b": {"web", "/a:b"},
		"web:.": {"web", "/."}, "web:../x": {"web", "/../x"}, "web:/dir/.": {"web", "/dir/."},
		"web": {"", "web"}, "./web:/etc": {"", "./web:/etc"}, "/web:/etc": {"", "/web:/etc"}, "a/b:c": {"", "a/b:c"}, "-": {"", "-"}, ":/x": {"", ":/x"},
	} {
		if got, err := parseEndpoint(argument); err != nil || got != want {
			t.Errorf("%q: %+v, %v; want %+v", argument, got, err, want)
		}
	}
	for argument, reason := range map[string]string{"": "empty", "web:": "names no path", "we b:/x": "./we b:/x", "..:/x": "./..:/x"} {
		if got, err := parseEndpoint(argument); err == nil || !strings.Contains(err.Error(), reason) {
			t.Errorf("%q: %+v, %v", argument, got, err)
		}
	}
}

func TestHostNames(t *testing.T) {
	for path, want := range map[string]string{"/etc": "etc", "/etc/": "etc", "/etc/.": "", "/": "", "/a/..": ""} {
		if got, err := hostName(path); err != nil || got != want {
			t.Errorf("%q: %q, %v; want %q", path, got, err, want)
		}
	}
	t.Chdir(t.TempDir())
	for path, named := range map[string]bool{".": false, "./": false, "..": true, "../": true, "./x/.": false} {
		if got, err := hostName(path); err != nil || (got != "") != named || strings.HasPrefix(got, ".") {
			t.Errorf("%q: %q, %v", path, got, err)
		}
	}
}
