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
	s.Name, s.Leader, s.Network, s.Address = "web", os.Getpid(), "shop", "10.9.0.5/16"
	data, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	put(t, dir, "web.json", string(data))
	if got := newWorld(dir, "shop").says("web.", dns.TypeA); got != "NOERROR A 10.9.0.5" {
		t.Errorf("%s: %s", data, got)
	}
}
