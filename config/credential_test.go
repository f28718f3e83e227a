package config

import (
	"os"
	"path/filepath"
	"testing"
)

// A value in the clear is refused where everybody can read it, and only there.
func TestSetCredentialNeedsAPrivateFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "containers", "web.toml")
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	for mode, good := range map[os.FileMode]bool{0o600: true, 0o400: true, 0o640: true, 0o644: false, 0o604: false} {
		for credential, secret := range map[string]bool{`{ set = "x" }`: true, `{ load = "/x" }`: false} {
			if err := os.WriteFile(file, []byte("image = \"a\"\n[credentials]\nown = "+credential+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(file, mode); err != nil {
				t.Fatal(err)
			}
			if _, err := Load([]string{dir}, "web"); (err == nil) != (good || !secret) {
				t.Errorf("%s in a file of mode %04o: %v", credential, mode, err)
			}
		}
	}
}
