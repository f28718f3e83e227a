package archive

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/image"
	"github.com/cocker/cocker/image/internal/durable"
)

// ExportTo writes images to a file, or for OCIDir and Dir to a directory that does not
// exist or is empty. It is there, whole and durable, when ExportTo returns; after an error
// what was there before still is.
func ExportTo(ctx context.Context, store *image.Store, refs []string, path string, format Format, progress func(bytes int64)) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("export to %s: %w", path, err)
		}
	}()
	switch format {
	case OCIDir:
		return exportDir(path, func(dir string) error { return export(ctx, store, refs, dirSink(dir), format, progress) })
	case Dir:
		return exportDir(path, func(dir string) error { return unpackTree(ctx, store, refs, dir, progress) })
	}
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		if info.IsDir() {
			return errors.New("it is a directory; name a file, or choose --format oci-dir or dir")
		}
		return exportSpecial(ctx, store, refs, path, format, progress)
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	err = exportStream(ctx, store, refs, f, format, progress)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return durable.SyncDir(filepath.Dir(path))
}

// exportSpecial writes to what cannot be replaced: a fifo, a device.
func exportSpecial(ctx context.Context, store *image.Store, refs []string, path string, format Format, progress func(int64)) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return errors.Join(exportStream(ctx, store, refs, f, format, progress), f.Close())
}

func exportStream(ctx context.Context, store *image.Store, refs []string, w io.Writer, format Format, progress func(int64)) error {
	big := bufio.NewWriterSize(w, 256<<10)
	if err := Export(ctx, store, refs, big, format, progress); err != nil {
		return err
	}
	return big.Flush()
}

func exportDir(path string, fill func(dir string) error) error {
	if entries, err := os.ReadDir(path); err == nil && len(entries) > 0 {
		return errors.New("it is there, and not empty")
	}
	path = filepath.Clean(path)
	dir, err := os.MkdirTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	if err = fill(dir); err == nil {
		err = syncAll(dir)
	}
	if err == nil {
		err = os.NewSyscallError("rename", unix.Rename(dir, path)) // over an empty directory too, which os.Rename refuses
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	return durable.SyncDir(filepath.Dir(path))
}

func syncAll(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return os.NewSyscallError("syncfs", unix.Syncfs(int(f.Fd())))
}

type dirSink string

func (s dirSink) add(name string, size int64, content io.Reader) error {
	path := filepath.Join(string(s), name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	n, err := io.CopyBuffer(onlyWriter{f}, content, make([]byte, 256<<10))
	if err == nil && n != size {
		err = fmt.Errorf("%d bytes instead of %d", n, size)
	}
	return errors.Join(err, f.Close())
}
