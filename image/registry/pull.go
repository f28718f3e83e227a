package registry

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/cocker/cocker/image"
	"github.com/cocker/cocker/image/importer"
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
	p := &pull{client: c, store: store, location: l, platform: platform, name: ref}
	p.places = c.opened(l)
	defer func() { closeAll(p.places) }()
	if err := p.find(ctx); err != nil {
		return nil, err
	}
	name, err := image.StoredName(p.name)
	if err != nil {
		return nil, err
	}
	p.warn()
	if here, err := p.isHere(name); err != nil || here {
		return p.resolved(name, err)
	}
	return p.resolved(name, p.fetch(ctx, name))
}

// pull is one image on its way.
type pull struct {
	client   *Client
	store    *image.Store
	location location
	platform Platform
	name     string         // as the user wrote it, with the tag that was chosen
	places   []*lazySession // the one that had the manifest comes first
	image    *found

	mu sync.Mutex // of tx: layers are staged by several goroutines
	tx *image.Transaction
}

// warn tells of an image that needs an emulator, if nobody asked for that.
func (p *pull) warn() {
	have := platformOf(p.image.file.OS, p.image.file.Architecture, p.image.file.Variant)
	if !p.platform.asked && have.Architecture != "" && have.Architecture != p.platform.Architecture {
		p.client.note(fmt.Sprintf("the image is for %s: this machine, %s, needs an emulator to run it", have, p.platform))
	}
}

func (p *pull) resolved(name string, err error) (*image.Image, error) {
	if err != nil {
		return nil, err
	}
	img, err := p.store.Resolve(name)
	if err == nil {
		_ = p.store.MarkUsed(img.Digest) // it may have been here for long
	}
	return img, err
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
	p.image, err = s.find(ctx, p.location.identifier(), p.platform)
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
	if p.image, err = s.find(ctx, tag, p.platform); err != nil {
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

// isHere says whether there is nothing to do.
func (p *pull) isHere(name string) (bool, error) {
	for _, digest := range p.image.digests {
		if here, err := p.store.Has(name, digest); err != nil || !here {
			return false, err
		}
	}
	return true, nil
}

// fetch gets what is missing. It starts over with what another process removes
// meanwhile; what it has stays staged.
func (p *pull) fetch(ctx context.Context, name string) (err error) {
	if p.tx, err = p.store.Begin(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.tx.Close()) }()
	manifest, err := p.addDocuments()
	if err != nil {
		return err
	}
	staged := map[image.Layer]bool{}
	for {
		if err := p.addLayers(ctx, staged); err != nil {
			return err
		}
		if err := ended(ctx); err != nil {
			return err
		}
		if err = p.tx.Commit(name, manifest); !errors.Is(err, image.ErrVanished) {
			return err
		}
	}
}

// addDocuments stages configuration and manifest.
func (p *pull) addDocuments() (image.Descriptor, error) {
	if _, err := p.addBlob(p.image.config, image.MediaTypeConfig); err != nil {
		return image.Descriptor{}, err
	}
	raw, err := p.image.Stored()
	if err != nil {
		return image.Descriptor{}, err
	}
	d, err := p.addBlob(raw, image.MediaTypeManifest)
	d.Platform = &image.Platform{OS: "linux", Architecture: p.image.file.Architecture, Variant: p.image.file.Variant}
	if d.Platform.Architecture == "" {
		d.Platform.Architecture = runtime.GOARCH
	}
	return d.Pulled(p.image.digests...), err
}

func (p *pull) addBlob(data []byte, mediaType string) (image.Descriptor, error) {
	blob, err := p.tx.CreateBlob()
	if err != nil {
		return image.Descriptor{}, err
	}
	if _, err := blob.Write(data); err != nil {
		return image.Descriptor{}, fmt.Errorf("write %s: %w", mediaType, err)
	}
	return blob.Seal(mediaType)
}

// parallel is how many layers come in at once. More than a few are no faster, and
// each takes memory: a megabyte for its buffers, eight for zstd's window.
const parallel = 3

// addLayers fetches the layers that are neither here nor staged. The first error
// ends the others.
func (p *pull) addLayers(ctx context.Context, staged map[image.Layer]bool) error {
	here, err := p.store.Layers()
	if err != nil {
		return err
	}
	p.tx.Forget()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	defer wg.Wait()
	slots := make(chan struct{}, parallel)
	for i, blob := range p.image.Layers {
		pair := image.Layer{Blob: blob.Digest, DiffID: p.image.file.RootFS.DiffIDs[i]}
		switch {
		case staged[pair]:
			continue
		case here[pair]:
			p.tx.Keep(pair)
			p.client.progress(Event{Kind: Present, Digest: blob.Digest, Total: blob.Size})
			continue
		}
		staged[pair] = true
		slots <- struct{}{}
		if ctx.Err() != nil {
			break
		}
		wg.Go(func() {
			if err := p.addLayer(ctx, blob, pair.DiffID); err != nil {
				cancel(fmt.Errorf("layer %s: %w", shortDigest(blob.Digest), err))
			}
			<-slots
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// addLayer fetches one layer, again from the next place if the one before has
// damaged it.
func (p *pull) addLayer(ctx context.Context, blob image.Descriptor, diffID string) error {
	p.client.progress(Event{Kind: Started, Digest: blob.Digest, Total: blob.Size})
	for places := p.places; ; places = places[1:] {
		err := p.tryLayer(ctx, blob, diffID, places)
		if err == nil {
			p.client.progress(Event{Kind: Finished, Digest: blob.Digest, Done: blob.Size, Total: blob.Size})
			return nil
		}
		if !errors.Is(err, errDigest) || len(places) == 1 {
			return err
		}
		p.client.note(fmt.Sprintf("layer %s from %s: %v; trying another place", shortDigest(blob.Digest), places[0].endpoint, err))
	}
}

func (p *pull) tryLayer(ctx context.Context, blob image.Descriptor, diffID string, places []*lazySession) (err error) {
	layer, staged, err := p.stage()
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.drop(layer, staged))
		}
	}()
	source := &download{ctx: ctx, pull: p, blob: blob, places: places}
	defer source.Close()
	got, unpacked := importer.Packed(ctx, source, staged, layer, p.client.note)
	if source.offset < blob.Size {
		return unpacked // it ended early
	}
	d, err := staged.Seal(blob.MediaType)
	switch {
	case err != nil:
		return err
	case unpacked != nil && d.Size != blob.Size: // the disk is full
		return unpacked
	case d.Digest != blob.Digest:
		return fmt.Errorf("%w: %s instead of %s", errDigest, d.Digest, blob.Digest)
	case unpacked != nil:
		return unpacked
	case got != diffID:
		return fmt.Errorf("unpacked it is %s, but the image's configuration says %s", got, diffID)
	}
	return layer.Seal(got)
}

func (p *pull) stage() (*image.StagedLayer, *image.StagedBlob, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	layer, err := p.tx.CreateLayer()
	if err != nil {
		return nil, nil, err
	}
	blob, err := p.tx.CreateBlob()
	return layer, blob, err
}

func (p *pull) drop(layer *image.StagedLayer, blob *image.StagedBlob) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.tx.Drop(layer, blob)
}

// moved tells how far a blob is.
func (p *pull) moved(blob image.Descriptor, done int64) {
	p.client.progress(Event{Kind: Moving, Digest: blob.Digest, Done: done, Total: blob.Size})
}
