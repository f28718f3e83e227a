package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/cocker/cocker/image"
)

// Push gives an image of the store to a registry, under the name ref, or, if that is
// "", under its own. What the registry has already is not sent. The manifest
// goes last, so a push that breaks off leaves nothing there that can be pulled.
func (c *Client) Push(ctx context.Context, store *image.Store, stored, ref string) (*Pushed, error) {
	content, err := store.Open(stored)
	if err != nil {
		return nil, fmt.Errorf("push %w", err)
	}
	if ref == "" {
		ref = content.Reference
	}
	p, err := c.push(ctx, content, ref)
	err = errors.Join(err, content.Close())
	if cause := ended(ctx); cause != nil && err != nil {
		err = cause
	}
	if err != nil {
		return nil, fmt.Errorf("push %s to %s: %w", stored, ref, err)
	}
	return p, nil
}

func (c *Client) push(ctx context.Context, content *image.Content, ref string) (*Pushed, error) {
	full, err := image.FullName(ref)
	if err != nil {
		return nil, err
	}
	l, err := locate(full, c.registries.Default)
	if err != nil {
		return nil, err
	}
	place := &lazySession{endpoint: newEndpoint(l.host, l.repository, c.registries)}
	defer place.close()
	s, err := place.open(ctx, c, transport.PushScope)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", l.host, err)
	}
	c.progress(Event{Kind: Begun, Text: fmt.Sprintf("%s to %s", content.Reference, l)})
	if err := s.upload(ctx, c, content, l); err != nil {
		return nil, fmt.Errorf("%s: %w", l.host, s.explain(err))
	}
	return &Pushed{Reference: l.String(), Digest: content.Manifest.Digest}, nil
}

// upload leaves the order and the protocol to the library: layers side by side, the
// configuration, the manifest.
func (s *session) upload(ctx context.Context, c *Client, content *image.Content, l location) error {
	repo, err := s.target()
	if err != nil {
		return err
	}
	img, err := partial.CompressedToImage(&upload{content: content, client: c})
	if err != nil {
		return err
	}
	tag, err := name.NewTag("any:" + l.identifier())
	if err != nil {
		return err
	}
	tag.Repository = repo
	return remote.Write(tag, img, remote.WithContext(ctx), remote.WithTransport(s.transport), remote.WithJobs(parallel),
		remote.WithRetryBackoff(c.backoff), remote.WithRetryPredicate(passesUpload))
}

// upload is an image of the store as the library wants it.
type upload struct {
	content *image.Content
	client  *Client
}

func (u *upload) RawManifest() ([]byte, error)   { return u.content.Raw, nil }
func (u *upload) RawConfigFile() ([]byte, error) { return u.content.Config, nil }

// MediaType is what the manifest says of itself: the two must not differ.
func (u *upload) MediaType() (types.MediaType, error) {
	if strings.Contains(u.content.Manifest.MediaType, "docker") {
		return types.DockerManifestSchema2, nil
	}
	return types.OCIManifestSchema1, nil
}

// LayerByDigest is asked for the configuration too.
func (u *upload) LayerByDigest(h v1.Hash) (partial.CompressedLayer, error) {
	for _, l := range u.content.Layers {
		if l.Digest == h.String() {
			return &uploadLayer{blob: l, hash: h, client: u.client}, nil
		}
	}
	m, err := partial.Manifest(u)
	if err == nil && m.Config.Digest == h {
		return partial.ConfigLayer(u)
	}
	return nil, errors.Join(err, fmt.Errorf("%s is no part of the image", h))
}

// uploadLayer is a blob of the store. It is read again when an upload is repeated.
type uploadLayer struct {
	blob   image.Blob
	hash   v1.Hash
	client *Client
}

func (l *uploadLayer) Digest() (v1.Hash, error) { return l.hash, nil }
func (l *uploadLayer) Size() (int64, error)     { return l.blob.Size, nil }
func (l *uploadLayer) MediaType() (types.MediaType, error) {
	return types.MediaType(l.blob.MediaType), nil
}

func (l *uploadLayer) Compressed() (io.ReadCloser, error) {
	l.client.progress(Event{Kind: Started, Digest: l.blob.Digest, Total: l.blob.Size})
	return &uploadReader{SectionReader: io.NewSectionReader(l.blob.File, 0, l.blob.Size), layer: l}, nil
}

type uploadReader struct {
	*io.SectionReader

	layer *uploadLayer
	done  int64
	told  bool
}

func (r *uploadReader) Read(p []byte) (int, error) {
	n, err := r.SectionReader.Read(p)
	r.done += int64(n)
	e := Event{Kind: Moving, Digest: r.layer.blob.Digest, Done: r.done, Total: r.layer.blob.Size}
	if r.done == e.Total && !r.told {
		e.Kind, r.told = Finished, true
	}
	r.layer.client.progress(e)
	return n, err
}

// Close has nothing to close: the file may be read again.
func (r *uploadReader) Close() error { return nil }
