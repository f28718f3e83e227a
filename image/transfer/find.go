package transfer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/cocker/cocker/image"
	"github.com/cocker/cocker/image/manifest"
)

// Source is a place that has manifests and configurations.
type Source interface {
	// Manifest gets a manifest or an index by a tag or by its digest, which it then has.
	Manifest(ctx context.Context, identifier string) (*manifest.Document, error)
	// Document gets a small blob, which has its digest.
	Document(ctx context.Context, d image.Descriptor) ([]byte, error)
}

// Found is an image at its place: the manifest for one platform and its configuration.
type Found struct {
	manifest.Document

	Digests   []string // by which the place knows it: its own, and those of indexes above it
	RawConfig []byte
	File      image.ConfigFile
}

// ErrDigest says that something is not what it was asked for as.
var ErrDigest = errors.New("the content has another digest")

// Find gets manifest and configuration of an image.
func Find(ctx context.Context, s Source, identifier string, p Platform) (*Found, error) {
	f := &Found{}
	for range manifest.MaxNesting {
		d, err := s.Manifest(ctx, identifier)
		if err != nil {
			return nil, err
		}
		f.Document, f.Digests = *d, append(f.Digests, d.Digest)
		if !d.IsIndex() {
			return f, f.addConfig(ctx, s, p)
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
	return nil, fmt.Errorf("more than %d indexes within each other", manifest.MaxNesting)
}

// addConfig checks an image's manifest and gets its configuration.
func (f *Found) addConfig(ctx context.Context, s Source, p Platform) error {
	if err := f.Check(); err != nil {
		return err
	}
	if f.Config.Size > manifest.MaxSize {
		return fmt.Errorf("its configuration: longer than %d bytes", manifest.MaxSize)
	}
	raw, err := s.Document(ctx, f.Config)
	if err != nil {
		return fmt.Errorf("its configuration: %w", err)
	}
	if int64(len(raw)) != f.Config.Size {
		return fmt.Errorf("its configuration has %d bytes, and %d by the manifest", len(raw), f.Config.Size)
	}
	f.RawConfig = raw
	if err := json.Unmarshal(raw, &f.File); err != nil {
		return fmt.Errorf("its configuration: %w", err)
	}
	if n := len(f.File.RootFS.DiffIDs); n != len(f.Layers) {
		return fmt.Errorf("%d layers in its manifest, %d in its configuration", len(f.Layers), n)
	}
	return p.check(f.File)
}
