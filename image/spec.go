package image

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// Media types that the store writes or follows. The Docker ones differ from the
// OCI ones by name only; images copied in by other tools may have them.
const (
	MediaTypeIndex          = "application/vnd.oci.image.index.v1+json"
	MediaTypeManifest       = "application/vnd.oci.image.manifest.v1+json"
	MediaTypeConfig         = "application/vnd.oci.image.config.v1+json"
	MediaTypeLayer          = "application/vnd.oci.image.layer.v1.tar"
	MediaTypeLayerGzip      = "application/vnd.oci.image.layer.v1.tar+gzip"
	MediaTypeLayerZstd      = "application/vnd.oci.image.layer.v1.tar+zstd"
	mediaTypeDockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	mediaTypeDockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
)

// annotationName is where an OCI layout keeps the name of an image.
const annotationName = "org.opencontainers.image.ref.name"

// annotationPulled has the digests, with spaces between them, by which a registry
// knows the image that a manifest was taken from: the one of an index that names
// it for several platforms, and the one of a Docker manifest that was rewritten as
// an OCI one. An image is found by them too.
const annotationPulled = "io.github.cocker.pulled-digests"

// Descriptor points to a blob: OCI image-spec, descriptor.md. All its fields are
// here because index.json is read, changed and written back.
type Descriptor struct {
	MediaType    string            `json:"mediaType,omitempty"`
	ArtifactType string            `json:"artifactType,omitempty"`
	Digest       string            `json:"digest"`
	Size         int64             `json:"size"`
	URLs         []string          `json:"urls,omitempty"`
	Data         []byte            `json:"data,omitempty"`
	Platform     *Platform         `json:"platform,omitempty"`
	Annotations  map[string]string `json:"annotations,omitempty"`
}

// name is the image's name, "" for an image that lost it to a newer one.
func (d Descriptor) name() string { return unannotated(d.Annotations[annotationName]) }

// Name is the name that the index of a layout gives an image, "" if it gives none.
func (d Descriptor) Name() string { return d.name() }

// Named returns the descriptor as the index of a layout has it for an image of that name.
func (d Descriptor) Named(name string) Descriptor {
	d.Annotations = maps.Clone(d.Annotations)
	if d.Annotations == nil {
		d.Annotations = map[string]string{}
	}
	d.Annotations[annotationName] = annotated(name)
	return d
}

// Pulled returns the descriptor with the digests by which a registry knows it.
func (d Descriptor) Pulled(digests ...string) Descriptor {
	digests = slices.DeleteFunc(slices.Clone(digests), func(digest string) bool { return digest == d.Digest })
	if len(digests) > 0 {
		d.Annotations = maps.Clone(d.Annotations)
		if d.Annotations == nil {
			d.Annotations = map[string]string{}
		}
		d.Annotations[annotationPulled] = strings.Join(slices.Compact(digests), " ")
	}
	return d
}

// annotationBase marks an image that "cocker checkout" has made for a container: it is
// nobody's once that container is gone.
const annotationBase = "io.github.cocker.base"

// Base returns the descriptor as that of an image which is there for a container only.
func (d Descriptor) Base() Descriptor {
	d.Annotations = maps.Clone(d.Annotations)
	if d.Annotations == nil {
		d.Annotations = map[string]string{}
	}
	d.Annotations[annotationBase] = "true"
	return d
}

// unclaimed says that no user has asked for the image to be here.
func (d Descriptor) unclaimed() bool {
	_, _, pinned := splitStored(d.name()) // with a tag somebody has asked for it since
	return d.name() == "" || pinned && d.Annotations[annotationBase] != ""
}

// hasDigest says whether a digest means the image.
func (d Descriptor) hasDigest(digest string) bool {
	return d.Digest == digest || slices.Contains(strings.Fields(d.Annotations[annotationPulled]), digest)
}

// Platform says what an image of an index runs on.
type Platform struct {
	Architecture string   `json:"architecture"`
	OS           string   `json:"os"`
	OSVersion    string   `json:"os.version,omitempty"`
	OSFeatures   []string `json:"os.features,omitempty"`
	Variant      string   `json:"variant,omitempty"`
}

// index is index.json and every nested index: image-index.md.
type index struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType,omitempty"`
	ArtifactType  string            `json:"artifactType,omitempty"`
	Manifests     []Descriptor      `json:"manifests"`
	Subject       *Descriptor       `json:"subject,omitempty"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

// Manifest lists the parts of one image: manifest.md.
type Manifest struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType,omitempty"`
	Config        Descriptor        `json:"config"`
	Layers        []Descriptor      `json:"layers"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

// ConfigFile is the configuration blob of an image: config.md.
type ConfigFile struct {
	Created      *time.Time `json:"created,omitempty"`
	Author       string     `json:"author,omitempty"`
	Architecture string     `json:"architecture"`
	OS           string     `json:"os"`
	Variant      string     `json:"variant,omitempty"`
	Config       RunConfig  `json:"config"`
	RootFS       RootFS     `json:"rootfs"`
	History      []History  `json:"history,omitempty"`
}

// RunConfig is the part of the configuration that says how to run the image.
type RunConfig struct {
	User         string              `json:"User,omitempty"`
	ExposedPorts map[string]struct{} `json:"ExposedPorts,omitempty"`
	Env          []string            `json:"Env,omitempty"`
	Entrypoint   []string            `json:"Entrypoint,omitempty"`
	Cmd          []string            `json:"Cmd,omitempty"`
	Volumes      map[string]struct{} `json:"Volumes,omitempty"`
	WorkingDir   string              `json:"WorkingDir,omitempty"`
	Labels       map[string]string   `json:"Labels,omitempty"`
	StopSignal   string              `json:"StopSignal,omitempty"`
}

// RootFS names the layers by the digest of their uncompressed tar, lowest first.
type RootFS struct {
	Type    string   `json:"type"`
	DiffIDs []string `json:"diff_ids"`
}

// History is one line of how the image came to be.
type History struct {
	Created    *time.Time `json:"created,omitempty"`
	Author     string     `json:"author,omitempty"`
	CreatedBy  string     `json:"created_by,omitempty"`
	Comment    string     `json:"comment,omitempty"`
	EmptyLayer bool       `json:"empty_layer,omitempty"`
}
