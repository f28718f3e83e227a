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
