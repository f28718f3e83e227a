package archive

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"

	"github.com/cocker/cocker/image"
	"github.com/cocker/cocker/image/importer"
)

// adder puts images of an archive into a transaction.
type adder struct {
	ctx   context.Context
	store *image.Store
	tx    *image.Transaction
	files files
	opts  importer.Options

	here map[image.Layer]bool

	mu    sync.Mutex                       // of what follows: layers are added side by side
	added map[image.Layer]image.Descriptor // blobs, of which "docker save" does not name the digest
	read  int64
}

// images adds images, and starts over with what another process removes meanwhile;
// what is staged stays so.
func (a *adder) images(wanted []wanted) error {
	for {
		var err error
		if a.here, err = a.store.Layers(); err != nil {
			return err
		}
		a.tx.Forget()
		var all []image.Named
		for _, w := range wanted {
			d, err := a.image(w.image)
			if err != nil {
				return fmt.Errorf("image %s: %w", w.image, err)
			}
			for _, name := range w.names {
				all = append(all, image.Named{Name: name, Manifest: d})
			}
		}
		if err := a.ctx.Err(); err != nil {
			return err
		}
		if err = a.tx.CommitAll(all); !errors.Is(err, image.ErrVanished) {
			return err
		}
	}
}

func (a *adder) image(f *found) (image.Descriptor, error) {
	c, err := f.load()
	if err != nil {
		return image.Descriptor{}, err
	}
	if arch := c.file.Architecture; arch != "" && arch != runtime.GOARCH && a.opts.Note != nil {
		a.opts.Note(fmt.Sprintf("%s is for linux/%s: this machine, linux/%s, needs an emulator to run it", f, arch, runtime.GOARCH))
	}
	config, err := a.blob(image.MediaTypeConfig, c.config)
	if err != nil {
		return image.Descriptor{}, err
	}
	layers, err := a.layers(c.layers)
	if err != nil {
		return image.Descriptor{}, err
	}
	text := c.manifest
	if text == nil {
		made := image.Manifest{SchemaVersion: 2, MediaType: image.MediaTypeManifest, Config: config, Layers: layers}
		if text, err = json.Marshal(made); err != nil {
			return image.Descriptor{}, err
		}
	}
	d, err := a.blob(image.MediaTypeManifest, text)
	d.Platform = &image.Platform{OS: "linux", Architecture: c.file.Architecture, Variant: c.file.Variant}
	if d.Platform.Architecture == "" {
		d.Platform.Architecture = runtime.GOARCH
	}
	return d.Pulled(c.digests...), err
}

func (a *adder) blob(mediaType string, data []byte) (image.Descriptor, error) {
	b, err := a.tx.CreateBlob()
	if err != nil {
		return image.Descriptor{}, err
	}
	if _, err := b.Write(data); err != nil {
		return image.Descriptor{}, fmt.Errorf("write %s: %w", mediaType, err)
	}
	return b.Seal(mediaType)
}

// atOnce is how many layers are added at once: each one takes a processor to compress
// it, and a few megabytes for buffers.
func atOnce() int { return min(runtime.GOMAXPROCS(0), 4) }

// layers adds the layers of an image that are neither here nor added before, and returns
// the blobs of all. The first error ends the others.
func (a *adder) layers(all []layer) ([]image.Descriptor, error) {
	ctx, cancel := context.WithCancelCause(a.ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	slots := make(chan struct{}, atOnce())
	for n, l := range all {
		if !a.needs(l) {
			continue
		}
		slots <- struct{}{}
		if ctx.Err() != nil {
			break
		}
		wg.Go(func() {
			if err := a.layer(ctx, l); err != nil {
				cancel(fmt.Errorf("layer %d, %s: %w", n+1, l.path, err))
			}
			<-slots
		})
	}
	wg.Wait()
	made := []image.Descriptor{}
	for _, l := range all {
		d, ok := a.added[l.pair()]
		if !ok {
			d = l.blob
		}
		made = append(made, d)
	}
	return made, context.Cause(ctx)
}

func (l layer) pair() image.Layer { return image.Layer{Blob: l.blob.Digest, DiffID: l.diffID} }

// needs says whether a layer is to be added, which only the first one is asked that is
// told so.
func (a *adder) needs(l layer) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, ok := a.added[l.pair()]; ok {
		return false
	}
	if a.here[l.pair()] {
		a.tx.Keep(l.pair())
		return false
	}
	a.added[l.pair()] = l.blob
	return true
}

