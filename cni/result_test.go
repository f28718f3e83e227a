package cni

import (
	"fmt"
	"strings"
	"testing"
)

func TestParseResult(t *testing.T) {
	const interfaces = `"interfaces": [{"name": "br"}, {"name": "veth1"}, {"name": "eth0", "mac": "02:00:5E:00:53:01", "sandbox": "/n"}, {"name": "eth9", "sandbox": "/n"}]`
	tests := []struct{ name, text, want string }{
		{"1.0", `{` + interfaces + `, "ips": [{"address": "10.1.0.5/24", "gateway": "10.1.0.1", "interface": 2}, {"address": "fd00::5/64", "gateway": "fd00::1", "interface": 2}]}`,
			"10.1.0.5/24 10.1.0.1 fd00::5/64 fd00::1 02:00:5e:00:53:01 [br veth1]"},
		{"others' addresses", `{` + interfaces + `, "ips": [{"address": "10.1.0.6/24", "interface": 3}, {"address": "10.1.0.1/24", "interface": 0}]}`,
			"invalid Prefix invalid IP invalid Prefix invalid IP 02:00:5e:00:53:01 [br veth1]"},
		{"the first of several", `{"ips": [{"version": "4", "address": "10.1.0.5/24"}, {"address": "10.1.0.6/24"}]}`, "10.1.0.5/24 invalid IP invalid Prefix invalid IP  []"},
		{"0.2", `{"ip4": {"ip": "10.1.0.5/24", "gateway": "10.1.0.1"}, "ip6": {"ip": "fd00::5/64"}}`, "10.1.0.5/24 10.1.0.1 fd00::5/64 invalid IP  []"},
		{"nothing", `{}`, "invalid Prefix invalid IP invalid Prefix invalid IP  []"},
	}
	for _, test := range tests {
		r, err := parseResult([]byte(test.text), "eth0")
		if got := fmt.Sprintln(r.V4, r.Gateway4, r.V6, r.Gateway6, r.MAC, r.Host); err != nil || strings.TrimSpace(got) != test.want {
			t.Errorf("%s: %s, %v\nwant %s", test.name, got, err, test.want)
		}
	}
	if _, err := parseResult([]byte(`{"ips": [{"address": "10.1.0.5"}]}`), "eth0"); err == nil {
		t.Error("an address without a length is taken")
	}
}

// A DHCP server is not the host: what it says of names must not be a line of its own.
func TestHostileDNS(t *testing.T) {
	r, err := parseResult([]byte(`{"dns": {"nameservers": ["10.1.0.1", "10.1.0.2\nnameserver 6.6.6.6", "fd00::1"],
		"domain": "a.example", "search": ["b.example", "c\noptions debug", "d e", "#f", ""], "options": ["ndots:2", "x\ny"]}}`), "eth0")
	if got, want := fmt.Sprint(r.DNS), "{[10.1.0.1 fd00::1] [b.example a.example] [ndots:2]}"; got != want || err != nil {
		t.Errorf("%s, %v; want %s", got, err, want)
	}
}
