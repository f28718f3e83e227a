package launch

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/cocker/cocker/config"
)

// A directory is one file for each of its own. What another key loads, whose name begins
// alike, is none of them.
func TestReadCredentials(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"tls_cert", "tls_key", "tls_other", "tlsnot", "db"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o400); err != nil {
			t.Fatal(err)
		}
	}
	keys := []config.Credential{{Name: "db"}, {Name: "missing"}, {Name: "tls"}, {Name: "tls_other"}}
	for name, want := range map[string][]string{"db": {"db"}, "missing": nil, "tls": {"tls_cert", "tls_key"}, "tls_other": {"tls_other"}} {
		got, err := readCredentials(dir, name, keys)
		if err != nil || len(got) != len(want) {
			t.Errorf("%s: %v, %v", name, got, err)
			continue
		}
		for i := range want {
			if got[i].Name != want[i] || string(got[i].Value) != want[i] {
				t.Errorf("%s: got %q, want %q", name, got[i].Name, want[i])
			}
		}
	}
	if got, err := readCredentials(filepath.Join(dir, "nosuch"), "db", keys); got != nil || err != nil {
		t.Errorf("no directory: %v, %v", got, err)
	}
}
