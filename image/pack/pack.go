// Package pack turns a directory into the tar of a layer. The same tree gives the
// same bytes: names are sorted, and nothing of the machine but owners' ids, modes,
// times of change and the attributes of unpack.KeepAttr is in it.
//
// The directory may be another user's and change while it is read: every element
// is opened below its parent's descriptor, and no symbolic link is followed.
package pack

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/internal/inode"
)

// Dir writes dir and all below it as a tar with its end mark. Mount points below
// dir are crossed. Sockets are left out, as in every archive; note is told so. A
// character device 0:0 and the attribute trusted.overlay.opaque, with which
// overlayfs hides files of lower layers, become the whiteouts of the OCI format. A
// tree that systemd-nspawn has given to a container's range of ids (it chowns them
// where it cannot map a mount: --private-users-ownership= in systemd-nspawn(1)) is
// packed with the ids that the container sees.
func Dir(ctx context.Context, w io.Writer, dir string, note func(string)) error {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: dir, Err: err}
	}
	p := newPacker(ctx, w, note)
	if p.base, err = idBase(fd); err != nil {
		return errors.Join(entryError("stat", dir, err), unix.Close(fd))
	}
	if p.base != 0 {
		p.note(fmt.Sprintf("the tree belongs to a container with the ids from %d on; in the image they begin with 0", p.base))
	}
	if err := p.dir(fd, "."); err != nil {
		return fmt.Errorf("read %s: %w", dir, err)
	}
	return p.tar.Close()
}

// idRange is how many ids a container has, here and in systemd-nspawn.
const idRange = 1 << 16

// idBase finds the range of a tree as systemd-nspawn does: by the owner of its root.
func idBase(fd int) (uint32, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, err
	}
	if st.Uid != st.Gid || st.Uid%idRange != 0 {
		return 0, nil
	}
	return st.Uid, nil
}

// shifted is an id as the container sees it. One outside of its range is nobody there.
func (p *packer) shifted(id uint32) uint32 {
	const nobody = 65534
	if id < p.base || id-p.base >= idRange {
		return nobody
	}
	return id - p.base
}

type packer struct {
	ctx    context.Context
	tar    *tar.Writer
	note   func(string)
	links  inode.Links
	noted  map[string]bool // attributes that note was told of
	buffer []byte

	base     uint32 // the first id of the range that the tree belongs to
	writable bool   // what a container's writable layer holds is packed, see Upper
}

func newPacker(ctx context.Context, w io.Writer, note func(string)) *packer {
	if note == nil {
		note = func(string) {}
	}
	return &packer{ctx: ctx, tar: tar.NewWriter(w), note: note, links: inode.Links{}, noted: map[string]bool{}}
}

// dir packs an open directory and closes it.
func (p *packer) dir(fd int, name string) error {
	d := os.NewFile(uintptr(fd), name)
	defer d.Close()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return entryError("stat", name, err)
	}
	if err := p.dirEntry(fd, name, st); err != nil {
		return err
	}
	names, err := d.Readdirnames(-1)
	if err != nil {
		return err
	}
	slices.Sort(names)
	for _, base := range names {
		if err := p.ctx.Err(); err != nil {
			return err
		}
		if err := p.element(fd, base, name+"/"+base); err != nil {
			return err
		}
	}
	return nil
}

func (p *packer) dirEntry(fd int, name string, st unix.Stat_t) error {
	if err := p.dirHeader(fd, name, st); err != nil {
		return err
	}
	if isOpaque(fd) {
		return p.whiteout(name+"/.wh..wh..opq", st)
	}
	return nil
}

func (p *packer) dirHeader(fd int, name string, st unix.Stat_t) error {
	hdr := p.header(name+"/", tar.TypeDir, st)
	if err := p.attributes(fd, hdr); err != nil {
		return entryError("attributes of", name, err)
	}
	if err := p.tar.WriteHeader(hdr); err != nil {
		return fmt.Errorf("entry %q: %w", name, err)
	}
	return nil
}

// element packs one element of an open directory.
func (p *packer) element(parent int, base, name string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(parent, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return entryError("stat", name, err)
	}
	if len(base) >= len(whiteoutPrefix) && base[:len(whiteoutPrefix)] == whiteoutPrefix {
		return fmt.Errorf("%q: names with %s are kept for whiteouts in an image's layer", name, whiteoutPrefix)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		fd, err := openElement(parent, base, unix.O_DIRECTORY)
		if err != nil {
			return entryError("open", name, err)
		}
		return p.dir(fd, name)
	case unix.S_IFSOCK:
		p.note(fmt.Sprintf("%s: sockets are left out", name))
		return nil
	}
	if first, ok := p.linkedTo(st, name); ok {
		hdr := p.header(name, tar.TypeLink, st)
		hdr.Linkname = first
		return p.tar.WriteHeader(hdr)
	}
	if st.Mode&unix.S_IFMT == unix.S_IFREG {
		return p.file(parent, base, name)
	}
	return p.special(parent, base, name, st)
}

// linkedTo is about files: overlayfs links its whiteouts to each other, too.
func (p *packer) linkedTo(st unix.Stat_t, name string) (string, bool) {
	if isWhiteoutNode(st) {
		return "", false
	}
	return p.links.First(&st, name)
}

// openElement does not hang on a fifo that took the place of a file.
func openElement(parent int, base string, flags int) (int, error) {
	return unix.Openat(parent, base, flags|unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
}

func entryError(op, name string, err error) error {
	return fmt.Errorf("%s %q: %w", op, name, err)
}

// file packs a regular file, at the size it has when it is opened.
func (p *packer) file(parent int, base, name string) error {
	fd, err := openElement(parent, base, 0)
	if err != nil {
		return entryError("open", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return entryError("stat", name, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return entryError("read", name, errChanged)
	}
	hdr := p.header(name, tar.TypeReg, st)
	hdr.Size = st.Size
	if err := p.attributes(fd, hdr); err != nil {
		return entryError("attributes of", name, err)
	}
	if err := p.tar.WriteHeader(hdr); err != nil {
		return fmt.Errorf("entry %q: %w", name, err)
	}
	return p.content(f, name, st.Size)
}

var errChanged = errors.New("it changed while it was read")

func (p *packer) content(f *os.File, name string, size int64) error {
	if p.buffer == nil {
		p.buffer = make([]byte, 256<<10)
	}
	for size > 0 {
		if err := p.ctx.Err(); err != nil {
			return err
		}
		n, err := f.Read(p.buffer[:min(int64(len(p.buffer)), size)])
		if err == io.EOF {
			return entryError("read", name, errChanged)
		}
		if err != nil {
			return err
		}
		if _, err := p.tar.Write(p.buffer[:n]); err != nil {
			return err
		}
		size -= int64(n)
	}
	return nil
}
