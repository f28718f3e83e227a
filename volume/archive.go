package volume

import (
	"archive/tar"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/internal/inode"
	"github.com/cocker/cocker/internal/linux"
)

// archiver writes a tree as a tar, as it is: unlike a layer's (package pack) it has no
// whiteouts, and access control lists. The tree may be a hostile container's and change
// while it is read: every element is opened below its parent's descriptor, no symbolic
// link is followed, and nothing that is mounted in it is read.
type archiver struct {
	ctx    context.Context
	tar    *tar.Writer
	base   uint32
	note   func(string)
	links  inode.Links
	buffer []byte
}

func archive(ctx context.Context, w io.Writer, content Content, note func(string)) error {
	a := &archiver{ctx: ctx, tar: tar.NewWriter(w), base: content.Base, note: note, links: inode.Links{}, buffer: make([]byte, 256<<10)}
	fd, err := linux.OpenSameMount(int(content.Dir.Fd()), ".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	if err := a.directory(os.NewFile(uintptr(fd), "."), "."); err != nil {
		return err
	}
	return a.tar.Close()
}

// directory writes an open directory and closes it.
func (a *archiver) directory(dir *os.File, name string) error {
	defer dir.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &st); err != nil {
		return readError(name, err)
	}
	hdr := a.header(name+"/", tar.TypeDir, &st)
	if err := a.attributes(dir, hdr); err != nil {
		return readError(name, err)
	}
	if err := a.tar.WriteHeader(hdr); err != nil {
		return fmt.Errorf("entry %q: %w", name, err)
	}
	names, err := dir.Readdirnames(-1)
	if err != nil && !errors.Is(err, unix.ENOENT) { // it has been removed meanwhile
		return readError(name, err)
	}
	slices.Sort(names)
	for _, base := range names {
		if err := a.ctx.Err(); err != nil {
			return err
		}
		err := a.element(dir, base, name+"/"+base)
		if vanished(err) {
			a.note(fmt.Sprintf("%s has been removed meanwhile", name+"/"+base))
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// vanished tells that an element is gone, as may be when containers write meanwhile.
// Nothing of it has been written then.
func vanished(err error) bool {
	var read *elementError
	return errors.As(err, &read) && errors.Is(err, unix.ENOENT)
}

// elementError is an error from before the first byte of an element.
type elementError struct{ err error }

func (e *elementError) Error() string { return e.err.Error() }
func (e *elementError) Unwrap() error { return e.err }

func readError(name string, err error) error { return fmt.Errorf("read %q: %w", name, err) }

func (a *archiver) element(parent *os.File, base, name string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(int(parent.Fd()), base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &elementError{readError(name, err)}
	}
	kind := st.Mode & unix.S_IFMT
	switch kind {
	case unix.S_IFSOCK:
		a.note(name + ": a socket is left out")
		return nil
	case unix.S_IFDIR, unix.S_IFREG:
		file, err := a.open(parent, base, name, kind)
		if err != nil || file == nil {
			return err
		}
		if kind == unix.S_IFDIR {
			return a.directory(file, name)
		}
		return a.file(file, name)
	}
	if first, ok := a.links.First(&st, name); ok {
		return a.link(first, name, &st)
	}
	return a.special(parent, base, name, &st)
}

// open opens a file or directory; nil: something is mounted there.
func (a *archiver) open(parent *os.File, base, name string, kind uint32) (*os.File, error) {
	flags := unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK // it may be a fifo by now
	if kind == unix.S_IFDIR {
		flags |= unix.O_DIRECTORY
	}
	fd, err := linux.OpenSameMount(int(parent.Fd()), base, flags)
	if errors.Is(err, unix.EXDEV) {
		a.note(name + ": what is mounted there is left out")
		return nil, nil
	}
	if err != nil {
		return nil, &elementError{readError(name, err)}
	}
	return os.NewFile(uintptr(fd), name), nil
}

func (a *archiver) link(first, name string, st *unix.Stat_t) error {
	hdr := a.header(name, tar.TypeLink, st)
	hdr.Linkname = first
	return a.tar.WriteHeader(hdr)
}

// file writes an open regular file and closes it. One that is cut short meanwhile
// ends in zeros, so that the archive goes on.
func (a *archiver) file(file *os.File, name string) error {
	defer file.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &st); err != nil {
		return readError(name, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return readError(name, errors.New("it changed while it was read"))
	}
	if first, ok := a.links.First(&st, name); ok {
		return a.link(first, name, &st)
	}
	hdr := a.header(name, tar.TypeReg, &st)
	hdr.Size = st.Size
	if err := a.attributes(file, hdr); err != nil {
		return readError(name, err)
	}
	if err := a.tar.WriteHeader(hdr); err != nil {
		return fmt.Errorf("entry %q: %w", name, err)
	}
	return a.content(file, name, st.Size)
}

func (a *archiver) content(file *os.File, name string, size int64) error {
	for size > 0 {
		if err := a.ctx.Err(); err != nil {
			return err
		}
		n, err := file.Read(a.buffer[:min(int64(len(a.buffer)), size)])
		if err == io.EOF {
			a.note(name + " has been cut short meanwhile")
			n = int(min(int64(len(a.buffer)), size))
			clear(a.buffer[:n])
			err = nil
		}
		if err != nil {
			return readError(name, err)
		}
		if _, err := a.tar.Write(a.buffer[:n]); err != nil {
			return err
		}
		size -= int64(n)
	}
	return nil
}

// special writes what has no content.
func (a *archiver) special(parent *os.File, base, name string, st *unix.Stat_t) error {
	hdr := a.header(name, kindOf(st.Mode), st)
	switch hdr.Typeflag {
	case tar.TypeSymlink:
		target, err := inode.ReadLink(int(parent.Fd()), base)
		if err != nil {
			return &elementError{readError(name, err)}
		}
		hdr.Linkname = target
	case tar.TypeChar, tar.TypeBlock:
		hdr.Devmajor, hdr.Devminor = int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev))
	}
	if err := a.tar.WriteHeader(hdr); err != nil {
		return fmt.Errorf("entry %q: %w", name, err)
	}
	return nil
}

