package image

import (
	"errors"
	"testing"
)

func TestParseReferenceSSH(t *testing.T) {
	tests := []struct {
		text  string
		want  Reference
		place Place
		name  string
	}{
		{"ssh://host/web", Reference{Name: "ssh://host/web"}, Place{Host: "host"}, "web"},
		{"ssh://me@host:2222/a/web:1.0", Reference{Name: "ssh://me@host:2222/a/web", Tag: "1.0"}, Place{"me", "host", 2222}, "a/web"},
		{"ssh://me@host/web@" + zeros, Reference{Name: "ssh://me@host/web", Digest: zeros}, Place{User: "me", Host: "host"}, "web"},
		{"ssh://[2001:db8::1]:22/web:1", Reference{Name: "ssh://[2001:db8::1]:22/web", Tag: "1"}, Place{Host: "2001:db8::1", Port: 22}, "web"},
		{"ssh://h/reg.example.com:5000/web:1", Reference{Name: "ssh://h/reg.example.com:5000/web", Tag: "1"}, Place{Host: "h"}, "reg.example.com:5000/web"},
	}
	for _, tt := range tests {
		got, err := ParseReference(tt.text)
		if err != nil || got != tt.want || !got.IsSSH() || got.String() != tt.text {
			t.Errorf("ParseReference(%q) = %+v, %v; want %+v", tt.text, got, err, tt.want)
		}
		if place, name, err := got.Place(); err != nil || place != tt.place || name != tt.name {
			t.Errorf("Place of %q: %+v, %q, %v; want %+v, %q", tt.text, place, name, err, tt.place, tt.name)
		}
		if name, tag, pinned := splitStored(tt.text); name != tt.want.Name || tag != tt.want.Tag || pinned != (tt.want.Digest != "") {
			t.Errorf("splitStored(%q) = %q, %q, %v", tt.text, name, tag, pinned)
		}
	}
}

// What becomes an argument of ssh is a user and a host and nothing else: CVE-2017-1000117,
// CVE-2023-51385.
func TestParsePlaceRefuses(t *testing.T) {
	for _, text := range []string{
		"ssh://", "ssh:///x", "ssh://-x", "ssh://-oProxyCommand=id", "ssh://me@-x", "ssh://-me@host", "ssh://me@", "ssh://@host",
		"ssh://`id`", "ssh://$(id)", "ssh://a;b", "ssh://a|b", "ssh://a b", "ssh://a\nb", "ssh://a'b", "ssh://a\"b", "ssh://%h", "ssh://a\\b", "ssh://a\x00b",
		"ssh://me;id@host", "ssh://a@b@c", "ssh://me:secret@host", "ssh://host:", "ssh://host:0", "ssh://host:01", "ssh://host:-1", "ssh://host:65536", "ssh://host:x",
		"ssh://5000", "ssh://[::1", "ssh://[::1]x", "ssh://[127.0.0.1]", "ssh://[fe80::1%eth0]", "ssh://::1", "ssh://..", "ssh://h-",
	} {
		if p, err := ParsePlace(text); err == nil {
			t.Errorf("ParsePlace(%q) = %+v", text, p)
		}
		if ref, err := ParseReference(text + "/web:1.0"); !errors.Is(err, ErrBadReference) {
			t.Errorf("ParseReference(%q) = %+v, %v", text+"/web:1.0", ref, err)
		}
	}
}

// The name in index.json conforms to the grammar of the image specification, and no
// other image can have it.
func TestAnnotated(t *testing.T) {
	for name, want := range map[string]string{
		"ssh://me@host/web:1.0": "ssh:me@host/web:1.0", "ssh://host:22/web:1": "ssh:host:22/web:1", "web:1.0": "web:1.0",
		"ssh:1.0": "ssh:1.0", "ssh:5000/web:1": "ssh:5000/web:1", "ssh/web:1": "ssh/web:1", "": "",
	} {
		if got := annotated(name); got != want || unannotated(got) != name {
			t.Errorf("annotated(%q) = %q, and back %q; want %q", name, got, unannotated(got), want)
		}
		if _, err := ParseReference(want); err == nil && want != name {
			t.Errorf("%q is the name of two images", want)
		}
	}
}
