package pack

import (
	"archive/tar"
	"errors"
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/image/unpack"
	"github.com/cocker/cocker/internal/inode"
)

const (
	whiteoutPrefix = ".wh."
	overlayAttrs   = "trusted.overlay."
	opaqueAttr     = overlayAttrs + "opaque"
	whiteoutAttr   = overlayAttrs + "whiteout"
	redirectAttr   = overlayAttrs + "redirect"
	metacopyAttr   = overlayAttrs + "metacopy"
)

// header is the entry of an inode without link target, size and device.
func (p *packer) header(name string, kind byte, st unix.Stat_t) *tar.Header {
	switch {
	case p.writable:
		st.Uid, st.Gid = p.owner(st.Uid, name), p.owner(st.Gid, name)
	case p.base != 0:
		st.Uid, st.Gid = p.shifted(st.Uid), p.shifted(st.Gid)
	}
	return inode.Header(name, kind, &st)
}

// special packs what has no content.
func (p *packer) special(parent int, base, name string, st unix.Stat_t) error {
	if isWhiteoutNode(st) {
		dir, hidden := path.Split(name)
		return p.whiteout(dir+whiteoutPrefix+hidden, st)
	}
	var hdr *tar.Header
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		target, err := inode.ReadLink(parent, base)
		if err != nil {
			return entryError("read link", name, err)
		}
		hdr = p.header(name, tar.TypeSymlink, st)
		hdr.Linkname = target
	case unix.S_IFIFO:
		hdr = p.header(name, tar.TypeFifo, st)
	case unix.S_IFCHR:
		hdr = p.header(name, tar.TypeChar, st)
	case unix.S_IFBLK:
		hdr = p.header(name, tar.TypeBlock, st)
	default:
		return fmt.Errorf("%q is of an unknown type, mode %o", name, st.Mode)
	}
	if hdr.Typeflag == tar.TypeChar || hdr.Typeflag == tar.TypeBlock {
		hdr.Devmajor, hdr.Devminor = int64(unix.Major(uint64(st.Rdev))), int64(unix.Minor(uint64(st.Rdev)))
	}
	if err := p.tar.WriteHeader(hdr); err != nil {
		return fmt.Errorf("entry %q: %w", name, err)
	}
	return nil
}

func isWhiteoutNode(st unix.Stat_t) bool {
	return st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0
}

func isOpaque(fd int) bool {
	var value [1]byte
	n, err := unix.Fgetxattr(fd, opaqueAttr, value[:])
	return err == nil && n == 1 && value[0] == 'y'
}

// whiteout writes an empty file with the owner and time of what it stands for.
func (p *packer) whiteout(name string, st unix.Stat_t) error {
	st.Mode = 0
	return p.tar.WriteHeader(p.header(name, tar.TypeReg, st))
}

// attributes adds the extended attributes that belong to an image.
func (p *packer) attributes(fd int, hdr *tar.Header) error {
	names, err := inode.Attributes(fd)
	if err != nil {
		return err
	}
	for _, name := range names {
		// A PAX header, of lines KEY=VALUE, has no form for a name with "=", and any process of
		// a container can set one.
		if !unpack.KeepAttr(name) || strings.Contains(name, "=") {
			p.noteAttr(name, hdr.Name)
			continue
		}
		value, err := inode.Attribute(fd, name)
		if errors.Is(err, unix.ENODATA) {
			continue // removed since it was listed
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		inode.AddAttribute(hdr, name, value)
	}
	return nil
}

// noteAttr tells of each attribute once: on some hosts every file has a label.
func (p *packer) noteAttr(attr, entry string) {
	if !strings.HasPrefix(attr, overlayAttrs) && !p.noted[attr] {
		p.noted[attr] = true
		p.note(fmt.Sprintf("%s: the extended attribute %s is left out, here and elsewhere", entry, attr))
	}
}
