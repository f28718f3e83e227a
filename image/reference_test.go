package image

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

const zeros = "sha256:0000000000000000000000000000000000000000000000000000000000000000"

func TestParseReference(t *testing.T) {
	tests := []struct {
		text string
		want Reference
	}{
		{"demo", Reference{Name: "demo"}},
		{"base:1.0", Reference{Name: "base", Tag: "1.0"}},
		{"registry.example.com/web:1.27", Reference{Name: "registry.example.com/web", Tag: "1.27"}},
		{"localhost:5000/a/b", Reference{Name: "localhost:5000/a/b"}},
		{"localhost:5000/a/b:V_1.x-y", Reference{Name: "localhost:5000/a/b", Tag: "V_1.x-y"}},
		{"Registry.Example.com/web", Reference{Name: "Registry.Example.com/web"}},
		{"HOST/web", Reference{Name: "HOST/web"}}, // as Docker reads it: upper case makes it a host
		{"a--b__c.d:1", Reference{Name: "a--b__c.d", Tag: "1"}},
		{zeros, Reference{Digest: zeros}},
		{"base@" + zeros, Reference{Name: "base", Digest: zeros}},
		{"base:1.0@" + zeros, Reference{Name: "base", Tag: "1.0", Digest: zeros}},
	}
	for _, tt := range tests {
		got, err := ParseReference(tt.text)
		if err != nil || got != tt.want {
			t.Errorf("ParseReference(%q) = %+v, %v; want %+v", tt.text, got, err, tt.want)
		}
		if got.String() != tt.text {
			t.Errorf("String() = %q, want %q", got, tt.text)
		}
	}
}

func TestParseReferenceRefuses(t *testing.T) {
	bad := []string{
		"", ":", ":1", "base:", "base:.x", "base:-x", "base:a b", "base:1\n", "Base", "a//b", "/a", "a/", "..",
		"a/../b", "a..b", "a_", "-a", "a b", "a\x00b", "host:port/x", "host:/x", "base@", "base@sha256:abc", "@" + zeros,
		"sha256:" + strings.Repeat("A", 64), "sha256:../../etc/passwd", "base@md5:" + strings.Repeat("0", 32), "ä",
		strings.Repeat("a", 256), "a:" + strings.Repeat("1", 129),
	}
	for _, text := range bad {
		if ref, err := ParseReference(text); !errors.Is(err, ErrBadReference) {
			t.Errorf("ParseReference(%q) = %+v, %v; want ErrBadReference", text, ref, err)
		}
	}
}

func TestFullName(t *testing.T) {
	tests := []struct{ in, want string }{
		{"demo", "demo:latest"},
		{"demo:1.0", "demo:1.0"},
		{"h:5000/demo", "h:5000/demo:latest"},
		{"demo@" + zeros, ""},
		{zeros, ""},
	}
	for _, tt := range tests {
		if got, err := FullName(tt.in); got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("FullName(%q) = %q, %v; want %q", tt.in, got, err, tt.want)
		}
	}
}

func TestCompareTags(t *testing.T) {
	// Each tag is a lower version than the next one.
	order := []string{
		"beta", "nightly", "0.9", "1", "1.0-rc1", "1.0-rc2", "1.0-rc10", "1.0", "1.0.1", "1.2-alpine", "1.2", "v1.3", "1.9", "1.10",
		"2", "9", "10", "20240101", "99999999999999999999999999", "100000000000000000000000000",
	}
	for i, a := range order {
		for j, b := range order {
			if got, want := CompareTags(a, b), sign(i-j); got != want {
				t.Errorf("CompareTags(%q, %q) = %d, want %d", a, b, got, want)
			}
		}
	}
	shuffled := slices.Clone(order)
	slices.Reverse(shuffled)
	slices.SortFunc(shuffled, CompareTags)
	if !slices.Equal(shuffled, order) {
		t.Errorf("sorted: %v", shuffled)
	}
}

func sign(n int) int {
	switch {
	case n < 0:
		return -1
	case n > 0:
		return 1
	}
	return 0
}
