package manifest

import (
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
