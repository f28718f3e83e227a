package registry

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/cocker/cocker/image"
)

// What the store has is OCI. Docker's media types differ from OCI's by name only,
// for what cocker runs; so a Docker manifest is rewritten, as skopeo and podman do
// for an OCI layout, and the image is found by its digest in the registry still.
func ociType(kind string) (string, bool) {
	switch kind {
	case image.MediaTypeLayer, image.MediaTypeLayerGzip, image.MediaTypeLayerZstd, image.MediaTypeConfig:
		return kind, true
	case string(types.DockerConfigJSON):
		return image.MediaTypeConfig, true
	case string(types.DockerUncompressedLayer):
		return image.MediaTypeLayer, true
	case string(types.DockerLayer):
		return image.MediaTypeLayerGzip, true
	case string(types.DockerLayer[:len(types.DockerLayer)-len("gzip")]) + "zstd": // what buildkit writes
		return image.MediaTypeLayerZstd, true
	}
	return "", false
}

// checkTypes refuses what is no image for Linux, before anything of it is fetched.
func checkTypes(d *document) error {
	if t, ok := ociType(d.Config.MediaType); !ok || t != image.MediaTypeConfig {
		return fmt.Errorf("it is no image that can be run: its configuration is of the type %q", d.Config.MediaType)
	}
	if err := image.CheckDigest(d.Config.Digest); err != nil {
		return err
	}
	if len(d.Layers) > maxLayers {
		return fmt.Errorf("it has %d layers; %d are possible", len(d.Layers), maxLayers)
	}
	for _, l := range d.Layers {
		t, ok := ociType(l.MediaType)
		err := image.CheckDigest(l.Digest)
		switch {
		case err != nil:
			return err
		case strings.Contains(l.MediaType, ".foreign.") || strings.Contains(l.MediaType, ".nondistributable."):
			return fmt.Errorf("layer %s is not in the registry, its author keeps it (type %q); such images are for Windows", l.Digest, l.MediaType)
		case !ok || t == image.MediaTypeConfig:
			return fmt.Errorf("layer %s is of the type %q, which cocker does not know", l.Digest, l.MediaType)
		case l.Size < 0:
			return fmt.Errorf("layer %s has the size %d", l.Digest, l.Size)
		}
	}
	return nil
}

// stored is the manifest as it goes into the store.
func (f *found) stored() ([]byte, error) {
	if f.kind == types.OCIManifestSchema1 && !f.hasDockerTypes() {
		return f.raw, nil
	}
	m := image.Manifest{SchemaVersion: 2, MediaType: image.MediaTypeManifest, Config: oci(f.Config)}
	for _, l := range f.Layers {
		m.Layers = append(m.Layers, oci(l))
	}
	var notes struct {
		Annotations map[string]string `json:"annotations"`
	}
	if err := json.Unmarshal(f.raw, &notes); err != nil {
		return nil, err
	}
	m.Annotations = notes.Annotations
	return json.Marshal(m)
}

func (f *found) hasDockerTypes() bool {
	for _, d := range append([]image.Descriptor{f.Config}, f.Layers...) {
		if t, _ := ociType(d.MediaType); t != d.MediaType {
			return true
		}
	}
	return false
}

func oci(d image.Descriptor) image.Descriptor {
	d.MediaType, _ = ociType(d.MediaType) // checkTypes has seen it
	return d
}
