package dns

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/miekg/dns"

	"github.com/cocker/cocker/launch"
)

// What the launcher writes of a container is what is read here.
func TestStateOfTheLauncher(t *testing.T) {
	var s launch.State
	s.Name, s.Leader = "web", os.Getpid()
	s.Joins = []launch.JoinState{{Network: "other", Address: "10.8.0.5/16"}, {Network: "shop", Address: "10.9.0.5/16", Address6: "fd00:9::5/64", Aliases: []string{"www"}}}
	data, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	put(t, dir, "web.json", string(data))
	for name, want := range map[string]string{"web.": "NOERROR A 10.9.0.5 AAAA fd00:9::5", "www.": "NOERROR A 10.9.0.5 AAAA fd00:9::5"} {
		if got := newWorld(dir, "shop").says(name, dns.TypeANY); got != want {
			t.Errorf("%s: %s: %s", data, name, got)
		}
	}
}
