package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/cocker/cocker/image"
	"github.com/cocker/cocker/image/transfer"
)

// Pull gets an image into the store, under the name that was asked for. Without a
// tag that is the tag latest, or else the highest version that the registry has.
// When it returns without an error the image survives a power cut; with one,
// nothing of it is left in the store.
func (c *Client) Pull(ctx context.Context, store *image.Store, ref string, p Platform) (*image.Image, error) {
	img, err := c.pull(ctx, store, ref, p)
	if cause := ended(ctx); cause != nil && err != nil {
		err = cause // what the cancellation broke first says nothing
	}
	if err != nil {
		return nil, fmt.Errorf("pull %s: %w", ref, err)
	}
	return img, nil
}

func (c *Client) pull(ctx context.Context, store *image.Store, ref string, platform Platform) (*image.Image, error) {
	l, err := locate(ref, c.registries.Default)
	if err != nil {
		return nil, err
	}
	p := &pull{client: c, location: l, platform: platform, name: ref}
	p.places = c.opened(l)
	defer func() { closeAll(p.places) }()
	if err := p.find(ctx); err != nil {
		return nil, err
	}
	name, err := image.StoredName(p.name)
	if err != nil {
		return nil, err
	}
	f := &transfer.Fetch{Store: store, Image: p.image, Platform: platform, Parallel: parallel, Progress: c.progress, Open: p.open}
	return f.Into(ctx, name)
}

// pull is one image on its way.
type pull struct {
	client   *Client
	location location
	platform Platform
	name     string         // as the user wrote it, with the tag that was chosen
	places   []*lazySession // the one that had the manifest comes first
	image    *transfer.Found
}

// find asks one place after the other for the image. The error of the registry
// itself comes first in what is said when none has it.
func (p *pull) find(ctx context.Context) error {
	var errs []error
	for i, place := range p.places {
		err := p.findAt(ctx, place)
		if err == nil {
			p.client.progress(Event{Kind: Begun, Text: fmt.Sprintf("%s from %s", p.location, place.endpoint)})
			p.places = slices.Concat(p.places[i:i+1], p.places[:i], p.places[i+1:])
			return nil
		}
		if ended(ctx) != nil {
			return err
		}
		if i+1 < len(p.places) && !isNotFound(err) {
			p.client.note(fmt.Sprintf("%s: %v; trying the next", place.endpoint, err))
		}
		errs = append([]error{fmt.Errorf("%s: %w", place.endpoint, err)}, errs...)
	}
	return errors.Join(errs...)
}

func (p *pull) findAt(ctx context.Context, place *lazySession) error {
	s, err := place.open(ctx, p.client, transport.PullScope)
	if err != nil {
		return err
	}
	p.image, err = transfer.Find(ctx, s, p.location.identifier(), p.platform)
	if isNotFound(err) && p.location.tag == "" && p.location.digest == "" {
		return p.findHighest(ctx, s, err)
	}
	if isNotFound(err) && p.location.digest == "" {
		return withTags(ctx, s, p.location, err)
	}
	return err
}

// findHighest takes the highest version where there is no tag latest.
func (p *pull) findHighest(ctx context.Context, s *session, notFound error) error {
	tags, err := s.tags(ctx)
	tag := image.PreferredTag(tags)
	if err != nil || tag == "" {
		return notFound
	}
	if p.image, err = transfer.Find(ctx, s, tag, p.platform); err != nil {
		return err
	}
	p.location.tag = tag
	p.name += ":" + tag
	return nil
}

// withTags says what there is instead of a tag that is not.
func withTags(ctx context.Context, s *session, l location, notFound error) error {
	tags, err := s.tags(ctx)
	if err != nil || len(tags) == 0 {
		return notFound
	}
	return fmt.Errorf("%w (no tag %s; of %d tags the highest is %s)", notFound, l.identifier(), len(tags), image.PreferredTag(tags))
}

// parallel is how many layers come in at once. More than a few are no faster, and
// each takes memory: a megabyte for its buffers, eight for zstd's window.
const parallel = 3

// open implements transfer.Fetch: what one place has damaged comes from the next.
func (p *pull) open(ctx context.Context, blob image.Descriptor, try int) (io.ReadCloser, string) {
	if try >= len(p.places) {
		return nil, ""
	}
	return &download{ctx: ctx, pull: p, blob: blob, places: p.places[try:]}, p.places[try].endpoint.String()
}

// moved tells how far a blob is.
func (p *pull) moved(blob image.Descriptor, done int64) {
	p.client.progress(Event{Kind: Moving, Digest: blob.Digest, Done: done, Total: blob.Size})
}
