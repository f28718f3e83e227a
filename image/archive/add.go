package archive

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"

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

	here   map[image.Layer]bool
	staged map[image.Layer]bool        // what was added before
	diffs  map[string]image.Descriptor // the same by diff id: images of "docker save" share them
	read   int64
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
	made := image.Manifest{SchemaVersion: 2, MediaType: image.MediaTypeManifest, Config: config, Layers: []image.Descriptor{}}
	for n, l := range c.layers {
		d, err := a.layer(l)
		if err != nil {
			return image.Descriptor{}, fmt.Errorf("layer %d, %s: %w", n+1, l.path, err)
		}
		made.Layers = append(made.Layers, d)
	}
	text := c.manifest
	if text == nil {
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

// layer adds a layer that is neither here nor staged.
func (a *adder) layer(l layer) (image.Descriptor, error) {
	if l.blob.Digest == "" {
		return a.saved(l)
	}
	pair := image.Layer{Blob: l.blob.Digest, DiffID: l.diffID}
	if a.staged[pair] {
		return l.blob, nil
	}
	if a.here[pair] {
		a.tx.Keep(pair)
		return l.blob, nil
	}
	f, err := a.files.open(l.path)
	if err != nil {
		return image.Descriptor{}, err
	}
	defer f.Close()
	a.staged[pair] = true
	return l.blob, a.packed(f, l)
}

// saved adds a layer that the archive has no digest of but the diff id.
func (a *adder) saved(l layer) (d image.Descriptor, err error) {
	if d, ok := a.diffs[l.diffID]; ok {
		return d, nil
	}
	f, err := a.files.open(l.path)
	if err != nil {
		return d, err
	}
	defer f.Close()
	if l.blob.MediaType, err = typeOf(f); err != nil {
		return d, err
	}
	if l.blob.MediaType == image.MediaTypeLayer {
		d, err = importer.Plain(a.ctx, a.tx, a.watch(f), l.diffID, a.opts.Note)
	} else {
		d, err = a.add(f, l)
	}
	a.diffs[l.diffID] = d
	return d, err
}

// packed adds a layer whose blob's digest is known.
func (a *adder) packed(f *file, l layer) error {
	if f.Size() != l.blob.Size {
		return fmt.Errorf("%d bytes instead of %d", f.Size(), l.blob.Size)
	}
	_, err := a.add(f, l)
	return err
}

// add stores a blob as it is, and unpacks it. That the blob is another one says more
// than what unpacking makes of it.
func (a *adder) add(f *file, l layer) (image.Descriptor, error) {
	staged, err := a.tx.CreateLayer()
	if err != nil {
		return image.Descriptor{}, err
	}
	blob, err := a.tx.CreateBlob()
	if err != nil {
		return image.Descriptor{}, err
	}
	diffID, unpacked := importer.Packed(a.ctx, a.watch(f), blob, staged, a.opts.Note)
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

// watch tells how much has been read of all layers.
func (a *adder) watch(r io.Reader) io.Reader { return &watched{r, a} }

type watched struct {
	io.Reader

	adder *adder
}

func (w *watched) Read(p []byte) (int, error) {
	if err := w.adder.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := w.Reader.Read(p)
	w.adder.read += int64(n)
	if w.adder.opts.Progress != nil {
		w.adder.opts.Progress(w.adder.read)
	}
	return n, err
}
