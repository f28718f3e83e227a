package derive

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/cocker/cocker/image"
	"github.com/cocker/cocker/image/importer"
	"github.com/cocker/cocker/image/pack"
)

// Options say what a new image says about itself, and who watches.
type Options struct {
	Author    string
	Message   string
	CreatedBy string // the line of history
	Changes   []Change
	Squash    bool // all layers become one

	Progress func(bytes int64) // told the bytes of tar done so far, often; nil: nobody is
	Note     func(text string) // told what is left out on purpose; nil: nobody is
}

// Hold keeps a writable layer as it is until the function that it returns is called,
// whose error says that it may have changed nevertheless.
type Hold func(ctx context.Context) (release func() error, err error)

// Commit makes an image of a base and a writable layer on it, under a name; one
// without a tag gets the tag latest. The layer is held only while it is read. A layer
// that changes nothing adds none. Images of the base that lose their name to the new
// one stay in the store. With an error nothing is left in it.
func Commit(ctx context.Context, store *image.Store, name string, base *Base, top pack.Writable, hold Hold, opts Options) (img *image.Image, err error) {
	full, err := image.FullName(name)
	if err != nil {
		return nil, err
	}
	if err := apply(base.config, opts.Changes); err != nil {
		return nil, err
	}
	tx, err := store.Begin()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, tx.Close()) }()
	c := &commit{tx, base, opts}
	layers, history, err := c.layers(ctx, top, hold)
	if cause := context.Cause(ctx); cause != nil && err != nil {
		err = cause // what the cancellation broke first says nothing
	}
	if err != nil {
		return nil, err
	}
	manifest, err := c.documents(layers, history)
	if err != nil {
		return nil, err
	}
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	if err := tx.Commit(full, manifest); err != nil {
		return nil, err
	}
	return store.Resolve(full)
}

type commit struct {
	tx   *image.Transaction
	base *Base
	opts Options
}

// layers makes the layers of the image and its history.
func (c *commit) layers(ctx context.Context, top pack.Writable, hold Hold) ([]step, []image.History, error) {
	for _, l := range c.base.layers { // its directories are read without a lock
		c.tx.Keep(image.Layer{Blob: l.blob.Digest, DiffID: l.diffID})
	}
	c.tx.Preserve(c.base.digests...)
	added, entries, err := c.read(ctx, top, hold)
	if err != nil {
		return nil, nil, err
	}
	now := time.Now().UTC()
	line := image.History{Created: &now, Author: c.opts.Author, CreatedBy: c.createdBy(), Comment: c.opts.Message}
	layers, history := slices.Clone(c.base.layers), slices.Clone(c.base.history)
	dirs := c.base.Dirs
	if entries == 0 {
		line.EmptyLayer = true
		err = added.Drop(c.tx)
	} else {
		layers, dirs = append(layers, step{added.Blob, added.DiffID}), append(slices.Clone(dirs), added.Dir)
	}
	history = append(history, line)
	if err != nil || !c.opts.Squash {
		return layers, history, err
	}
	merged, err := c.addLayer(ctx, func(w io.Writer) error { return pack.Merged(ctx, w, dirs, c.opts.Note) })
	if err == nil && entries > 0 {
		err = added.Drop(c.tx)
	}
	for i := range history {
		history[i].EmptyLayer = i < len(history)-1
	}
	return []step{{merged.Blob, merged.DiffID}}, history, err
}

func (c *commit) createdBy() string {
	parts := []string{c.opts.CreatedBy}
	for _, change := range c.opts.Changes {
		parts = append(parts, change.String())
	}
	return strings.Join(parts, "; ")
}

// read adds the writable layer, while it is held.
func (c *commit) read(ctx context.Context, top pack.Writable, hold Hold) (added importer.Added, entries int, err error) {
	release, err := hold(ctx)
	if err != nil {
		return added, 0, err
	}
	added, err = c.addLayer(ctx, func(w io.Writer) (err error) {
		entries, err = top.Layer(ctx, w, c.opts.Note)
		return err
	})
	return added, entries, errors.Join(err, release())
}

// addLayer adds the layer of a tar that a function writes.
func (c *commit) addLayer(ctx context.Context, write func(io.Writer) error) (importer.Added, error) {
	r, w := io.Pipe()
	written := make(chan error, 1)
	go func() {
		big := bufio.NewWriterSize(w, 256<<10) // each write into a pipe wakes the other side
		err := write(big)
		if err == nil {
			err = big.Flush()
		}
		_ = w.CloseWithError(err) // it never fails
		written <- err
	}()
	added, err := importer.AddLayer(ctx, c.tx, r, importer.Options{Progress: c.opts.Progress, Note: c.opts.Note})
	_ = r.Close() // it never fails
	if failure := <-written; failure != nil && !errors.Is(failure, io.ErrClosedPipe) {
		return added, failure // what unpacking made of it says nothing
	}
	return added, err
}

// documents writes configuration and manifest.
func (c *commit) documents(layers []step, history []image.History) (image.Descriptor, error) {
	platform, err := c.base.config.platform()
	if err != nil {
		return image.Descriptor{}, err
	}
	config, err := c.base.config.encode(layers, history, *history[len(history)-1].Created, c.opts.Author)
	if err != nil {
		return image.Descriptor{}, fmt.Errorf("encode configuration: %w", err)
	}
	return addImage(c.tx, config, platform, layers)
}
