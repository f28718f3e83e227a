// Package unpack writes the entries of a layer's tar into a directory in the form
// overlayfs wants for a lower directory. Everything in the tar is hostile: each
// path is resolved by openat2(2) with RESOLVE_IN_ROOT below the directory's
// descriptor, and every operation is on descriptors, never on a path of the host.
//
// What becomes of an entry:
//   - a name that is absolute or has an element ".." is an error;
//   - a symbolic link on the way is followed as if the directory were /, as other
//     engines do; the last element never is;
//   - a later entry replaces an earlier one of the same name, a whole directory
//     too; only a directory over a directory adds to it (as in containerd);
//   - a missing parent is made, owned by root, mode 0755, dated 1970;
//   - .wh.NAME becomes a character device 0:0, .wh..wh..opq the extended attribute
//     trusted.overlay.opaque=y of its directory;
//   - a hard link's target must be in the same layer.
//
// It imports package sparse, the standard library and golang.org/x/sys/unix.
package unpack

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Options change how a layer is unpacked. The zero value will do.
type Options struct {
	Limits Limits
	Note   func(string) // told what is left out on purpose; nil: nobody is

	// Charge is told the size of each entry before it is made, and may refuse it.
	Charge func(size int64) error

	// EndMayLack takes a tar that ends after a whole entry without an end mark, for
	// one whose digest shows that it is whole: umoci 0.4 writes such layers.
	EndMayLack bool

	// Plain takes the tar of a tree that is no layer: nothing in it is a whiteout, and
	// access control lists are kept.
	Plain bool
}

// ErrTruncated says that the archive ends before its end mark.
var ErrTruncated = errors.New("the archive is cut short")

// Tar unpacks a tar into dir, an empty directory on a file system with extended
// attributes, and returns the number of its entries. It reads up to the archive's
// end mark. After an error dir holds a part of the tree; removing it is up to the
// caller. Nothing is synced.
func Tar(dir string, source io.Reader, opts Options) (entries int, err error) {
	t, err := openTree(dir, opts)
	if err != nil {
		return 0, err
	}
	defer t.close()
	counted := &tailReader{source: source}
	archive := tar.NewReader(counted)
	for {
		end := counted.n
		hdr, err := archive.Next()
		if err == io.EOF {
			err = t.setDirTimes()
			if !opts.EndMayLack {
				err = errors.Join(counted.checkEnd(end), err)
			}
			return entries, err
		}
		if err != nil {
			return entries, readError(err, counted.n)
		}
		entries++
		if err := t.add(hdr, archive); err != nil {
			return entries, entryError(hdr.Name, err, counted.n)
		}
		if _, err := io.Copy(io.Discard, archive); err != nil {
			return entries, readError(err, counted.n)
		}
	}
}

func readError(err error, offset int64) error {
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: no end mark after %d bytes of tar", ErrTruncated, offset)
	case errors.Is(err, tar.ErrHeader):
		return fmt.Errorf("no tar archive, or damaged near byte %d: %w", offset, err)
	}
	return fmt.Errorf("read tar at byte %d: %w", offset, err)
}

func entryError(name string, err error, offset int64) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = readError(err, offset)
	}
	return fmt.Errorf("entry %q: %w", name, err)
}

// add unpacks one entry.
func (t *tree) add(hdr *tar.Header, content io.Reader) error {
	if hdr.Typeflag == tar.TypeXGlobalHeader {
		return t.charge(0) // a comment, as git archive writes it
	}
	name, err := cleanName(hdr.Name)
	if err != nil {
		return err
	}
	if err := t.limits.check(hdr); err != nil {
		return err
	}
	if err := t.charge(hdr.Size); err != nil {
		return err
	}
	if name == "" {
		return t.addRoot(hdr)
	}
	parentName, base := splitName(name)
	parent, err := t.parent(parentName)
	if err != nil {
		return err
	}
	if isWhiteout(base) && !t.plain {
		return t.addWhiteout(parent, parentName, base)
	}
	return t.create(place{parent: parent, base: base, name: name}, hdr, content)
}

// addRoot takes owner, mode and times of the layer's own directory.
func (t *tree) addRoot(hdr *tar.Header) error {
	if hdr.Typeflag != tar.TypeDir {
		return errors.New("the root of the layer is not a directory")
	}
	t.dirs[""] = hdr.ModTime
	return t.setMeta(node{fd: t.root}, hdr)
}

// setDirTimes comes last, because each entry made in a directory changes its time.
func (t *tree) setDirTimes() error {
	for name, mtime := range t.dirs {
		fd, err := t.open(name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW)
		if err == unix.ENOENT || err == unix.ENOTDIR || err == unix.ELOOP {
			continue // replaced by a later entry
		}
		if err != nil {
			return entryError(name, os.NewSyscallError("openat2", err), 0)
		}
		err = setTimes(fd, mtime)
		_ = unix.Close(fd)
		if err != nil {
			return entryError(name, err, 0)
		}
	}
	return nil
}

// impliedTime dates directories that the tar does not mention, so that the same
// tar always gives the same tree.
func impliedTime() time.Time { return time.Unix(0, 0) }
