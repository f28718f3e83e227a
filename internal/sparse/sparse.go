// Package sparse writes the content of files without their zeros: a sparse file stays
// sparse, and a bomb of zeros takes no space. It imports nothing of cocker.
package sparse

import (
	"bytes"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

const (
	bufferSize = 256 << 10
	page       = 4096 // the unit of holes: the block size of every usual file system
)

// Writer writes one file after the other. The zero value will do.
type Writer struct {
	Begin func() error      // called before each piece is read; nil: nothing is
	Write func(n int) error // called before so many bytes are written; nil: nothing is

	buffer []byte
}

// Copy writes size bytes of content, and no fewer, into an empty file. Pages of zeros
// become holes.
func (w *Writer) Copy(fd int, size int64, content io.Reader) error {
	if w.buffer == nil {
		w.buffer = make([]byte, bufferSize)
	}
	var offset, written int64
	for offset < size {
		if w.Begin != nil {
			if err := w.Begin(); err != nil {
				return err
			}
		}
		n, err := io.ReadFull(content, w.buffer[:min(bufferSize, size-offset)])
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
		end, err := w.piece(fd, w.buffer[:n], offset)
		if err != nil {
			return err
		}
		written = max(written, end)
		offset += int64(n)
	}
	if written < size {
		return os.NewSyscallError("truncate", unix.Ftruncate(fd, size))
	}
	return nil
}

// piece writes all but the zero pages and returns where the file ends now, 0 if nothing
// was written.
func (w *Writer) piece(fd int, piece []byte, offset int64) (end int64, err error) {
	for len(piece) > 0 {
		run, zero := nextRun(piece)
		if !zero {
			if w.Write != nil {
				if err := w.Write(run); err != nil {
					return 0, err
				}
			}
			if err := pwriteAll(fd, piece[:run], offset); err != nil {
				return 0, err
			}
			end = offset + int64(run)
		}
		piece, offset = piece[run:], offset+int64(run)
	}
	return end, nil
}

// nextRun measures the pages at the start of a piece that are alike: all of zeros, or
// none. The last page may be short.
func nextRun(piece []byte) (length int, zero bool) {
	zero = isZeroPage(piece)
	for length < len(piece) && isZeroPage(piece[length:]) == zero {
		length += min(page, len(piece)-length)
	}
	return length, zero
}

func isZeroPage(piece []byte) bool {
	var zeros [page]byte
	n := min(page, len(piece))
	return piece[0] == 0 && bytes.Equal(piece[:n], zeros[:n])
}

func pwriteAll(fd int, data []byte, offset int64) error {
	for len(data) > 0 {
		n, err := unix.Pwrite(fd, data, offset)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return os.NewSyscallError("write", err)
		}
		data, offset = data[n:], offset+int64(n)
	}
	return nil
}
