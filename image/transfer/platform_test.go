package transfer

import "testing"

func TestPlatforms(t *testing.T) {
	for text, want := range map[string]string{"arm64": "linux/arm64", "linux/aarch64/v8": "linux/arm64", "linux/arm/v7": "linux/arm/v7", "x86_64": "linux/amd64"} {
		if p, err := ParsePlatform(text); err != nil || p.String() != want {
			t.Errorf("%s: %s, %v", text, p, err)
		}
	}
	for _, bad := range []string{"windows/amd64", "linux/", "linux/arm/", "a/b/c/d"} {
		if _, err := ParsePlatform(bad); err == nil {
			t.Errorf("%s is no error", bad)
		}
	}
}
