package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"

	"github.com/cocker/cocker/image"
	"github.com/cocker/cocker/image/importer"
)

// Fetch gets the layers of an image that was found and puts it into the store.
type Fetch struct {
	Store    *image.Store
	Image    *Found
	Platform Platform
	Parallel int         // how many layers come in at once
	Progress func(Event) // called by several goroutines, one at a time for each digest

	// Open begins to read a layer; try counts from 0, as a layer that came in with
	// another digest is read again, from another place. The reader is nil when there
	// is none; where it reads from goes into a note.
	Open func(ctx context.Context, blob image.Descriptor, try int) (r io.ReadCloser, place string)

	tx *image.Transaction
}

// Into puts the image into the store under a name. When it returns without an error
// the image survives a power cut; with one, nothing of it is left in the store.
func (f *Fetch) Into(ctx context.Context, name string) (*image.Image, error) {
	f.warn()
	here, err := f.isHere(name)
	if err == nil && !here {
		err = f.fetch(ctx, name)
	}
	if err != nil {
		return nil, err
	}
	img, err := f.Store.Resolve(name)
	if err == nil {
		_ = f.Store.MarkUsed(img.Digest) // it may have been here for long
	}
	return img, err
}

func (f *Fetch) note(text string) { f.Progress(Event{Kind: Note, Text: text}) }

// warn tells of an image that needs an emulator, if nobody asked for that.
func (f *Fetch) warn() {
	have := platformOf(f.Image.File.OS, f.Image.File.Architecture, f.Image.File.Variant)
	if !f.Platform.asked && have.Architecture != "" && have.Architecture != f.Platform.Architecture {
		f.note(fmt.Sprintf("the image is for %s: this machine, %s, needs an emulator to run it", have, f.Platform))
	}
}

// isHere says whether there is nothing to do.
func (f *Fetch) isHere(name string) (bool, error) {
	for _, digest := range f.Image.Digests {
		if here, err := f.Store.Has(name, digest); err != nil || !here {
			return false, err
		}
	}
	return true, nil
}

// fetch gets what is missing. It starts over with what another process removes
// meanwhile; what it has stays staged.
func (f *Fetch) fetch(ctx context.Context, name string) (err error) {
	if f.tx, err = f.Store.Begin(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.tx.Close()) }()
	manifest, err := f.addDocuments()
	if err != nil {
		return err
	}
	f.tellSize()
	staged := map[image.Layer]bool{}
	for {
		if err := f.addLayers(ctx, staged); err != nil {
			return err
		}
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if err = f.tx.Commit(name, manifest); !errors.Is(err, image.ErrVanished) {
			return err
		}
	}
}

func (f *Fetch) tellSize() {
	e := Event{Kind: Sized, Layers: len(f.Image.Layers)}
	for _, blob := range f.Image.Layers {
		e.Total += blob.Size
	}
	f.Progress(e)
}

// addDocuments stages configuration and manifest.
func (f *Fetch) addDocuments() (image.Descriptor, error) {
	if _, err := f.addBlob(f.Image.RawConfig, image.MediaTypeConfig); err != nil {
		return image.Descriptor{}, err
	}
	raw, err := f.Image.Stored()
	if err != nil {
		return image.Descriptor{}, err
	}
	d, err := f.addBlob(raw, image.MediaTypeManifest)
	d.Platform = &image.Platform{OS: "linux", Architecture: f.Image.File.Architecture, Variant: f.Image.File.Variant}
	if d.Platform.Architecture == "" {
		d.Platform.Architecture = runtime.GOARCH
	}
	return d.Pulled(f.Image.Digests...), err
}

func (f *Fetch) addBlob(data []byte, mediaType string) (image.Descriptor, error) {
	blob, err := f.tx.CreateBlob()
	if err != nil {
		return image.Descriptor{}, err
	}
	if _, err := blob.Write(data); err != nil {
		return image.Descriptor{}, fmt.Errorf("write %s: %w", mediaType, err)
	}
	return blob.Seal(mediaType)
}

// addLayers fetches the layers that are neither here nor staged. The first error
// ends the others.
func (f *Fetch) addLayers(ctx context.Context, staged map[image.Layer]bool) error {
	here, err := f.Store.Layers()
	if err != nil {
		return err
	}
	f.tx.Forget()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	defer wg.Wait()
	slots := make(chan struct{}, f.Parallel)
	for i, blob := range f.Image.Layers {
		pair := image.Layer{Blob: blob.Digest, DiffID: f.Image.File.RootFS.DiffIDs[i]}
		switch {
		case staged[pair]:
			continue
		case here[pair]:
			f.tx.Keep(pair)
			f.Progress(Event{Kind: Present, Digest: blob.Digest, Total: blob.Size})
			continue
		}
		staged[pair] = true
		slots <- struct{}{}
		if ctx.Err() != nil {
			break
		}
		wg.Go(func() {
			if err := f.addLayer(ctx, blob, pair.DiffID); err != nil {
				cancel(fmt.Errorf("layer %s: %w", ShortDigest(blob.Digest), err))
			}
			<-slots
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// addLayer fetches one layer, again from the next place if the one before has
// damaged it.
func (f *Fetch) addLayer(ctx context.Context, blob image.Descriptor, diffID string) error {
	f.Progress(Event{Kind: Started, Digest: blob.Digest, Total: blob.Size})
	source, place := f.Open(ctx, blob, 0)
	for try := 1; ; try++ {
		err := f.tryLayer(ctx, blob, diffID, source)
		if err == nil {
			f.Progress(Event{Kind: Finished, Digest: blob.Digest, Done: blob.Size, Total: blob.Size})
			return nil
		}
		if !errors.Is(err, ErrDigest) {
			return err
		}
		failed := place
		if source, place = f.Open(ctx, blob, try); source == nil {
			return err
		}
		f.note(fmt.Sprintf("layer %s from %s: %v; trying another place", ShortDigest(blob.Digest), failed, err))
	}
}

func (f *Fetch) tryLayer(ctx context.Context, blob image.Descriptor, diffID string, source io.ReadCloser) (err error) {
	defer source.Close()
	layer, err := f.tx.CreateLayer()
	if err != nil {
		return err
	}
	staged, err := f.tx.CreateBlob()
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.tx.Drop(layer, staged))
		}
	}()
	counted := &countingReader{Reader: source}
	got, unpacked := importer.Packed(ctx, counted, staged, layer, f.note)
	if counted.n < blob.Size {
		return unpacked // it ended early
	}
	d, err := staged.Seal(blob.MediaType)
	switch {
	case err != nil:
		return err
	case unpacked != nil && d.Size != blob.Size: // the disk is full
		return unpacked
	case d.Digest != blob.Digest:
		return fmt.Errorf("%w: %s instead of %s", ErrDigest, d.Digest, blob.Digest)
	case unpacked != nil:
		return unpacked
	case got != diffID:
		return fmt.Errorf("unpacked it is %s, but the image's configuration says %s", got, diffID)
	}
	return layer.Seal(got)
}

// countingReader counts what was read. Packed has ended its reading when it returns.
type countingReader struct {
	io.Reader

	n int64
}

func (r *countingReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.n += int64(n)
	return n, err
}
