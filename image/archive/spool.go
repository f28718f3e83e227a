package archive

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/image"
)

// spool writes a stream to a file, and leaves a part of the disk free, as layers do.
func spool(tx *image.Transaction, stream io.Reader) (*os.File, error) {
	f, err := tx.TempFile()
	if err != nil {
		return nil, err
	}
	most, reason, err := spoolLimit(tx, f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	n, err := io.Copy(f, io.LimitReader(stream, most+1))
	if err == nil && n > most {
		err = fmt.Errorf("it is longer than %d bytes, decompressed: %w", most, reason)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// spoolLimit is how long an archive may be. What its files have together is not known
// yet, so the limit for that, if there is one, is taken with room for headers and
// padding: this is about bombs.
func spoolLimit(tx *image.Transaction, f *os.File) (most int64, reason error, err error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return 0, nil, os.NewSyscallError("fstatfs", err)
	}
	free := int64(st.Bavail) * st.Bsize
	most, reason = free-free/20, unix.ENOSPC
	if size := tx.Limits().Size; size > 0 && size < (most-spoolRoom)/2 {
		most, reason = 2*size+spoolRoom, image.ErrTooLarge
	}
	return most, reason, nil
}

const spoolRoom = 64 << 20
