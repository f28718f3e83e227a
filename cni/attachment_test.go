package cni

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cocker/cocker/config"
)

// plugin installs a plugin that notes its calls in the directory's file "calls", does what
// the script says, and prints a result on ADD.
func plugin(t *testing.T, h Host, name, script string) {
	t.Helper()
	text := fmt.Sprintf(`#!/bin/sh
printf '%%s %s id=%%s netns=%%s if=%%s args=%%s secret=%%s path=%%s ' "$CNI_COMMAND" "$CNI_CONTAINERID" "$CNI_NETNS" "$CNI_IFNAME" "$CNI_ARGS" "$SECRET" "$CNI_PATH" >>'%[2]s/calls'
cat >>'%[2]s/calls'; echo >>'%[2]s/calls'
%[3]s
[ "$CNI_COMMAND" = ADD ] && echo '{"cniVersion": "1.0.0", "by": "%[1]s", "ips": [{"address": "10.1.0.5/24"}]}'
exit 0
`, name, h.State, script)
	if err := os.MkdirAll(h.State, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(h.Plugins[1], name), []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

// calls returns the calls of plugins since the last time.
func calls(t *testing.T, h Host) []string {
	t.Helper()
	text, _ := os.ReadFile(filepath.Join(h.State, "calls"))
	_ = os.Remove(filepath.Join(h.State, "calls"))
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	for i, line := range lines {
		lines[i] = strings.ReplaceAll(line, strings.Join(h.Plugins, ":"), "PLUGINS")
	}
	return lines
}

const twoPlugins = `{"cniVersion": "1.0.0", "name": "net", "plugins": [{"type": "first", "own": {"key": [1]}}, {"type": "second", "capabilities": {"portMappings": true}}]}`

func found(t *testing.T, h Host, name string) *List {
	t.Helper()
	list, err := h.Find(name)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func request(t *testing.T) Request {
	t.Helper()
	namespace := filepath.Join(t.TempDir(), "netns")
	if err := os.WriteFile(namespace, nil, 0o400); err != nil {
		t.Fatal(err)
	}
	return Request{Owner: "shop+pod", Interface: "eth0", Namespace: namespace}
}

// assertGone asserts that nothing is written down any more.
func assertGone(t *testing.T, h Host, owner string) {
	t.Helper()
	if err := h.Tidy(owner); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(filepath.Join(h.State, owner)); err == nil {
		t.Errorf("%v is left", left)
	}
}

// What the specification has plugins be told, and in which order.
func TestProtocol(t *testing.T) {
	t.Setenv("SECRET", "of the caller")
	h := hostWith(t, map[string]string{"10.conflist": twoPlugins})
	plugin(t, h, "first", "")
	plugin(t, h, "second", "")
	r := request(t)
	r.Ports = []config.Port{{HostPort: 8080, ContainerPort: 80, Protocol: config.TCP}, {HostAddress: netip.MustParseAddr("127.0.0.1"), HostPort: 53, ContainerPort: 53, Protocol: config.UDP}}
	result, err := h.Add(t.Context(), found(t, h, "net"), r)
	if err != nil || result.V4.String() != "10.1.0.5/24" {
		t.Fatalf("%+v, %v", result, err)
	}
	if err := h.Check(t.Context(), r.Owner, "eth0"); err != nil {
		t.Error(err)
	}
	// The configuration is needed no more, and neither is the namespace.
	if err := os.Remove(filepath.Join(h.Configs, "10.conflist")); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(r.Namespace); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := h.Del(t.Context(), r.Owner); err != nil {
			t.Error(err)
		}
	}
	env := func(netns string) string {
		return " id=cocker-shop_pod netns=" + netns + " if=eth0 args= secret= path=PLUGINS "
	}
	const (
		first   = `{"cniVersion":"1.0.0","name":"net","own":{"key":[1]}%s,"type":"first"}`
		second  = `{"capabilities":{"portMappings":true},"cniVersion":"1.0.0","name":"net"%s,"runtimeConfig":{"portMappings":[{"hostPort":8080,"containerPort":80,"protocol":"tcp"},{"hostPort":53,"containerPort":53,"protocol":"udp","hostIP":"127.0.0.1"}]},"type":"second"}`
		after   = `,"prevResult":{"cniVersion":"1.0.0","by":"%s","ips":[{"address":"10.1.0.5/24"}]}`
		nothing = ""
	)
	by1, by2 := fmt.Sprintf(after, "first"), fmt.Sprintf(after, "second")
	want := []string{
		"ADD first" + env(r.Namespace) + fmt.Sprintf(first, nothing),
		"ADD second" + env(r.Namespace) + fmt.Sprintf(second, by1),
		"CHECK first" + env(r.Namespace) + fmt.Sprintf(first, by2),
		"CHECK second" + env(r.Namespace) + fmt.Sprintf(second, by2),
		"DEL second" + env("") + unordered(fmt.Sprintf(second, by2)),
		"DEL first" + env("") + fmt.Sprintf(first, by2),
	}
	got := calls(t, h)
	if len(got) != len(want) {
		t.Fatalf("%d calls:\n%s", len(got), strings.Join(got, "\n"))
	}
	for i := range want {
		if unordered(got[i]) != unordered(want[i]) {
			t.Errorf("call %d:\n%s\nwant:\n%s", i, got[i], want[i])
		}
	}
	assertGone(t, h, r.Owner)
}

// unordered brings the JSON of a call into one order of keys.
func unordered(line string) string {
	before, text, found := strings.Cut(line, "{")
	var v any
	if !found || json.Unmarshal([]byte("{"+text), &v) != nil {
		return line
	}
	data, _ := json.Marshal(v)
	return before + string(data)
}

// Old versions are not given results that they do not know.
func TestOldVersions(t *testing.T) {
	for version, wants := range map[string]string{"0.2.0": "ADD ADD DEL DEL", "0.3.1": "ADD ADD+ DEL DEL", "0.4.0": "ADD ADD+ CHECK+ CHECK+ DEL+ DEL+"} {
		h := hostWith(t, map[string]string{"10.conflist": strings.Replace(twoPlugins, "1.0.0", version, 1)})
		plugin(t, h, "first", "")
		plugin(t, h, "second", "")
		r := request(t)
		if _, err := h.Add(t.Context(), found(t, h, "net"), r); err != nil {
			t.Fatal(err)
		}
		if err := h.Check(t.Context(), r.Owner, "eth0"); err != nil {
			t.Error(err)
		}
		if err := h.Del(t.Context(), r.Owner); err != nil {
			t.Error(err)
		}
		var got []string
		for _, call := range calls(t, h) {
			word, _, _ := strings.Cut(call, " ")
			if strings.Contains(call, "prevResult") {
				word += "+"
			}
			got = append(got, word)
		}
		if strings.Join(got, " ") != wants {
			t.Errorf("%s: %v, want %s", version, got, wants)
		}
	}
}

// Every error names the file, the plugin and the reason.
func TestErrors(t *testing.T) {
	tests := []struct {
		name, script string
		change       func(*Request)
		wants        []string
	}{
		{"its own words", `printf %s '{"cniVersion": "1.0.0", "code": 7, "msg": "no such\n bridge", "details": "br9"}'; exit 1`, nil,
			[]string{"10.conflist: plugin ", "/bin/first, ADD: no such bridge: br9 (code 7)"}},
		{"printed", `echo panic >&2; exit 2`, nil, []string{"/bin/first, ADD: exit status 2: panic"}},
		{"nothing", `exit 3`, nil, []string{"/bin/first, ADD: exit status 3"}},
		{"no JSON", `echo hello; exit 0`, nil, []string{`plugin first, ADD: its result is no JSON: "hello"`}},
		{"address", ``, func(r *Request) { r.Addresses = []netip.Addr{netip.MustParseAddr("10.1.0.9")} }, []string{"10.conflist: the plugins have not given the address 10.1.0.9"}},
		{"MAC", ``, func(r *Request) { r.MAC = "02:00:5e:00:53:01" }, []string{"have not given the MAC address 02:00:5e:00:53:01"}},
		{"ports", ``, func(r *Request) { r.Ports = []config.Port{{HostPort: 80, ContainerPort: 80, Protocol: config.TCP}} }, []string{`no plugin of `, `has the capability "portMappings"`, `"type": "portmap"`}},
	}
	for _, test := range tests {
		h := hostWith(t, map[string]string{"10.conflist": `{"cniVersion": "1.0.0", "name": "net", "plugins": [{"type": "first"}]}`})
		plugin(t, h, "first", `[ "$CNI_COMMAND" = DEL ] && exit 0; `+test.script)
		r := request(t)
		if test.change != nil {
			test.change(&r)
		}
		_, err := h.Add(t.Context(), found(t, h, "net"), r)
		for _, want := range test.wants {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q", test.name, err, want)
			}
		}
		if err := h.Del(t.Context(), r.Owner); err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		assertGone(t, h, r.Owner)
	}
	h := hostWith(t, map[string]string{"10.conflist": twoPlugins})
	err := h.Installed(found(t, h, "net"))
	if err == nil || !strings.Contains(err.Error(), `there is no plugin "first" in `) || !strings.Contains(err.Error(), "apt-get install containernetworking-plugins") {
		t.Errorf("without plugins: %v", err)
	}
}

// A plugin that is gone, or fails, does not keep the others from undoing, and what it
// was to undo is tried again.
func TestDelGoesOn(t *testing.T) {
	h := hostWith(t, map[string]string{"10.conflist": twoPlugins})
	plugin(t, h, "first", "")
	plugin(t, h, "second", "")
	r := request(t)
	if _, err := h.Add(t.Context(), found(t, h, "net"), r); err != nil {
		t.Fatal(err)
	}
	calls(t, h)
	if err := os.Remove(filepath.Join(h.Plugins[1], "second")); err != nil {
		t.Fatal(err)
	}
	if err := h.Del(t.Context(), r.Owner); err == nil || !strings.Contains(err.Error(), `no plugin "second"`) {
		t.Errorf("%v", err)
	}
	if got := calls(t, h); len(got) != 1 || !strings.HasPrefix(got[0], "DEL first") {
		t.Errorf("%v", got)
	}
	if err := h.Tidy(r.Owner); err != nil {
		t.Error(err)
	}
	plugin(t, h, "second", "")
	if err := h.Del(t.Context(), r.Owner); err != nil {
		t.Error(err)
	}
	if got := calls(t, h); len(got) != 2 || !strings.HasPrefix(got[0], "DEL second") {
		t.Errorf("%v", got)
	}
	assertGone(t, h, r.Owner)
}

// A launcher is killed while a plugin works, or a program that the plugin has started: the
// DEL comes after that.
func TestDelWaitsForAdd(t *testing.T) {
	h := hostWith(t, map[string]string{"10.conflist": `{"cniVersion": "1.0.0", "name": "net", "plugins": [{"type": "slow"}]}`})
	plugin(t, h, "slow", `[ "$CNI_COMMAND" = DEL ] && exit 0; (until [ -e "`+h.State+`/go" ]; do sleep 0.01; done; echo late >>"`+h.State+`/calls") </dev/null >/dev/null 2>&1 & exec sleep 1000`)
	r := request(t)
	ctx, kill := context.WithCancel(t.Context())
	added := make(chan error, 1)
	go func() { _, err := h.Add(ctx, found(t, h, "net"), r); added <- err }()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		if text, _ := os.ReadFile(filepath.Join(h.State, "calls")); strings.HasSuffix(string(text), "}\n") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the plugin is not called")
		}
	}
	kill()
	if err := <-added; err == nil || !strings.Contains(err.Error(), "has not ended in time") {
		t.Errorf("ADD: %v", err)
	}
	deleted := make(chan error, 1)
	go func() { deleted <- h.Del(t.Context(), r.Owner) }()
	if err := os.WriteFile(filepath.Join(h.State, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := <-deleted; err != nil {
		t.Error(err)
	}
	var words []string
	for _, call := range calls(t, h) {
		word, _, _ := strings.Cut(call, " ")
		words = append(words, word)
	}
	if strings.Join(words, " ") != "ADD late DEL" {
		t.Errorf("%v", words)
	}
	assertGone(t, h, r.Owner)
}
