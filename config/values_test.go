package config

import (
	"strings"
	"syscall"
	"testing"
)

func TestReference(t *testing.T) {
	digest := "@sha256:" + strings.Repeat("0123456789abcdef", 4)
	for s, want := range map[string]bool{
		"a": true, "base:1.0": true, "a/b/c": true, "localhost/a": true, "localhost:5000/a:x": true, "EXAMPLE.com/a": true,
		"reg.example.com/web:1.27": true, "10.0.0.1:5000/a": true, "a" + digest: true, "r.io/a:t" + digest: true,
		"a_b": true, "a__b": true, "a---b": true, "a.b": true, "a:_x": true, "a:A-b.c_d": true,
		"": false, "A": false, "a/B": false, ":x": false, "a:": false, "a:.x": false, "a:-x": false, "a:x y": false,
		"/a": false, "a/": false, "a//b": false, "_a": false, "a_": false, "a..b": false, "a___b": false, "a._b": false, "-a": false,
		"a@sha256:12": false, "a@md5:" + strings.Repeat("0", 64): false, "a" + strings.ToUpper(digest): false,
		"localhost:/a": false, "localhost:x/a": false, "h_h.com/a": false, "a:" + strings.Repeat("x", 129): false,
		strings.Repeat("a", 256): false, "../a": false, "a b": false, "é": false,
		"ssh://host/web": true, "ssh://me@host.example.com:2222/a/web:1.0": true, "ssh://me@[2001:db8::1]:22/web" + digest: true,
		"ssh://h_1/reg.example.com:5000/web:1": true, "ssh://host": false, "ssh://host/": false, "ssh:///web": false, "ssh://-oProxyCommand=x/web": false,
		"ssh://-x/web": false, "ssh://me@-x/web": false, "ssh://-me@host/web": false, "ssh://me;id@host/web": false, "ssh://$(id)/web": false, "ssh://5000/web": false,
		"ssh://host:/web": false, "ssh://host:0/web": false, "ssh://host:022/web": false, "ssh://host:65536/web": false, "ssh://[::1/web": false, "ssh://[x]/web": false,
		"ssh://a@b@c/web": false, "ssh://host/../web": false, "ssh://host//web": false, "ssh://h%h/web": false, "ssh://h\nx/web": false, "ssh:host/web": false,
	} {
		if got := badReference(s); (got == "") != want {
			t.Errorf("%q: %q, want valid: %v", s, got, want)
		}
	}
}

func TestSignal(t *testing.T) {
	for name, want := range map[string]syscall.Signal{
		"SIGTERM": 15, "TERM": 15, "SIGKILL": 9, "SIGRTMIN": 34, "SIGRTMIN+3": 37, "RTMIN+4": 38, "SIGRTMAX": 64, "SIGRTMAX-1": 63,
	} {
		full, number, ok := Signal(name)
		if !ok || number != want || full != "SIG"+strings.TrimPrefix(name, "SIG") {
			t.Errorf("%s: %s, %d, %v", name, full, number, ok)
		}
	}
	for _, name := range []string{"", "SIG", "term", "15", "SIGRTMIN+31", "SIGRTMIN-1", "SIGRTMIN+", "SIGRTMIN++3", "SIGRTMAX+1", "SIGRTMIN+03", "SIGSIGTERM"} {
		if _, _, ok := Signal(name); ok {
			t.Errorf("%q is taken for a signal", name)
		}
	}
}

func TestParseSize(t *testing.T) {
	for s, want := range map[string]uint64{"1": 1, "1B": 1, "1K": 1024, "512M": 512 << 20, "1.5G": 3 << 29, "2T": 2 << 40, "7E": 7 << 60} {
		if got, err := ParseSize(s); err != nil || got != want {
			t.Errorf("%s: %d, %v, want %d", s, got, err, want)
		}
	}
	for _, s := range []string{"", "0", "K", "-1", "+1", "1k", "1MB", "1MiB", "8E", "1e3", "0x1", "1.", ".5K", "1 K", "0.1B", "Inf", "NaN", "99999999999999999999"} {
		if got, err := ParseSize(s); err == nil {
			t.Errorf("%q: got %d", s, got)
		}
	}
	for n, want := range map[uint64]string{1: "1", 1024: "1K", 3 << 29: "1536M", 1025: "1025", 1 << 60: "1E"} {
		if got := FormatSize(n); got != want {
			t.Errorf("FormatSize(%d) = %s, want %s", n, got, want)
		}
	}
}

