package dns

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/miekg/dns"
)

// put writes a state as the launcher does.
func put(t testing.TB, dir, file, content string) {
	t.Helper()
	path := filepath.Join(dir, file)
	if err := os.WriteFile(path+".new", []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func running(name, rest string) string {
	return fmt.Sprintf(`{"name": %q, "leader": %d, %s}`, name, os.Getpid(), rest)
}

func (w *world) says(name string, kind uint16) string {
	return says(answer(testZone(), w.current(), question(name, kind), 0))
}

func TestWorld(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state") // made by the first container
	w := newWorld(dir, "shop")
	expect := func(name, want string) {
		t.Helper()
		if got := w.says(name, dns.TypeA); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	expect("web.shop.", "NXDOMAIN")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for round := range 3 { // the directory goes twice, and with it the watch
		put(t, dir, "web.json", running("web", `"joins": [{"network": "other", "address": "10.8.0.5/16", "aliases": ["hidden"]}, {"network": "shop", "address": "10.9.0.5/16", "address6": "fd00:9::5/64", "aliases": ["WWW"]}]`))
		expect("web.shop.", "NOERROR A 10.9.0.5")
		expect("www.shop.", "NOERROR A 10.9.0.5")
		expect("hidden.shop.", "NXDOMAIN")
		if got := w.says("web.", dns.TypeAAAA); got != "NOERROR AAAA fd00:9::5" {
			t.Error(got)
		}
		put(t, dir, "old.json", running("old", `"network": "shop", "address": "10.9.0.6/16"`))
		expect("old.shop.", "NOERROR A 10.9.0.6")
		put(t, dir, "elsewhere.json", running("elsewhere", `"network": "other", "address": "10.8.0.6/16"`))
		expect("elsewhere.shop.", "NXDOMAIN")
		put(t, dir, "starting.json", `{"name": "starting", "network": "shop", "address": "10.9.0.7/16"}`)
		expect("starting.shop.", "NXDOMAIN")
		put(t, dir, "starting.json", running("starting", `"network": "shop", "address": "10.9.0.7/16"`))
		expect("starting.shop.", "NOERROR A 10.9.0.7")
		put(t, dir, "gone.json", `{"name": "gone", "leader": 4194304, "network": "shop", "address": "10.9.0.8/16"}`) // above pid_max
		expect("gone.shop.", "NXDOMAIN")
		put(t, dir, "broken.json", `{"name": "bro`)
		put(t, dir, "podded.json", running("podded", `"pod": "pod1", "joins": [{"network": "shop", "address": "10.9.0.9/16"}]`))
		expect("pod1.shop.", "NOERROR A 10.9.0.9")
		put(t, dir, "web.json", running("web", `"joins": [{"network": "shop", "address": "10.9.0.50/16"}]`))
		expect("web.shop.", "NOERROR A 10.9.0.50")
		if err := os.Remove(filepath.Join(dir, "web.json")); err != nil {
			t.Fatal(err)
		}
		expect("web.shop.", "NXDOMAIN")
		expect("old.shop.", "NOERROR A 10.9.0.6")
		if round == 2 {
			break
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		expect("old.shop.", "NXDOMAIN")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	w.inotify = -1 // as where the kernel gives none
	w.watched = false
	expect("old.shop.", "NOERROR A 10.9.0.6")
	put(t, dir, "old.json", running("old", `"network": "shop", "address": "10.9.0.60/16"`))
	expect("old.shop.", "NOERROR A 10.9.0.60")
}

// More changes than the kernel remembers.
func TestWorldForgetsNothing(t *testing.T) {
	dir := t.TempDir()
	w := newWorld(dir, "shop")
	w.current()
	text, err := os.ReadFile("/proc/sys/fs/inotify/max_queued_events")
	if err != nil {
		t.Fatal(err)
	}
	var most int
	if err := json.Unmarshal(text, &most); err != nil {
		t.Fatal(err)
	}
	if most > 100_000 {
		t.Skipf("the kernel remembers %d changes", most)
	}
	for range most {
		put(t, dir, "other.json", running("other", `"network": "shop", "address": "10.9.0.5/16"`))
		if err := os.Remove(filepath.Join(dir, "other.json")); err != nil {
			t.Fatal(err)
		}
	}
	put(t, dir, "web.json", running("web", `"network": "shop", "address": "10.9.0.6/16"`))
	if got := w.says("web.shop.", dns.TypeA); got != "NOERROR A 10.9.0.6" {
		t.Error(got)
	}
}

func TestResolvConf(t *testing.T) {
	dir := t.TempDir()
	first, second := filepath.Join(dir, "first"), filepath.Join(dir, "second")
	s := &servers{files: []string{first, second}, port: 53, own: []netip.Addr{netip.MustParseAddr("10.9.0.1")}}
	expect := func(want string) {
		t.Helper()
		if got := fmt.Sprint(s.list()); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	expect("[]")
	put(t, dir, "second", "nameserver 192.0.2.7\n")
	expect("[192.0.2.7:53]")
	put(t, dir, "first", "# none\nsearch example.com\nnameserver 10.9.0.1\nnameserver\nnameserver x\n") // only itself
	expect("[192.0.2.7:53]")
	put(t, dir, "first", "nameserver 127.0.0.53\nnameserver 10.9.0.1\nnameserver fe80::1%eth0\nnameserver ::ffff:192.0.2.1\nnameserver 192.0.2.2\noptions edns0\n")
	expect("[127.0.0.53:53 [fe80::1%eth0]:53 192.0.2.1:53]")
}

func BenchmarkCurrent(b *testing.B) {
	dir := b.TempDir()
	for i := range 500 {
		put(b, dir, fmt.Sprintf("c%d.json", i), running(fmt.Sprintf("c%d", i), fmt.Sprintf(`"network": "shop", "address": "10.9.%d.%d/16"`, i/250, i%250)))
	}
	w := newWorld(dir, "shop")
	for b.Loop() {
		w.current()
	}
}