func kindOf(mode uint32) byte {
	switch mode & unix.S_IFMT {
	case unix.S_IFLNK:
		return tar.TypeSymlink
	case unix.S_IFCHR:
		return tar.TypeChar
	case unix.S_IFBLK:
		return tar.TypeBlock
	}
	return tar.TypeFifo
}

// header is the entry of an inode, with owners by their numbers inside.
func (a *archiver) header(name string, kind byte, st *unix.Stat_t) *tar.Header {
	hdr := inode.Header(name, kind, st)
	hdr.Uid, hdr.Gid = a.owner(st.Uid), a.owner(st.Gid)
	return hdr
}

// nobody owns what belongs to no user of a container (user_namespaces(7)).
const nobody = 65534

func (a *archiver) owner(id uint32) int {
	if id < a.base || id-a.base >= linux.IDRangeSize {
		return nobody
	}
	return int(id - a.base)
}

// attributes adds extended attributes, as GNU tar --xattrs writes them.
func (a *archiver) attributes(file *os.File, hdr *tar.Header) error {
	names, err := inode.Attributes(int(file.Fd()))
	if err != nil {
		return err
	}
	for _, name := range names {
		if unwritable(name) {
			a.note(fmt.Sprintf("%s: the extended attribute %q is left out: a tar has no form for it", hdr.Name, name))
		}
		if !a.keeps(name) {
			continue
		}
		value, err := inode.Attribute(int(file.Fd()), name)
		if errors.Is(err, unix.ENODATA) {
			continue // removed since it was listed
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if name == capability {
			value = a.unshifted(value)
		}
		inode.AddAttribute(hdr, name, value)
	}
	return nil
}

const capability = "security.capability"

// keeps says which attributes belong to the data. Labels belong to the machine, and
// what overlayfs notes to its mounts. The lists of a tree with shifted ids name
// shifted ones; no image has any.
func (a *archiver) keeps(name string) bool {
	if strings.HasPrefix(name, "system.posix_acl_") {
		return a.base == 0
	}
	return strings.HasPrefix(name, "user.") && !unwritable(name) || name == capability
}

// unwritable tells of a name that a PAX header, lines of KEY=VALUE, has no form for: any
// process of a container can set one.
func unwritable(name string) bool { return strings.Contains(name, "=") }

// unshifted turns file capabilities of the container's root into such of the disk's.
// The kernel names the root of the namespace that they are for, in a longer form, to
// those outside (capabilities(7), "File capability extended attribute versioning").
func (a *archiver) unshifted(value string) string {
	const shortForm, longForm = 20, 24 // bytes, in which VFS_CAP_REVISION_2 and _3 come
	if len(value) != longForm || binary.LittleEndian.Uint32([]byte(value[shortForm:])) != a.base {
		return value
	}
	short := []byte(value[:shortForm])
	short[3] = 2
	return string(short)
}

// Export writes the content of a volume as a tar, owners by their numbers inside. It may
// be in use: what containers write meanwhile may be in it or not.
func (s *Store) Export(ctx context.Context, name string, w io.Writer, note func(string)) error {
	dir, err := s.open(name)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := archive(ctx, w, Content{Dir: dir}, note); err != nil {
		return fmt.Errorf("export volume %s: %w", name, err)
	}
	if !isStill(dir.Name(), dir) {
		return fmt.Errorf("export volume %s: it was removed or replaced meanwhile; what was written is not whole", name)
	}
	return nil
}

// open opens the content of a volume.
func (s *Store) open(name string) (*os.File, error) {
	v, err := s.Hold(name, false)
	if err != nil {
		return nil, err
	}
	defer v.Close()
	if !v.Filled() {
		return nil, fmt.Errorf("volume %s has no content yet: the first container that is started with it brings that, or \"cocker volume import\"", name)
	}
	return openDir(filepath.Join(v.dir(), "data"))
}
