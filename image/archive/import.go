package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/cocker/cocker/image"
	"github.com/cocker/cocker/image/importer"
)

// Options say how images are imported.
type Options struct {
	importer.Options // for a tree; Stdin, Progress and Note for archives too

	Image string // the one to take of an archive that has several: its name there, or its digest
}

// Import takes in all images of an archive, under the names that it has for them; or,
// with ref, one image under that name, and several under that name with their own
// tags. A source that is no archive of images is the tree of one, see
// [importer.Import]: then ref must be given. When Import returns without an error the
// images survive a power cut; with one, nothing of them is left in the store.
func Import(ctx context.Context, store *image.Store, source, ref string, opts Options) ([]*image.Image, error) {
	dir, err := directory(source)
	if err != nil {
		return nil, fmt.Errorf("import %s: %w", source, err)
	}
	if dir != "" {
		return importDir(ctx, store, source, dir, ref, opts)
	}
	images, err := importStream(ctx, store, source, ref, opts)
	if err != nil {
		return nil, fmt.Errorf("import %s: %w", source, err)
	}
	return images, nil
}

// importDir takes an OCI layout for what it is, and all else for a tree.
func importDir(ctx context.Context, store *image.Store, source, dir, ref string, opts Options) ([]*image.Image, error) {
	_, err1 := os.Stat(filepath.Join(dir, "oci-layout"))
	_, err2 := os.Stat(filepath.Join(dir, "index.json"))
	if err1 != nil || err2 != nil {
		if err := errors.Join(opts.checkTree(ref), refuseTransport(dir)); err != nil {
			return nil, fmt.Errorf("import %s: %w", source, err)
		}
		return tree(importer.Import(ctx, store, dir, ref, opts.Options))
	}
	from, err := openDir(dir)
	if err != nil {
		return nil, fmt.Errorf("import %s: %w", source, err)
	}
	images, err := transact(ctx, store, ref, opts, func(*image.Transaction) (files, error) { return from, nil })
	if err != nil {
		return nil, fmt.Errorf("import %s: %w", source, err)
	}
	return images, nil
}

// tree is a list of the one image that a tree is.
func tree(img *image.Image, err error) ([]*image.Image, error) {
	if err != nil {
		return nil, err
	}
	return []*image.Image{img}, nil
}

func importStream(ctx context.Context, store *image.Store, source, ref string, opts Options) ([]*image.Image, error) {
	plain, err := openPlain(source)
	if err != nil {
		return nil, err
	}
	if plain != nil {
		return transact(ctx, store, ref, opts, func(*image.Transaction) (files, error) { return openTar(ctx, plain) })
	}
	stream, err := importer.Open(ctx, store, source, opts.Options)
	if err != nil {
		return nil, err
	}
	images, err := importUnknown(ctx, store, stream, ref, opts)
	return images, errors.Join(err, stream.Close())
}

func importUnknown(ctx context.Context, store *image.Store, stream io.Reader, ref string, opts Options) ([]*image.Image, error) {
	isArchive, stream := sniff(stream)
	if !isArchive {
		if err := opts.checkTree(ref); err != nil {
			return nil, err
		}
		return tree(importer.Tar(ctx, store, stream, ref, opts.Options))
	}
	return transact(ctx, store, ref, opts, func(tx *image.Transaction) (files, error) {
		f, err := spool(tx, stream)
		if err != nil {
			return nil, err
		}
		return openTar(ctx, f)
	})
}

// transact adds images of an archive to the store.
func transact(ctx context.Context, store *image.Store, ref string, opts Options, open func(*image.Transaction) (files, error)) (images []*image.Image, err error) {
	if err := opts.checkArchive(); err != nil {
		return nil, err
	}
	tx, err := store.Begin()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, tx.Close()) }()
	from, err := open(tx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	names, err := addAll(ctx, store, tx, from, ref, opts)
	if cause := context.Cause(ctx); cause != nil && err != nil {
		err = cause // what the cancellation broke first says nothing
	}
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		img, err := store.Resolve(name)
		if err != nil {
			return nil, err
		}
		images = append(images, img)
	}
	return images, nil
}

func addAll(ctx context.Context, store *image.Store, tx *image.Transaction, from files, ref string, opts Options) (names []string, err error) {
	all, err := findImages(from)
	if err != nil {
		return nil, err
	}
	chosen, err := choose(all, ref, opts.Image, opts.Note)
	if err != nil {
		return nil, err
	}
	a := &adder{
		ctx: ctx, store: store, tx: tx, files: from, opts: opts.Options, added: map[image.Layer]image.Descriptor{},
	}
	for _, w := range chosen {
		names = append(names, w.names...)
	}
	return names, a.images(chosen)
}

func (o Options) checkTree(ref string) error {
	if o.Image != "" {
		return errors.New("it is no archive of images; --image chooses one of several")
	}
	if ref == "" {
		return errors.New("it is no archive of images but the tree of one: give it a name, NAME[:TAG]")
	}
	return nil
}

// checkArchive refuses what would change an image, which then was another one.
func (o Options) checkArchive() error {
	t := o.Options
	if len(t.Entrypoint)+len(t.Command)+len(t.Environment)+len(t.ExposedPorts)+len(t.Labels) > 0 || t.WorkDir+t.User+t.StopSignal != "" {
		return errors.New("it is an archive of images, which say themselves how they are run: leave out the command and the options that set such")
	}
	return nil
}
