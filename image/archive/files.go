package archive

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/image/manifest"
)

// files are what an archive holds.
type files interface {
	// open returns the content of a file. errors.Is(err, fs.ErrNotExist): it has none
	// of that name.
	open(name string) (*file, error)
	Close() error
}

// file is an open file of an archive.
type file struct {
	*io.SectionReader

	close func() error
}

func (f *file) Close() error { return f.close() }

// readDocument reads a small file.
func readDocument(from files, name string) ([]byte, error) {
	f, err := from.open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if f.Size() > manifest.MaxSize {
		return nil, fmt.Errorf("%s: longer than %d bytes", name, manifest.MaxSize)
	}
	data, err := io.ReadAll(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return data, nil
}

func missing(name string) error {
	return fmt.Errorf("%s is not in the archive: %w", name, fs.ErrNotExist)
}

// dirFiles is an archive unpacked. Symbolic links in it are followed as far as they
// stay below it.
type dirFiles struct{ root *os.Root }

func openDir(dir string) (dirFiles, error) {
	root, err := os.OpenRoot(dir)
	return dirFiles{root}, err
}

func (d dirFiles) Close() error { return d.root.Close() }

// open does not hang on a fifo.
func (d dirFiles) open(name string) (*file, error) {
	f, err := d.root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, missing(name)
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a file", name)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &file{io.NewSectionReader(f, 0, info.Size()), f.Close}, nil
}
