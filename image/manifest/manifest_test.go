package manifest

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/cocker/cocker/image"
)

func TestParse(t *testing.T) {
	oci := `"schemaVersion":2,"mediaType":"` + image.MediaTypeManifest + `"`
	for _, tt := range []struct{ text, contentType, want string }{
		{`{` + oci + `,"layers":[],"manifests":[]}`, image.MediaTypeManifest, "an image and an index at once"},
		{`{` + oci + `,"manifests":[]}`, image.MediaTypeManifest, "is no image"},
		{`{` + oci + `,"layers":[]}`, image.MediaTypeIndex, "was sent as"},
		{`{"schemaVersion":1,"fsLayers":[]}`, "application/json", "first schema"},
		{`<html>`, "text/html", "no JSON"},
		{`{"schemaVersion":2,"mediaType":"application/x"}`, "", `"application/x", which is no image`},
		{`{"schemaVersion":2,"config":{}}`, "text/plain; charset=utf-8", ""},
		{`{"schemaVersion":2,"manifests":[]}`, "text/plain", ""},
	} {
		d, err := Parse([]byte(tt.text), tt.contentType)
		if tt.want == "" && (err != nil || d.IsIndex() != (d.Manifests != nil)) {
			t.Errorf("%s: %+v, %v", tt.text, d, err)
		}
		if tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v; want %q", tt.text, err, tt.want)
		}
	}
}

// Package image has to read what goes into the store, so that is not found out when the
// layers are here.
func TestStoredIsReadable(t *testing.T) {
	config := image.Descriptor{MediaType: dockerConfig, Digest: image.DigestOf(nil)}
	for _, tt := range []struct {
		kind, want  string
		annotations any
	}{
		{DockerManifest, "", map[string]string{"a": "b"}},
		{DockerManifest, "cannot unmarshal", map[string]int{"a": 5}},
		{DockerManifest, "longer than", map[string]string{"a": strings.Repeat("<", 1<<20)}}, // "\u003c" in the end
		{image.MediaTypeManifest, "cannot unmarshal", map[string]int{"a": 5}},
	} {
		var raw strings.Builder
		e := json.NewEncoder(&raw)
		e.SetEscapeHTML(false)
		err := e.Encode(map[string]any{"schemaVersion": 2, "mediaType": tt.kind, "config": config, "layers": []any{}, "annotations": tt.annotations})
		if err != nil {
			t.Fatal(err)
		}
		d, err := Parse([]byte(raw.String()), tt.kind)
		if err != nil {
			t.Fatal(err)
		}
		if _, err = d.Stored(); (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v; want %q", tt.kind, err, tt.want)
		}
	}
}
