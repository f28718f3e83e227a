package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/cocker/cocker/image"
)

const (
	maxManifest = 4 << 20 // as registries have it, and package image
	maxNesting  = 4       // indexes within indexes
	maxLayers   = 500     // overlayfs takes as many
)

// document is a manifest or index as it came, with what it has in common.
type document struct {
	raw    []byte
	digest string
	kind   types.MediaType

	Manifests []image.Descriptor `json:"manifests"`
	Config    image.Descriptor   `json:"config"`
	Layers    []image.Descriptor `json:"layers"`
}

// found is an image in a registry: the manifest for one platform and its configuration.
type found struct {
	document

	digests []string // by which the registry knows it: its own, and those of indexes above it
	config  []byte
	file    image.ConfigFile
}

// find gets manifest and configuration of an image.
func (s *session) find(ctx context.Context, identifier string, p Platform) (*found, error) {
	f := &found{}
	for range maxNesting {
		d, err := s.manifest(ctx, identifier)
		if err != nil {
			return nil, err
		}
		f.document, f.digests = *d, append(f.digests, d.digest)
		if !d.kind.IsIndex() {
			return f, s.addConfig(ctx, f, p)
		}
		next, err := p.choose(d.Manifests)
		if err != nil {
			return nil, err
		}
		if err := image.CheckDigest(next.Digest); err != nil {
			return nil, err
		}
		identifier, p.asked = next.Digest, false // configurations often lack the variant that the index has
	}
	return nil, fmt.Errorf("more than %d indexes within each other", maxNesting)
}

// manifest gets one manifest or index.
func (s *session) manifest(ctx context.Context, identifier string) (*document, error) {
	accept := []types.MediaType{types.OCIImageIndex, types.DockerManifestList, types.OCIManifestSchema1, types.DockerManifestSchema2}
	header := http.Header{}
	for _, kind := range accept {
		header.Add("Accept", string(kind))
	}
	resp, err := s.get(ctx, s.url("manifests", identifier), header, http.StatusOK)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxManifest+1))
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", short(err))
	}
	if len(raw) > maxManifest {
		return nil, fmt.Errorf("its manifest is longer than %d bytes", maxManifest)
	}
	d, err := parseManifest(raw, resp.Header.Get("Content-Type"))
	if err == nil && strings.HasPrefix(identifier, "sha256:") && d.digest != identifier {
		err = fmt.Errorf("%w: its manifest has the digest %s, not %s", errDigest, d.digest, identifier)
	}
	return d, err
}

// parseManifest finds out what a document is. One that two readers could take for
// different things is refused: CVE-2021-41190.
func parseManifest(raw []byte, contentType string) (*document, error) {
	d := &document{raw: raw, digest: image.DigestOf(raw)}
	var kind struct {
		SchemaVersion int             `json:"schemaVersion"`
		MediaType     types.MediaType `json:"mediaType"`
	}
	if err := errors.Join(json.Unmarshal(raw, &kind), json.Unmarshal(raw, d)); err != nil {
		return nil, fmt.Errorf("its manifest is no JSON of a manifest: %w", err)
	}
	sent, _, _ := mime.ParseMediaType(contentType)
	d.kind = types.MediaType(sent)
	switch {
	case kind.SchemaVersion == 1:
		return nil, errors.New("its manifest is of Docker's first schema, which is long out of use; push it again with a newer tool")
	case d.Manifests != nil && (d.Layers != nil || d.Config.Digest != ""):
		return nil, errors.New("its manifest claims to be an image and an index at once")
	case kind.MediaType != "" && known(d.kind) && kind.MediaType != d.kind:
		return nil, fmt.Errorf("its manifest is %q and was sent as %q", kind.MediaType, d.kind)
	case kind.MediaType != "":
		d.kind = kind.MediaType
	case !known(d.kind) && d.Manifests != nil: // registries of plain files send any type
		d.kind = types.OCIImageIndex
	case !known(d.kind):
		d.kind = types.OCIManifestSchema1
	}
	if !known(d.kind) || d.kind.IsIndex() != (d.Manifests != nil) {
		return nil, fmt.Errorf("its manifest is of the type %q, which is no image", d.kind)
	}
	return d, nil
}

func known(kind types.MediaType) bool { return kind.IsIndex() || kind.IsImage() }

// addConfig checks an image's manifest and gets its configuration.
func (s *session) addConfig(ctx context.Context, f *found, p Platform) error {
	if err := checkTypes(&f.document); err != nil {
		return err
	}
	raw, err := s.smallBlob(ctx, f.Config)
	if err != nil {
		return fmt.Errorf("its configuration: %w", err)
	}
	f.config = raw
	if err := json.Unmarshal(raw, &f.file); err != nil {
		return fmt.Errorf("its configuration: %w", err)
	}
	if n := len(f.file.RootFS.DiffIDs); n != len(f.Layers) {
		return fmt.Errorf("%d layers in its manifest, %d in its configuration", len(f.Layers), n)
	}
	return p.check(f.file)
}

// smallBlob reads a blob into memory.
func (s *session) smallBlob(ctx context.Context, d image.Descriptor) ([]byte, error) {
	if d.Size > maxManifest {
		return nil, fmt.Errorf("longer than %d bytes", maxManifest)
	}
	resp, err := s.get(ctx, s.url("blobs", d.Digest), nil, http.StatusOK)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxManifest+1))
	if err != nil {
		return nil, short(err)
	}
	if image.DigestOf(raw) != d.Digest {
		return nil, fmt.Errorf("%w: wanted %s", errDigest, d.Digest)
	}
	return raw, nil
}

// errDigest says that something is not what it was asked for as.
var errDigest = errors.New("the content has another digest")

// tags lists the tags of the repository. A registry may cut the list into pages.
func (s *session) tags(ctx context.Context) ([]string, error) {
	var all []string
	for address := s.url("tags", "list") + pageSize(s.url("tags", "list")); address != ""; {
		resp, err := s.get(ctx, address, nil, http.StatusOK)
		if err != nil {
			return nil, err
		}
		var page struct {
			Tags []string `json:"tags"`
		}
		err = json.NewDecoder(resp.Body).Decode(&page)
		_ = resp.Body.Close()
		if err != nil {
			return nil, fmt.Errorf("list of tags: %w", short(err))
		}
		all = append(all, page.Tags...)
		if address = nextPage(resp); len(all) > maxTags {
			return all, nil
		}
	}
	return all, nil
}

const maxTags = 100_000

func pageSize(address string) string {
	if strings.Contains(address, "?") {
		return "&n=1000"
	}
	return "?n=1000"
}

// nextPage reads the header Link: <ADDRESS>; rel="next". Another host is no next page.
func nextPage(resp *http.Response) string {
	link, _, found := strings.Cut(strings.TrimPrefix(resp.Header.Get("Link"), "<"), ">")
	if !found {
		return ""
	}
	next, err := resp.Request.URL.Parse(link)
	if err != nil || next.Host != resp.Request.URL.Host {
		return ""
	}
	return next.String()
}

// isNotFound says whether an endpoint knows nothing of what was asked for.
func isNotFound(err error) bool {
	var answer *transport.Error
	return errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound
}
