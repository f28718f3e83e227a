package unpack

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// create makes the node of an entry, with content and metadata.
func (t *tree) create(p place, hdr *tar.Header, content io.Reader) error {
	if hdr.Typeflag == tar.TypeLink {
		return t.link(p, hdr)
	}
	n, err := t.makeNode(p, hdr, content)
	if err != nil {
		return err
	}
	defer unix.Close(n.fd)
	return t.setMeta(n, hdr)
}

func (t *tree) makeNode(p place, hdr *tar.Header, content io.Reader) (node, error) {
	if hdr.Typeflag == tar.TypeDir {
		fd, err := t.openOrMakeDir(p)
		t.dirs[p.name] = hdr.ModTime
		return node{fd: fd}, err
	}
	switch hdr.Typeflag {
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse:
		return t.makeFile(p, hdr.Size, content)
	case tar.TypeSymlink:
		return t.makeOther(p, func() error { return unix.Symlinkat(hdr.Linkname, p.parent, p.base) })
	case tar.TypeFifo:
		return t.makeOther(p, func() error { return unix.Mknodat(p.parent, p.base, unix.S_IFIFO|0o600, 0) })
	case tar.TypeChar:
		return t.makeDevice(p, unix.S_IFCHR, hdr)
	case tar.TypeBlock:
		return t.makeDevice(p, unix.S_IFBLK, hdr)
	}
	return node{}, fmt.Errorf("entries of type %q are unknown", hdr.Typeflag)
}

// openOrMakeDir adds to a directory that an earlier entry made.
func (t *tree) openOrMakeDir(p place) (int, error) {
	st, err := p.stat()
	if err != nil && err != unix.ENOENT {
		return -1, os.NewSyscallError("stat", err)
	}
	if err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return p.openDir()
	}
	return t.makeDir(p)
}

// makeDir replaces what is there by an empty directory. Over a whiteout it must
// not show what the layers below have in theirs.
func (t *tree) makeDir(p place) (int, error) {
	st, err := p.stat()
	opaque := err == nil && isWhiteoutNode(st) && !t.plain
	if err := t.clear(p); err != nil {
		return -1, err
	}
	if err := unix.Mkdirat(p.parent, p.base, 0o700); err != nil {
		return -1, os.NewSyscallError("mkdir", err)
	}
	fd, err := p.openDir()
	if err != nil || !opaque {
		return fd, err
	}
	if err := (node{fd: fd}).setAttr(opaqueAttr, "y"); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func (p place) openDir() (int, error) {
	fd, err := unix.Openat(p.parent, p.base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	return fd, os.NewSyscallError("open", err)
}

func (t *tree) makeFile(p place, size int64, content io.Reader) (node, error) {
	if err := t.clear(p); err != nil {
		return node{}, err
	}
	const flags = unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := unix.Openat(p.parent, p.base, flags, 0o600)
	if err != nil {
		return node{}, os.NewSyscallError("create", err)
	}
	if err := t.sparse.Copy(fd, size, content); err != nil {
		_ = unix.Close(fd)
		return node{}, err
	}
	return node{fd: fd}, nil
}

// makeOther makes a node that is not to be opened for real: a device would act.
func (t *tree) makeOther(p place, mk func() error) (node, error) {
	if err := t.clear(p); err != nil {
		return node{}, err
	}
	if err := mk(); err != nil {
		return node{}, os.NewSyscallError("create", err)
	}
	fd, err := unix.Openat(p.parent, p.base, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	return node{fd: fd, path: true}, os.NewSyscallError("open", err)
}

func (t *tree) makeDevice(p place, kind uint32, hdr *tar.Header) (node, error) {
	const maxMajor, maxMinor = 1<<12 - 1, 1<<20 - 1 // the kernel's MKDEV
	if hdr.Devmajor < 0 || hdr.Devmajor > maxMajor || hdr.Devminor < 0 || hdr.Devminor > maxMinor {
		return node{}, fmt.Errorf("there is no device %d:%d", hdr.Devmajor, hdr.Devminor)
	}
	if kind == unix.S_IFCHR && hdr.Devmajor == 0 && hdr.Devminor == 0 && !t.plain {
		return node{}, errors.New("device 0:0 hides a file of the layers below on this host only; in a layer that is " + whiteoutPrefix + "NAME")
	}
	dev := unix.Mkdev(uint32(hdr.Devmajor), uint32(hdr.Devminor))
	return t.makeOther(p, func() error { return unix.Mknodat(p.parent, p.base, kind|0o600, int(dev)) })
}

// link makes a hard link. The target's inode got its metadata from its own entry.
func (t *tree) link(p place, hdr *tar.Header) error {
	name, err := cleanName(hdr.Linkname)
	if err != nil {
		return fmt.Errorf("hard link to %q: %w", hdr.Linkname, err)
	}
	target, err := t.open(name, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return fmt.Errorf("hard link to %q in the same layer: %w", hdr.Linkname, err)
	}
	defer unix.Close(target)
	var st unix.Stat_t
	if err := unix.Fstat(target, &st); err != nil {
		return os.NewSyscallError("stat", err)
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return fmt.Errorf("hard link to %q: %w", hdr.Linkname, errors.New("it is a directory"))
	}
	if there, err := p.stat(); err == nil && there.Ino == st.Ino {
		return nil // a link to itself; removing the one would lose the other
	}
	if err := t.clear(p); err != nil {
		return err
	}
	err = unix.Linkat(target, "", p.parent, p.base, unix.AT_EMPTY_PATH)
	return os.NewSyscallError("link", err)
}
