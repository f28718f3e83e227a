package manifest

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/cocker/cocker/image"
)

// What the store has is OCI. So a Docker manifest is rewritten, as skopeo and podman
// do for an OCI layout.
func ociType(kind string) (string, bool) {
	switch kind {
	case image.MediaTypeLayer, image.MediaTypeLayerGzip, image.MediaTypeLayerZstd, image.MediaTypeConfig:
		return kind, true
	case dockerConfig:
		return image.MediaTypeConfig, true
	case dockerLayer:
		return image.MediaTypeLayer, true
	case dockerLayerGzip:
		return image.MediaTypeLayerGzip, true
	case dockerLayerZstd:
		return image.MediaTypeLayerZstd, true
	}
	return "", false
}

// Check refuses what is no image for Linux, before anything of it is fetched.
func (d *Document) Check() error {
	if t, ok := ociType(d.Config.MediaType); !ok || t != image.MediaTypeConfig {
		return fmt.Errorf("it is no image that can be run: its configuration is of the type %q", d.Config.MediaType)
	}
	if err := image.CheckDigest(d.Config.Digest); err != nil {
		return err
	}
	if err := CheckLayers(len(d.Layers)); err != nil {
		return err
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

// CheckLayers refuses more layers than can be mounted.
func CheckLayers(n int) error {
	if n > maxLayers {
		return fmt.Errorf("it has %d layers; %d are possible", n, maxLayers)
	}
	return nil
}

// Stored is the manifest as it goes into the store, after Check: package image must be
// able to read it. Docker's may get longer, as Go writes < as six bytes.
func (d *Document) Stored() ([]byte, error) {
	raw, err := d.rewritten()
	if err != nil {
		return nil, err
	}
	if len(raw) > MaxSize {
		return nil, fmt.Errorf("its manifest is longer than %d bytes", MaxSize)
	}
	if err := json.Unmarshal(raw, &image.Manifest{}); err != nil {
		return nil, fmt.Errorf("its manifest: %w", err)
	}
	return raw, nil
}

func (d *Document) rewritten() ([]byte, error) {
	if d.Kind == image.MediaTypeManifest && !d.hasDockerTypes() {
		return d.Raw, nil
	}
	m := image.Manifest{SchemaVersion: 2, MediaType: image.MediaTypeManifest, Config: oci(d.Config)}
	for _, l := range d.Layers {
		m.Layers = append(m.Layers, oci(l))
	}
	var notes struct {
		Annotations map[string]string `json:"annotations"`
	}
	if err := json.Unmarshal(d.Raw, &notes); err != nil {
		return nil, err
	}
	m.Annotations = notes.Annotations
	return json.Marshal(m)
}

func (d *Document) hasDockerTypes() bool {
	for _, part := range append([]image.Descriptor{d.Config}, d.Layers...) {
		if t, _ := ociType(part.MediaType); t != part.MediaType {
			return true
		}
	}
	return false
}

func oci(d image.Descriptor) image.Descriptor {
	d.MediaType, _ = ociType(d.MediaType) // Check has seen it
	return d
}
