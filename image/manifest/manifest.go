// Package manifest reads manifests and indexes of images as registries and archives
// have them, in OCI's media types and in Docker's, and says what of them cocker can
// run. It imports package image and the standard library.
package manifest

import (
	"encoding/json"
	"errors"
	"fmt"
	"mime"

	"github.com/cocker/cocker/image"
)

const (
	// MaxSize is the most a manifest or a configuration may take: as registries
	// have it, and package image.
	MaxSize = 4 << 20
	// MaxNesting bounds indexes within indexes.
	MaxNesting = 4

	maxLayers = 500 // overlayfs takes as many
)

// Docker's media types. They differ from OCI's by name only, for what cocker runs.
const (
	DockerManifest  = "application/vnd.docker.distribution.manifest.v2+json"
	DockerIndex     = "application/vnd.docker.distribution.manifest.list.v2+json"
	dockerConfig    = "application/vnd.docker.container.image.v1+json"
	dockerLayer     = "application/vnd.docker.image.rootfs.diff.tar"
	dockerLayerGzip = "application/vnd.docker.image.rootfs.diff.tar.gzip"
	dockerLayerZstd = "application/vnd.docker.image.rootfs.diff.tar.zstd" // what buildkit writes
)

// Document is a manifest or an index as it came, with what the two have in common.
type Document struct {
	Raw    []byte
	Digest string
	Kind   string // its media type

	Manifests []image.Descriptor
	Config    image.Descriptor
	Layers    []image.Descriptor
}

// Parse finds out what a document is; sentAs is the media type by which it was
// found, "" if there was none. One that two readers could take for different things
// is refused: CVE-2021-41190.
func Parse(raw []byte, sentAs string) (*Document, error) {
	var text struct {
		SchemaVersion int                `json:"schemaVersion"`
		MediaType     string             `json:"mediaType"`
		Manifests     []image.Descriptor `json:"manifests"`
		Config        image.Descriptor   `json:"config"`
		Layers        []image.Descriptor `json:"layers"`
	}
	if err := json.Unmarshal(raw, &text); err != nil {
		return nil, fmt.Errorf("its manifest is no JSON of a manifest: %w", err)
	}
	d := &Document{Raw: raw, Digest: image.DigestOf(raw), Manifests: text.Manifests, Config: text.Config, Layers: text.Layers}
	d.Kind, _, _ = mime.ParseMediaType(sentAs)
	switch {
	case text.SchemaVersion == 1:
		return nil, errors.New("its manifest is of Docker's first schema, which is long out of use; push it again with a newer tool")
	case d.Manifests != nil && (d.Layers != nil || d.Config.Digest != ""):
		return nil, errors.New("its manifest claims to be an image and an index at once")
	case text.MediaType != "" && known(d.Kind) && text.MediaType != d.Kind:
		return nil, fmt.Errorf("its manifest is %q and was sent as %q", text.MediaType, d.Kind)
	case text.MediaType != "":
		d.Kind = text.MediaType
	case !known(d.Kind) && d.Manifests != nil: // registries of plain files send any type
		d.Kind = image.MediaTypeIndex
	case !known(d.Kind):
		d.Kind = image.MediaTypeManifest
	}
	if !known(d.Kind) || d.IsIndex() != (d.Manifests != nil) {
		return nil, fmt.Errorf("its manifest is of the type %q, which is no image", d.Kind)
	}
	return d, nil
}

func known(kind string) bool {
	return isIndex(kind) || kind == image.MediaTypeManifest || kind == DockerManifest
}

func isIndex(kind string) bool { return kind == image.MediaTypeIndex || kind == DockerIndex }

// IsIndex says whether the document names manifests instead of layers.
func (d *Document) IsIndex() bool { return isIndex(d.Kind) }
