package importer

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// format is a compression known by how it starts.
type format struct {
	name  string
	magic string
	open  func(io.Reader) (io.Reader, error)
}

func formats() []format {
	return []format{
		{"gzip", "\x1f\x8b", func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) }},
		{"zstd", "\x28\xb5\x2f\xfd", openZstd},
		{"xz", "\xfd7zXZ\x00", func(r io.Reader) (io.Reader, error) { return xz.NewReader(r) }},
		{"bzip2", "BZh", func(r io.Reader) (io.Reader, error) { return bzip2.NewReader(r), nil }},
		{"zip", "PK\x03\x04", unsupported},
		{"7z", "7z\xbc\xaf\x27\x1c", unsupported},
		{"lz4", "\x04\x22\x4d\x18", unsupported},
		{"squashfs", "hsqs", unsupported},
	}
}

func unsupported(io.Reader) (io.Reader, error) {
	return nil, errors.New("not supported; wanted a tar, plain or compressed by gzip, zstd, xz or bzip2")
}

// openZstd allows windows as large as "zstd --long" makes them, and no more:
// the window is memory.
func openZstd(r io.Reader) (io.Reader, error) {
	d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(128<<20))
	if err != nil {
		return nil, err
	}
	return d.IOReadCloser(), nil
}

// Decompress returns the tar in a layer, whatever packed it. Closing is up to the source.
func Decompress(r io.Reader) (io.Reader, error) {
	return decompress(r, func() error { return nil })
}

// decompress returns the tar in a stream, whatever packed it.
func decompress(r io.Reader, closeSource func() error) (io.ReadCloser, error) {
	buffered := bufio.NewReaderSize(r, chunk)
	head, err := buffered.Peek(8)
	if err != nil && err != io.EOF {
		return nil, errors.Join(err, closeSource())
	}
	if len(head) == 0 {
		return nil, errors.Join(errors.New("it is empty"), closeSource())
	}
	for _, f := range formats() {
		if !bytes.HasPrefix(head, []byte(f.magic)) {
			continue
		}
		plain, err := f.open(buffered)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", f.name, err), closeSource())
		}
		return &closer{Reader: &namedReader{f.name, plain}, close: closeSource}, nil
	}
	return &closer{Reader: buffered, close: closeSource}, nil
}

// namedReader says which decompressor an error is from.
type namedReader struct {
	name   string
	source io.Reader
}

func (r *namedReader) Read(p []byte) (int, error) {
	n, err := r.source.Read(p)
	if err != nil && err != io.EOF {
		err = fmt.Errorf("%s: %w", r.name, err)
	}
	return n, err
}
