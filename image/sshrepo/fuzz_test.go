package sshrepo

import (
	"encoding/json"
	"testing"
)

// FuzzIndex: what is in the other side's index.json stays in it, and is read the same again.
func FuzzIndex(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":2,"manifests":[{"digest":"sha256:x","annotations":{"org.opencontainers.image.ref.name":"web:1"},"more":1}],"own":{}}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, data []byte) {
		idx, err := parseIndex(data)
		if err != nil {
			return
		}
		text, err := idx.encode()
		if err != nil {
			return
		}
		again, err := parseIndex(text)
		if err != nil || len(again.entries) != len(idx.entries) || !json.Valid(text) {
			t.Errorf("%q reads as %d images, and written as %q as %d (%v)", data, len(idx.entries), text, len(again.entries), err)
		}
		idx.named("web")
	})
}
