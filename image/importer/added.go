package importer

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"

	"github.com/cocker/cocker/image"
)

// Added is a layer that AddLayer has added to a transaction.
type Added struct {
	Blob   image.Descriptor
	DiffID string
	Dir    string // where it is unpacked, until the transaction ends

	entries int
	layer   *image.StagedLayer
	blob    *image.StagedBlob
}

// AddLayer adds the layer of an uncompressed tar to a transaction: it is unpacked,
// and compressed as its blob. Of the options Progress and Note are of interest.
func AddLayer(ctx context.Context, tx *image.Transaction, source io.Reader, opts Options) (a Added, err error) {
	if a.layer, err = tx.CreateLayer(); err != nil {
		return a, err
	}
	if a.blob, err = tx.CreateBlob(); err != nil {
		return a, err
	}
	a.Dir, opts.charge = a.layer.Path(), a.layer.Charge
	diff := sha256.New()
	packed, err := gzip.NewWriterLevel(a.blob, compression)
	if err != nil {
		return a, err
	}
	if a.entries, err = pump(ctx, source, a.Dir, opts, diff, packed); err != nil {
		return a, err
	}
	if err := packed.Close(); err != nil {
		return a, fmt.Errorf("write blob: %w", err)
	}
	a.DiffID = "sha256:" + hexSum(diff)
	if a.Blob, err = a.blob.Seal(image.MediaTypeLayerGzip); err != nil {
		return a, err
	}
	return a, a.layer.Seal(a.DiffID)
}

// Drop takes the layer out of the transaction again.
func (a Added) Drop(tx *image.Transaction) error { return tx.Drop(a.layer, a.blob) }
