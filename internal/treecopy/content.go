package treecopy

import (
	"bytes"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

const (
	bufferSize = 256 << 10
	page       = 4096 // the unit of holes: the block size of every usual file system
)

// writeContent writes a file of the size its entry says. Pages of zeros become holes,
// so that a sparse file stays sparse.
func (r *receiver) writeContent(fd int, size int64, content io.Reader) error {
	if r.buffer == nil {
		r.buffer = make([]byte, bufferSize)
	}
	for offset := int64(0); offset < size; {
		if err := r.ctx.Err(); err != nil {
			return err
		}
		n, err := io.ReadFull(content, r.buffer[:min(bufferSize, size-offset)])
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
		if err := writeSparse(fd, r.buffer[:n], offset); err != nil {
			return fmt.Errorf("write: %w", err)
		}
		offset += int64(n)
	}
	return unix.Ftruncate(fd, size)
}

func writeSparse(fd int, chunk []byte, offset int64) error {
	for len(chunk) > 0 {
		run, zero := nextRun(chunk)
		for written := 0; !zero && written < run; {
			n, err := unix.Pwrite(fd, chunk[written:run], offset+int64(written))
			if err == unix.EINTR {
				continue
			}
			if err != nil {
				return err
			}
			written += n
		}
		chunk, offset = chunk[run:], offset+int64(run)
	}
	return nil
}

// nextRun measures the pages at the start of a chunk that are alike: all of zeros, or
// none. The last page may be short.
func nextRun(chunk []byte) (length int, zero bool) {
	zero = isZeroPage(chunk)
	for length < len(chunk) && isZeroPage(chunk[length:]) == zero {
		length += min(page, len(chunk)-length)
	}
	return length, zero
}

func isZeroPage(chunk []byte) bool {
	var zeros [page]byte
	return bytes.Equal(chunk[:min(page, len(chunk))], zeros[:min(page, len(chunk))])
}
