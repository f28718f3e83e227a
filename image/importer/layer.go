package importer

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/cocker/cocker/image/unpack"
)

const (
	chunk = 256 << 10
	// maxTail is what may follow a tar's end mark: archivers pad to their record
	// size, 10 KiB by default and some MiB for tapes.
	maxTail = 64 << 20
	// compression: the blobs of a Debian /usr/lib (1 GB) are 6 % larger than at
	// gzip's default, 6, and take a fifth less processor time.
	compression = 3
)

func hexSum(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }

// pump unpacks a tar into dir while all of its bytes also go to the sinks, each
// with a goroutine of its own. It returns the number of entries.
func pump(ctx context.Context, source io.Reader, dir string, opts Options, sinks ...io.Writer) (entries int, err error) {
	var writers []io.Writer
	for _, w := range sinks {
		b := newBackground(w)
		defer func() { err = errors.Join(err, b.Close()) }()
		writers = append(writers, b)
	}
	watched := &watchedReader{ctx: ctx, source: source, progress: opts.Progress}
	// The buffer is on this side of the tee, so that the sinks get large pieces.
	r := bufio.NewReaderSize(io.TeeReader(watched, io.MultiWriter(writers...)), chunk)
	if entries, err = unpack.Tar(dir, r, unpack.Options{Note: opts.Note, EndMayLack: opts.digestKnown, Charge: opts.charge}); err != nil {
		return entries, err
	}
	// To the end: the digests cover the padding, and a checksum comes last.
	tail, err := io.CopyN(io.Discard, r, maxTail+1)
	switch {
	case err == nil && tail > maxTail:
		return entries, fmt.Errorf("more than %d bytes after the end of the tar", int64(maxTail))
	case err != io.EOF:
		return entries, fmt.Errorf("read after the end of the tar: %w", err)
	}
	return entries, nil
}

// watchedReader ends when its context does and tells how far it is.
type watchedReader struct {
	ctx      context.Context
	source   io.Reader
	progress func(int64)
	n        int64
}

func (w *watchedReader) Read(p []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := w.source.Read(p)
	w.n += int64(n)
	if w.progress != nil {
		w.progress(w.n)
	}
	return n, err
}
