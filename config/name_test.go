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

func TestValidVolume(t *testing.T) {
	for name, want := range map[string]bool{
		"db": true, "1": true, "a_b.c-d": true, "A": true, "a..b": true, strings.Repeat("a", 64): true,
		strings.Repeat("a", 65): false, "": false, ".": false, "..": false, ".new": false, "-a": false, "_a": false,
		"a/b": false, "/a": false, "../a": false, "a b": false, "a:b": false, "a\n": false, "a\x00": false, "é": false, "a%i": false,
	} {
		if err := ValidVolume(name); (err == nil) != want {
			t.Errorf("ValidVolume(%q) = %v, want valid: %v", name, err, want)
		}
	}
}
