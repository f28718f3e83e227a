package cni

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// hostWith is a host with files of configurations, and an empty directory of plugins.
func hostWith(t *testing.T, files map[string]string) Host {
	t.Helper()
	dir := t.TempDir()
	h := Host{Configs: filepath.Join(dir, "net.d"), Plugins: []string{filepath.Join(dir, "opt"), filepath.Join(dir, "bin")}, State: filepath.Join(dir, "state")}
	for _, d := range append(h.Plugins, h.Configs) {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range files {
		path := filepath.Join(h.Configs, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

func TestFind(t *testing.T) {
	h := hostWith(t, map[string]string{
		"00-bad.conflist":    `{`,
		"10-list.conflist":   `{"cniVersion": "1.0.0", "name": "list", "plugins": [{"type": "bridge"}, {"type": "portmap", "capabilities": {"portMappings": true, "ips": false}}]}`,
		"20-one.conf":        `{"cniVersion": "0.2.0", "name": "one", "type": "macvlan"}`,
		"20-one.json":        `{"name": "list", "type": "shadowed"}`,
		"30-many.conflist":   `{"cniVersion": "0.4.0", "cniVersions": ["1.0.0", "0.3.1", "2.0.0"], "name": "many", "disableCheck": "true", "plugins": [{"type": "a"}]}`,
		"40-dir.conflist":    `{"cniVersion": "1.1.0", "name": "dir", "plugins": [{"type": "a"}]}`,
		"dir/10-more.conf":   `{"type": "b"}`,
		"50-inline.conflist": `{"name": "inline", "loadOnlyInlinedPlugins": true, "plugins": [{"type": "a"}]}`,
		"inline/10.conf":     `{"type": "b"}`,
		"README":             `no configuration`,
	})
	tests := []struct {
		name, file, version string
		types               string
		noCheck             bool
	}{
		{"list", "10-list.conflist", "1.0.0", "bridge portmap", false},
		{"one", "20-one.conf", "0.2.0", "macvlan", false},
		{"many", "30-many.conflist", "1.0.0", "a", true},
		{"dir", "40-dir.conflist", "1.1.0", "a b", false},
		{"inline", "50-inline.conflist", "0.1.0", "a", false},
	}
	for _, test := range tests {
		list, err := h.Find(test.name)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		var types []string
		for _, p := range list.Plugins {
			types = append(types, p.Type())
		}
		if filepath.Base(list.File) != test.file || list.version() != test.version || strings.Join(types, " ") != test.types || list.DisableCheck != test.noCheck {
			t.Errorf("%s: %s, version %s, plugins %v, disableCheck %v", test.name, list.File, list.version(), types, list.DisableCheck)
		}
		if list.Has("portMappings") != (test.name == "list") || list.Has("ips") {
			t.Errorf("%s: wrong capabilities", test.name)
		}
	}
	_, err := h.Find("missing")
	for _, want := range []string{`no CNI configuration "missing"`, `there is "list" "many" "dir" "inline" "one" "list"`, "00-bad.conflist: unexpected end of JSON"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("missing: %v, want %q", err, want)
		}
	}
	if _, err := (Host{Configs: "/nowhere"}).Find("x"); err == nil || !strings.Contains(err.Error(), "there is none at all") {
		t.Errorf("without a directory: %v", err)
	}
}

func TestBadConfigurations(t *testing.T) {
	tests := []struct{ text, want string }{
		{`[]`, "cannot unmarshal"},
		{`{"plugins": [{"type": "a"}]}`, `name: "" is no name`},
		{`{"name": "../x", "plugins": [{"type": "a"}]}`, `name: "../x" is no name`},
		{`{"name": "x"}`, "plugins: there are none"},
		{`{"name": "x", "plugins": [{"type": "../../bin/sh"}]}`, `plugins[0]: type: "../../bin/sh" is no name of a plugin`},
		{`{"name": "x", "plugins": [{}]}`, `plugins[0]: type: "" is no name`},
		{`{"name": "x", "plugins": [{"type": "a", "capabilities": {"x": 1}}]}`, "plugins[0]: json"},
		{`{"name": "x", "cniVersion": "one", "plugins": [{"type": "a"}]}`, `cniVersion: "one" is no version`},
		{`{"name": "x", "cniVersion": "2.0.0", "plugins": [{"type": "a"}]}`, `cniVersion: "2.0.0" is newer than 1.1.0`},
		{`{"name": "x", "disableCheck": 7, "plugins": [{"type": "a"}]}`, "invalid syntax"},
	}
	for _, test := range tests {
		h := hostWith(t, map[string]string{"10.conflist": test.text})
		if _, err := h.Find("x"); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.text, err, test.want)
		}
	}
}
