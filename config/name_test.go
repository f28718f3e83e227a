package config

import (
	"strings"
	"testing"
)

func TestValidName(t *testing.T) {
	label := strings.Repeat("a", 63)
	for name, want := range map[string]bool{
		"web": true, "Web1": true, "1": true, "a-b": true, "a--b": true, "web.example.com": true,
		label: true, label + ".a": false /* 65 bytes */, label + "a": false, strings.Repeat("a.", 31) + "ab": true,
		"": false, ".": false, "..": false, ".a": false, "a.": false, "a..b": false, "-a": false, "a-": false,
		"a.-b": false, "a_b": false, "a/b": false, "a@b": false, "a b": false, "a\n": false, "a\x00": false, "é": false,
		"../a": false, "a%i": false, "@": false,
	} {
		if err := ValidName(name); (err == nil) != want {
			t.Errorf("ValidName(%q) = %v, want valid: %v", name, err, want)
		}
	}
}
