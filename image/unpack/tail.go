package unpack

import (
	"io"
)

const block = 512 // of a tar

// tailReader remembers how much was read and what it ended with.
type tailReader struct {
	source io.Reader
	n      int64
	tail   [2 * block]byte // the last bytes; zeros before the first
}

func (r *tailReader) Read(p []byte) (int, error) {
	n, err := r.source.Read(p)
	r.n += int64(n)
	if n < len(r.tail) {
		copy(r.tail[:], r.tail[n:])
	}
	got := p[max(0, n-len(r.tail)):n]
	copy(r.tail[len(r.tail)-len(got):], got)
	return n, err
}

// checkEnd tells an archive that ends from one that stops between two entries or
// after an extended header, which archive/tar does not. The first had a block of
// zeros after its last entry, which ended at the offset end.
func (r *tailReader) checkEnd(end int64) error {
	padded := (end + block - 1) / block * block
	last := len(r.tail) - int(r.n%block) // where the last whole block ends
	if r.n < padded+block || [block]byte(r.tail[last-block:last]) != [block]byte{} {
		return readError(io.ErrUnexpectedEOF, r.n)
	}
	return nil
}
