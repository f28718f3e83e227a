package launch

import "testing"

func TestWithoutServers(t *testing.T) {
	rest, domains := withoutServers([]byte("# of the host\nnameserver 127.0.0.53\ndomain old.example\n\nsearch a.example b.example .\n; no\noptions edns0 trust-ad\nsortlist 10.0.0.0/8"))
	if string(rest) != "options edns0 trust-ad\nsortlist 10.0.0.0/8\n" {
		t.Errorf("%q", rest)
	}
	if len(domains) != 2 || domains[0] != "a.example" || domains[1] != "b.example" {
		t.Errorf("%q", domains)
	}
	if got := searchLine([]byte("search cocker0 a.example\n")); got != "Domains=cocker0 a.example\n" {
		t.Errorf("%q", got)
	}
	if got := searchLine([]byte("nameserver 192.0.2.1\n")); got != "" {
		t.Errorf("%q", got)
	}
}

// The networks' servers come before the host's domains and in the place of its servers.
func TestResolvers(t *testing.T) {
	const host = "# the host's\nnameserver 192.0.2.2\nsearch example.com\noptions timeout:1\n"
	tests := []struct {
		name      string
		resolvers []resolver
		want      string
	}{
		{"none", nil, ""},
		{"no servers", []resolver{{search: []string{"db.example"}}}, ""},
		{"a network's", []resolver{{servers: []string{"10.88.0.1"}, search: []string{"cocker0"}}},
			"nameserver 10.88.0.1\nsearch cocker0 example.com\noptions timeout:1\n"},
		{"two, and more servers than are read", []resolver{
			{servers: []string{"10.77.0.1", "10.77.0.2", "10.77.0.3"}, search: []string{"db.example"}, options: []string{"ndots:2"}},
			{servers: []string{"10.88.0.1"}, search: []string{"cocker0"}}},
			"nameserver 10.77.0.1\nnameserver 10.77.0.2\nnameserver 10.77.0.3\nsearch db.example cocker0 example.com\noptions timeout:1\noptions ndots:2\n"},
	}
	for _, test := range tests {
		if got := string(withResolvers([]byte(host), test.resolvers)); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}
