package importer

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/image"
)

// Packed takes in a layer as registries and archives have it: a tar, compressed or
// not. Reading it and unpacking it go side by side:
//
//	source ─┬─> the blob
//	        └─> decompress -> tar ─┬─> unpack into the staged layer
//	                               └─> sha256: the diff id
//
// The caller compares both digests, so the tar may lack its end mark.
// It reads the source to its end even when unpacking fails, so that the caller can
// tell a layer that cannot be unpacked from one that was damaged on its way: both
// are sealed only by the caller. Of a layer that is too large no more is read. The goroutine that reads ends before Packed does.
func Packed(ctx context.Context, source io.Reader, blob *image.StagedBlob, layer *image.StagedLayer, note func(string)) (diffID string, err error) {
	r, w := io.Pipe()
	copied := make(chan error, 1)
	go func() { copied <- copyPacked(w, source, blob) }()
	diffID, err = unpackPacked(ctx, r, layer.Path(), Options{Note: note, charge: layer.Charge})
	if errors.Is(err, image.ErrTooLarge) || errors.Is(err, unix.ENOSPC) {
		_ = r.CloseWithError(err) // it never fails
	}
	_, _ = io.Copy(io.Discard, r) // to the end; an error is that of the copy
	if failure := <-copied; failure != nil {
		return "", failure // what unpacking made of it says nothing
	}
	return diffID, err
}

// Plain takes in a layer as "docker save" has it: an uncompressed tar of a known diff
// id. Its blob is compressed. The error is ErrDiffID if the tar is another one.
func Plain(ctx context.Context, tx *image.Transaction, source io.Reader, diffID string, note func(string)) (image.Descriptor, error) {
	l, err := AddLayer(ctx, tx, source, Options{Note: note, digestKnown: true})
	if err == nil && l.DiffID != diffID {
		err = fmt.Errorf("%w: %s instead of %s", ErrDiffID, l.DiffID, diffID)
	}
	return l.Blob, err
}

// ErrDiffID says that a layer is not the one that the image's configuration names.
var ErrDiffID = errors.New("unpacked it has another digest")

// copyPacked reads a few pieces ahead of the one who unpacks.
func copyPacked(w *io.PipeWriter, source io.Reader, blob io.Writer) (err error) {
	ahead := newBackground(w)
	_, err = io.CopyBuffer(io.MultiWriter(blob, ahead), onlyReader{source}, make([]byte, chunk))
	err = errors.Join(err, ahead.Close())
	_ = w.CloseWithError(err) // it never fails
	return err
}

// onlyReader hides a source's WriteTo, which would pass by the large buffer.
type onlyReader struct{ io.Reader }

func unpackPacked(ctx context.Context, source io.Reader, dir string, opts Options) (string, error) {
	plain, err := decompress(source, func() error { return nil })
	if err != nil {
		return "", err
	}
	diff := sha256.New()
	opts.digestKnown = true
	if _, err := pump(ctx, plain, dir, opts, diff); err != nil {
		return "", err
	}
	if err := plain.Close(); err != nil {
		return "", fmt.Errorf("decompress: %w", err)
	}
	return "sha256:" + hexSum(diff), nil
}
