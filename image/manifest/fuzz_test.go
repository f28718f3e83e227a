package manifest

import (
	"testing"

	"github.com/cocker/cocker/image"
)

// FuzzParse looks for manifests and indexes that are taken for both, or for neither, and
// for such that pass all checks with layers that nothing can run.
func FuzzParse(f *testing.F) {
	const digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	f.Add([]byte(`{"schemaVersion":2,"mediaType":"`+image.MediaTypeManifest+`","config":{"digest":"`+digest+`","size":0},"layers":[{"digest":"`+digest+`","size":1}]}`), "")
	f.Add([]byte(`{"schemaVersion":2,"manifests":[{"digest":"`+digest+`","size":2,"platform":{"os":"linux","architecture":"amd64"}}]}`), DockerIndex)
	f.Add([]byte(`{"schemaVersion":1}`), "text/plain; charset=utf-8")
	f.Fuzz(func(t *testing.T, raw []byte, sentAs string) {
		d, err := Parse(raw, sentAs)
		if err != nil {
			return
		}
		if d.IsIndex() != (d.Manifests != nil) || d.IsIndex() && d.Layers != nil || !known(d.Kind) || d.Digest != image.DigestOf(raw) {
			t.Errorf("%q as %q: %+v", raw, sentAs, d)
		}
		if d.Check() == nil && len(d.Layers) > maxLayers {
			t.Errorf("%d layers", len(d.Layers))
		}
	})
}
