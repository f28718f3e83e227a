package archive

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/cocker/cocker/image/unpack"
)

const (
	maxEntries = 100_000
	maxName    = 512 // of what can be a part of an image
	maxLinks   = 8   // that lead to each other
)

// tarFiles knows where in a tar each file is.
type tarFiles struct {
	tar     *os.File
	entries map[string]entry
}

type entry struct {
	offset, size int64
	link         string // the name it stands for; "": it is a file
}

// openTar reads the headers of an uncompressed tar, and passes over the rest. The
// tar is closed with what it returns, or if it returns an error.
func openTar(ctx context.Context, f *os.File) (*tarFiles, error) {
	t := &tarFiles{tar: f, entries: map[string]entry{}}
	if err := t.index(ctx); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return t, nil
}

func (t *tarFiles) index(ctx context.Context) error {
	if _, err := t.tar.Seek(0, io.SeekStart); err != nil {
		return err
	}
	r := tar.NewReader(t.tar)
	for n := 0; ; n++ {
		hdr, err := r.Next()
		switch {
		case err == io.EOF:
			return nil
		case errors.Is(err, io.ErrUnexpectedEOF):
			return unpack.ErrTruncated
		case err != nil:
			return fmt.Errorf("read archive: %w", err)
		case n == maxEntries:
			return fmt.Errorf("it has more than %d entries", maxEntries)
		}
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		// The reader has read headers only, block by block: what comes next is content.
		offset, err := t.tar.Seek(0, io.SeekCurrent)
		if err != nil {
			return err
		}
		if err := t.add(hdr, offset); err != nil {
			return fmt.Errorf("entry %q: %w", hdr.Name, err)
		}
	}
}

func (t *tarFiles) add(hdr *tar.Header, offset int64) error {
	if hdr.Typeflag == tar.TypeXGlobalHeader {
		return nil // a comment
	}
	name, err := inside(hdr.Name)
	if err != nil {
		return err
	}
	e := entry{offset: offset, size: hdr.Size}
	switch hdr.Typeflag {
	case tar.TypeDir:
		return nil
	case tar.TypeReg:
		if isSparse(hdr) {
			return errors.New("a sparse file, which no part of an image is; pack it without --sparse")
		}
	case tar.TypeSymlink: // "docker save" before 25 has one for a layer that two images share
		e.link = path.Join(path.Dir(name), hdr.Linkname)
	case tar.TypeLink:
		e.link = hdr.Linkname
	default:
		return errors.New("neither a file nor a directory")
	}
	if e.link != "" {
		if path.IsAbs(hdr.Linkname) {
			return fmt.Errorf("a link to %q, which leads out of the archive", hdr.Linkname)
		}
		if e.link, err = inside(e.link); err != nil {
			return fmt.Errorf("a link to %q: %w", hdr.Linkname, err)
		}
	}
	if _, twice := t.entries[name]; twice {
		return errors.New("it is in the archive twice")
	}
	if len(name) <= maxName && len(e.link) <= maxName { // a link can have 1 MiB, which zeros compress to nothing
		t.entries[name] = e
	}
	return nil
}

// isSparse knows all three forms, of which the reader shows one only by its records.
func isSparse(hdr *tar.Header) bool {
	for key := range hdr.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return false
}

// inside cleans a name, and refuses one that leads out of the archive.
func inside(name string) (string, error) {
	clean := path.Clean(name)
	if path.IsAbs(clean) || clean == ".." || strings.HasPrefix(clean, "../") || strings.ContainsRune(clean, 0) {
		return "", errors.New("the name leads out of the archive")
	}
	return clean, nil
}

func (t *tarFiles) Close() error { return t.tar.Close() }

func (t *tarFiles) open(name string) (*file, error) {
	for range maxLinks {
		e, ok := t.entries[name]
		if !ok {
			return nil, missing(name)
		}
		if e.link == "" {
			return &file{io.NewSectionReader(t.tar, e.offset, e.size), func() error { return nil }}, nil
		}
		name = e.link
	}
	return nil, fmt.Errorf("%s: more than %d links that lead to each other", name, maxLinks)
}
