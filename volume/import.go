package volume

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/image/unpack"
)

// Import fills a volume, which is made if it is missing, with what a tar has. A volume
// that has content is an error unless replace is set: then the tar's takes its place at
// once. After an error the volume is as it was. A reader that blocks cannot be interrupted:
// after a cancellation one goroutine may stay in it until the process ends.
func (s *Store) Import(ctx context.Context, name string, r io.Reader, replace bool, note func(string)) (err error) {
	v, err := s.Hold(name, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	if err := v.importable(replace); err != nil {
		return err
	}
	err = v.prepareLimit(0)
	if err == nil {
		err = v.stage(func(dir string) error {
			source := interruptible(ctx, r)
			defer source.Close()
			_, err := unpack.Tar(dir, source, unpack.Options{Plain: true, Limits: limits(), Note: note})
			return err
		})
	}
	if errors.Is(err, tar.ErrHeader) {
		err = fmt.Errorf("%w; a compressed archive has to be decompressed first", err)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("import volume %s: %w", name, err), v.forget())
	}
	if v.Filled() {
		return v.publish(unix.RENAME_EXCHANGE)
	}
	return v.publish(0)
}

func (v *Volume) importable(replace bool) error {
	if !v.Filled() {
		return nil
	}
	if !replace {
		return fmt.Errorf("%w and has content: %s; --replace puts the archive in its place", ErrExists, v.Name)
	}
	return v.unused()
}

// interruptible reads r until ctx is done.
func interruptible(ctx context.Context, r io.Reader) io.ReadCloser {
	reader, writer := io.Pipe()
	context.AfterFunc(ctx, func() { _ = writer.CloseWithError(ctx.Err()) })
	go func() {
		_, err := io.Copy(writer, r)
		_ = writer.CloseWithError(err)
	}()
	return reader
}
