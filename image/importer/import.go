// Package importer makes images of directories and tars. It is for the command
// line: it links compression libraries, so nothing on a container's start path
// may import it.
//
// One pass over one stream does everything:
//
//	source -> decompress -> tar ─┬─> unpack into a staged layer
//	                             ├─> sha256: the diff id
//	                             └─> gzip -> sha256: the layer's blob
package importer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/cocker/cocker/image"
)

// Options say how an imported image is run, and who watches the import.
type Options struct {
	Entrypoint   []string
	Command      []string
	Environment  []string // "NAME=value"
	WorkDir      string   // absolute
	User         string
	StopSignal   string
	ExposedPorts []string // "80", "80/tcp", "53/udp"
	Labels       map[string]string

	Created  time.Time         // zero: SOURCE_DATE_EPOCH of the environment, else now
	Stdin    io.Reader         // what the source "-" reads; nil: os.Stdin
	Progress func(bytes int64) // told the bytes of tar done so far, often; nil: nobody is
	Note     func(text string) // told what is left out on purpose; nil: nobody is

	charge      func(size int64) error // the limits of the store; nil: there are none
	digestKnown bool                   // what is read is compared with a digest: no end mark is needed
}

// Import makes an image of one layer from a directory, a tar (plain, gzip, zstd,
// xz or bzip2, told by its first bytes) or, for the source "-", a tar on standard
// input. A ref without a tag gets the tag latest. When it returns without an error
// the image survives a power cut; with one, nothing of it is left in the store.
// A cancelled ctx is an error. Reading standard input cannot be interrupted: after
// a cancellation one goroutine may stay in it until the process ends.
func Import(ctx context.Context, store *image.Store, source, ref string, opts Options) (*image.Image, error) {
	src, err := Open(ctx, store, source, opts)
	if err != nil {
		return nil, fmt.Errorf("import %s: %w", source, err)
	}
	img, err := Tar(ctx, store, src, ref, opts)
	if err = errors.Join(err, src.Close()); err != nil {
		return nil, fmt.Errorf("import %s: %w", source, err)
	}
	return img, nil
}

// Tar is Import from a stream that the caller makes.
func Tar(ctx context.Context, store *image.Store, source io.Reader, ref string, opts Options) (img *image.Image, err error) {
	name, err := image.FullName(ref)
	if err != nil {
		return nil, err
	}
	if err := opts.check(); err != nil {
		return nil, err
	}
	created, err := opts.created(os.Getenv("SOURCE_DATE_EPOCH"))
	if err != nil {
		return nil, err
	}
	tx, err := store.Begin()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, tx.Close()) }()
	layer, err := AddLayer(ctx, tx, source, opts)
	if err == nil && layer.entries == 0 {
		err = errors.New("there is nothing in the archive")
	}
	if cause := context.Cause(ctx); cause != nil && err != nil {
		err = cause // what the cancellation broke first says nothing
	}
	if err != nil {
		return nil, err
	}
	manifest, err := addDocuments(tx, layer, created, opts)
	if err != nil {
		return nil, err
	}
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	if err := tx.Commit(name, manifest); err != nil {
		return nil, err
	}
	return store.Resolve(name)
}