func TestParsePort(t *testing.T) {
	for _, s := range []string{"8080:80", "127.0.0.1:5353:53/udp", "1:65535", ":80", "127.0.0.1::80", "[::1]:8080:80/sctp", "[fd00::1]::80"} {
		if p, err := ParsePort(s); err != nil || p.String() != s {
			t.Errorf("%s: %v, %v", s, p, err)
		}
	}
	for s, want := range map[string]string{
		"80": `the host's port is missing; for any that is free write ":80"`, "0:80": "host's port", "80:0": "container's port", "80:65536": "container's port",
		"080:80": "host's port", "80:80/dccp": "protocol", "80:80/": "protocol", "80:80/TCP": "protocol", "[::1]:80": "is missing", "[::1]80:80": "brackets", "[1.2.3.4]:80:80": "no IPv6 address", "[fe80::1%eth0]:80:80": "one link only", "[ff02::1]:1:1": "no address that a host can have", "::1:80:80": `brackets, as in "[::1]:8080:80"`,
		"1.2.3:80:80": "no IP address", "224.0.0.1:80:80": "no address that a host can have", "80-81:80": "the host's ports are 2 and the container's 1", "80-82:80-83": "as many of both", "81-80:1-2": "ends before it begins", ":1-1025": "these are 1025 ports", "80-:80": "no number", "80:80-70000": "no number", ":80:80": "address is empty", ":": "no number", "1:2:3:4": "brackets",
		"+80:80": "host's port", "": "missing", "255.255.255.255:1:1": "no address",
	} {
		if _, err := ParsePort(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", s, err, want)
		}
	}
}

func TestPortRanges(t *testing.T) {
	for _, s := range []string{"8000-8010:80-90", ":80-90/udp", "127.0.0.1:1-1024:64512-65535", "[::1]:7-9:7-9/sctp"} {
		ports, err := ParsePorts(s)
		if got := FormatPorts(ports); err != nil || len(got) != 1 || got[0] != s {
			t.Errorf("%s: %d ports, %v, %v", s, len(ports), got, err)
		}
	}
	ports, _ := ParsePorts("1-2:1-2")
	more, _ := ParsePorts("65535:1")
	if got := FormatPorts(append(ports, more...)); strings.Join(got, " ") != "1:1 2:2 65535:1" {
		t.Errorf("got %q", got)
	}
	if _, err := ParsePort("1-2:1-2"); err == nil {
		t.Error("a range is taken for a port")
	}
}

func TestRate(t *testing.T) {
	for s, want := range map[string]uint64{"10M": 10_000_000, "8K": 8000, "1.5G": 1_500_000_000, "64000": 64000, "10T": 1e13} {
		got, err := ParseRate(s)
		if err != nil || got != want {
			t.Errorf("%s: %d, %v", s, got, err)
		}
		if again, err := ParseRate(FormatRate(got)); err != nil || again != want {
			t.Errorf("%s: written as %s", s, FormatRate(got))
		}
	}
	for s, want := range map[string]string{
		"": "is no rate", "10Mbit": "is no rate", "10m": "is no rate", "-1M": "is no rate", "0": "is no rate", "10B": "is no rate", "7999": "too little", "11T": "too much", "8E": "too much", "10 M": "is no rate",
	} {
		if _, err := ParseRate(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", s, err, want)
		}
	}
}

func TestAccounts(t *testing.T) {
	for s, want := range map[string]bool{
		"root": true, "0": true, "65534": true, "_apt": true, "www-data": true, "a.b": true, "host$": true,
		"": false, "65535": false, "-1": false, "1a": false, "a b": false, "a:b": false, "a/b": false, "$": false, "a$b": false,
	} {
		if got := badAccount(s); (got == "") != want {
			t.Errorf("%q: %q, want valid: %v", s, got, want)
		}
	}
}

func TestUnitNames(t *testing.T) {
	for s, want := range map[string]bool{
		"multi-user.target": true, "a@b.service": true, `dev-disk-by\x2dlabel-x.device`: true, "a.b.timer": true,
		"": false, "a": false, ".target": false, "a@.service": false, "@a.service": false, "a.conf": false, "a/b.service": false,
		"a b.service": false, "a@b@c.service": false, "a.service mount": false, "a.": false, "%i.service": false,
	} {
		if got := badUnitName(s); (got == "") != want {
			t.Errorf("%q: %q, want valid: %v", s, got, want)
		}
	}
}

func TestNearest(t *testing.T) {
	candidates := []string{"network", "image", "images", "command", "user"}
	for word, want := range map[string]string{
		"netwrok": "network", "imgae": "image", "Image": "image", "cmd": "", "usr": "user", "description": "", "comand": "command", "x": "",
	} {
		if got := nearest(word, candidates); got != want {
			t.Errorf("%s: %q, want %q", word, got, want)
		}
	}
}