func (a *adder) layer(ctx context.Context, l layer) error {
	f, err := a.files.open(l.path)
	if err != nil {
		return err
	}
	defer f.Close()
	if l.blob.Digest != "" {
		return a.packed(ctx, f, l)
	}
	d, err := a.saved(ctx, f, l)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.added[l.pair()] = d
	return err
}

// saved adds a layer that the archive has no digest of but the diff id.
func (a *adder) saved(ctx context.Context, f *file, l layer) (d image.Descriptor, err error) {
	if l.blob.MediaType, err = typeOf(f); err != nil {
		return d, err
	}
	if l.blob.MediaType == image.MediaTypeLayer {
		return importer.Plain(ctx, a.tx, a.watch(ctx, f), l.diffID, a.note())
	}
	return a.add(ctx, f, l)
}

// packed adds a layer whose blob's digest is known.
func (a *adder) packed(ctx context.Context, f *file, l layer) error {
	if f.Size() != l.blob.Size {
		return fmt.Errorf("%d bytes instead of %d", f.Size(), l.blob.Size)
	}
	_, err := a.add(ctx, f, l)
	return err
}

// add stores a blob as it is, and unpacks it. That the blob is another one says more
// than what unpacking makes of it.
func (a *adder) add(ctx context.Context, f *file, l layer) (image.Descriptor, error) {
	staged, err := a.tx.CreateLayer()
	if err != nil {
		return image.Descriptor{}, err
	}
	blob, err := a.tx.CreateBlob()
	if err != nil {
		return image.Descriptor{}, err
	}
	diffID, unpacked := importer.Packed(ctx, a.watch(ctx, f), blob, staged, a.note())
	d, err := blob.Seal(l.blob.MediaType)
	switch {
	case err != nil:
		return d, err
	case unpacked != nil && d.Size != f.Size(): // it was not read to its end
		return d, unpacked
	case l.blob.Digest != "" && d.Digest != l.blob.Digest:
		return d, compare(d.Digest, l.blob.Digest)
	case unpacked != nil:
		return d, unpacked
	case diffID != l.diffID:
		return d, fmt.Errorf("%w: %s, but the image's configuration says %s", importer.ErrDiffID, diffID, l.diffID)
	}
	return d, staged.Seal(diffID)
}

// typeOf tells how a layer is compressed.
func typeOf(f *file) (string, error) {
	var head [6]byte
	n, err := f.ReadAt(head[:], 0)
	if err != nil && err != io.EOF {
		return "", err
	}
	switch start := head[:n]; {
	case bytes.HasPrefix(start, []byte("\x1f\x8b")):
		return image.MediaTypeLayerGzip, nil
	case bytes.HasPrefix(start, []byte("\x28\xb5\x2f\xfd")):
		return image.MediaTypeLayerZstd, nil
	case bytes.HasPrefix(start, []byte("\xfd7zXZ\x00")), bytes.HasPrefix(start, []byte("BZh")):
		return "", errors.New("compressed by xz or bzip2, which images have no media type for")
	}
	return image.MediaTypeLayer, nil
}

// note passes on what is told about several layers at once.
func (a *adder) note() func(string) {
	if a.opts.Note == nil {
		return nil
	}
	return func(text string) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.opts.Note(text)
	}
}

// watch tells how much has been read of all layers.
func (a *adder) watch(ctx context.Context, r io.Reader) io.Reader { return &watched{r, ctx, a} }

type watched struct {
	io.Reader

	ctx   context.Context
	adder *adder
}

func (w *watched) Read(p []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := w.Reader.Read(p)
	w.adder.mu.Lock()
	defer w.adder.mu.Unlock()
	w.adder.read += int64(n)
	if w.adder.opts.Progress != nil {
		w.adder.opts.Progress(w.adder.read)
	}
	return n, err
}
