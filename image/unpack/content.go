package unpack

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

// writeContent writes a file of the size its entry says. Pages of zeros become
// holes: a sparse file stays sparse, and a bomb of zeros takes no space.
func (t *tree) writeContent(fd int, size int64, content io.Reader) error {
	if t.buffer == nil {
		t.buffer = make([]byte, bufferSize)
	}
	var offset, written int64
	for offset < size {
		n, err := io.ReadFull(content, t.buffer[:min(bufferSize, size-offset)])
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
		end, err := t.writeChunk(fd, t.buffer[:n], offset)
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

// writeChunk writes all but the zero pages and returns where the file ends now,
// 0 if nothing was written.
func (t *tree) writeChunk(fd int, chunk []byte, offset int64) (end int64, err error) {
	for len(chunk) > 0 {
		run, zero := nextRun(chunk)
		if !zero {
			if err := t.limits.write(run); err != nil {
				return 0, err
			}
			if err := pwriteAll(fd, chunk[:run], offset); err != nil {
				return 0, err
			}
			end = offset + int64(run)
		}
		chunk, offset = chunk[run:], offset+int64(run)
	}
	return end, nil
}

// nextRun measures the pages at the start of a chunk that are alike: all of
// zeros, or none. The last page may be short.
func nextRun(chunk []byte) (length int, zero bool) {
	zero = isZeroPage(chunk)
	for length < len(chunk) && isZeroPage(chunk[length:]) == zero {
		length += min(page, len(chunk)-length)
	}
	return length, zero
}

func isZeroPage(chunk []byte) bool {
	var zeros [page]byte
	n := min(page, len(chunk))
	return chunk[0] == 0 && bytes.Equal(chunk[:n], zeros[:n])
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
