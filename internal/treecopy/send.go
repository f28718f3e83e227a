package treecopy

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/internal/inode"
	"github.com/cocker/cocker/internal/linux"
)

// SendOptions say what is sent.
type SendOptions struct {
	Name     string       // what the tar calls the source; "": it is a directory, and ./
	Follow   bool         // the source may be a symbolic link and is what that leads to
	NoMounts bool         // what is mounted below the source is sent as empty
	Note     func(string) `json:"-"` // told what is left out
}

// Send writes the tree at path as a tar. Without a trailing slash a symbolic link at
// path is sent as one.
func (s *Side) Send(ctx context.Context, w io.Writer, path string, o SendOptions) error {
	flags := unix.O_PATH
	if !o.Follow {
		flags |= unix.O_NOFOLLOW // the kernel follows what a slash comes after
	}
	fd, err := s.open(path, flags)
	if err != nil {
		return err
	}
	t := &sender{ctx: ctx, side: s, path: path, tar: tar.NewWriter(w), options: o, links: inode.Links{}}
	if isKernels(fd) {
		unix.Close(fd)
		return fmt.Errorf("%q is the kernel's: its files have no content that could be copied", path)
	}
	if isSecret(fd) {
		unix.Close(fd)
		return fmt.Errorf("%q holds credentials of the container, which are not copied", path)
	}
	st, err := stat(fd)
	if err == nil && kind(&st) == unix.S_IFSOCK {
		err = errors.New("it is a socket, which cannot be copied")
	}
	if err == nil && o.Name == "" && kind(&st) != unix.S_IFDIR {
		err = unix.ENOTDIR
	}
	if err != nil {
		unix.Close(fd)
		return fmt.Errorf("%q: %w", path, err)
	}
	if err := t.node(fd, o.Name, uint64(st.Dev), 0); err != nil {
		return s.explain(err)
	}
	return t.tar.Close()
}

type sender struct {
	ctx     context.Context
	side    *Side
	path    string // of the source
	tar     *tar.Writer
	options SendOptions
	links   inode.Links
	buffer  []byte
}

// maxDepth bounds how deep directories are nested; one descriptor is open for each.
const maxDepth = 500

// node sends what fd, a path descriptor, is open on, and closes it. dev is the file
// system that its parent is on.
func (t *sender) node(fd int, name string, dev uint64, depth int) error {
	defer unix.Close(fd)
	if err := t.ctx.Err(); err != nil {
		return err
	}
	st, err := stat(fd)
	if err != nil {
		return fmt.Errorf("stat %q: %w", t.shown(name), err)
	}
	switch kind(&st) {
	case unix.S_IFDIR:
		if uint64(st.Dev) != dev && (isKernels(fd) || isSecret(fd)) {
			return t.empty(name, &st)
		}
		return t.directory(fd, name, &st, depth)
	case unix.S_IFSOCK:
		t.note("%s is a socket, which cannot be copied", t.shown(name))
		return nil
	}
	if first, ok := t.links.First(&st, name); ok {
		hdr := inode.Header(name, tar.TypeLink, &st)
		hdr.Linkname = first
		return t.write(hdr)
	}
	if kind(&st) == unix.S_IFREG {
		return t.regular(fd, name, &st)
	}
	return t.special(fd, name, &st)
}

// shown is the path on its side of what the tar calls name.
func (t *sender) shown(name string) string {
	return below(t.path, strings.TrimPrefix(strings.TrimPrefix(name, t.options.Name), "/"))
}

func (t *sender) note(format string, arguments ...any) {
	if t.options.Note != nil {
		t.options.Note(fmt.Sprintf(format, arguments...))
	}
}

func (t *sender) write(hdr *tar.Header) error {
	if err := t.tar.WriteHeader(hdr); err != nil {
		return fmt.Errorf("entry %q: %w", hdr.Name, err)
	}
	return nil
}

func (t *sender) directory(fd int, name string, st *unix.Stat_t, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("directories are nested deeper than %d below %q", maxDepth, t.path)
	}
	opened, err := linux.OpenAt(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC)
	if err != nil {
		return fmt.Errorf("open %q: %w", t.shown(name), err)
	}
	directory := os.NewFile(uintptr(opened), name)
	defer directory.Close()
	hdr := inode.Header(name+"/", tar.TypeDir, st)
	if name == "" {
		hdr.Name = "./"
	}
	if err := addAttributes(opened, hdr); err != nil {
		return fmt.Errorf("attributes of %q: %w", t.shown(name), err)
	}
	if err := t.write(hdr); err != nil {
		return err
	}
	names, err := directory.Readdirnames(-1)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("read directory %q: %w", t.shown(name), err)
	}
	slices.Sort(names)
	for _, base := range names {
		if err := t.element(opened, base, join(name, base), uint64(st.Dev), depth+1); err != nil {
			return err
		}
	}
	return nil
}

func join(dir, base string) string {
	if dir == "" {
		return base
	}
	return dir + "/" + base
}

// element sends one element of an open directory; one that has gone since the
// directory was read never was.
func (t *sender) element(parent int, base, name string, dev uint64, depth int) error {
	const flags = unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC
	var fd int
	var err error
	if t.options.NoMounts {
		fd, err = linux.OpenSameMount(parent, base, flags)
	} else {
		fd, err = linux.OpenAt(parent, base, flags)
	}
	switch {
	case errors.Is(err, unix.ENOENT):
		return nil
	case errors.Is(err, unix.EXDEV):
		return t.mountPoint(parent, base, name)
	case err != nil:
		return fmt.Errorf("open %q: %w", t.shown(name), err)
	}
	return t.node(fd, name, dev, depth)
}

// mountPoint sends what something else is mounted on as empty, as `docker export` does.
func (t *sender) mountPoint(parent int, base, name string) error {
	st, err := statAt(parent, base)
	if err != nil {
		return fmt.Errorf("stat %q: %w", t.shown(name), err)
	}
	st.Uid, st.Gid = 0, 0 // of a bind mount it would be nobody
	switch kind(&st) {
	case unix.S_IFDIR:
		return t.empty(name, &st)
	case unix.S_IFREG:
		return t.write(inode.Header(name, tar.TypeReg, &st))
	}
	return nil
}

func (t *sender) empty(name string, st *unix.Stat_t) error {
	return t.write(inode.Header(name+"/", tar.TypeDir, st))
}

// regular sends a file with the size it has when it is opened. A file that becomes
// shorter while it is read is filled up with zeros, as GNU tar does: the log of a
// container that runs must not stop a copy.
func (t *sender) regular(fd int, name string, st *unix.Stat_t) error {
	opened, err := t.side.reopen(fd, unix.O_RDONLY)
	if err != nil {
		return fmt.Errorf("open %q: %w", t.shown(name), err)
	}
	file := os.NewFile(uintptr(opened), name)
	defer file.Close()
	hdr := inode.Header(name, tar.TypeReg, st)
	if now, err := stat(opened); err == nil {
		hdr.Size = now.Size
	}
	if err := addAttributes(opened, hdr); err != nil {
		return fmt.Errorf("attributes of %q: %w", t.shown(name), err)
	}
	if err := t.write(hdr); err != nil {
		return err
	}
	return t.content(file, name, hdr.Size)
}

const bufferSize = 256 << 10

func (t *sender) content(file *os.File, name string, size int64) error {
	if t.buffer == nil {
		t.buffer = make([]byte, bufferSize)
	}
	ended := false
	for size > 0 {
		if err := t.ctx.Err(); err != nil {
			return err
		}
		chunk := t.buffer[:min(bufferSize, size)]
		n := len(chunk)
		if ended {
			clear(chunk)
		} else {
			var err error
			n, err = file.Read(chunk)
			switch {
			case errors.Is(err, io.EOF):
				t.note("%s became shorter while it was read; the rest is zeros", t.shown(name))
				ended = true
				continue
			case err != nil:
				return fmt.Errorf("read %q: %w", t.shown(name), err)
			}
		}
		if _, err := t.tar.Write(chunk[:n]); err != nil {
			return err
		}
		size -= int64(n)
	}
	return nil
}

// special sends what has no content. It is not opened.
func (t *sender) special(fd int, name string, st *unix.Stat_t) error {
	hdr := inode.Header(name, tar.TypeFifo, st)
	switch kind(st) {
	case unix.S_IFIFO:
	case unix.S_IFLNK:
		target, err := inode.ReadLink(fd, "")
		if err != nil {
			return fmt.Errorf("read link %q: %w", t.shown(name), err)
		}
		hdr.Typeflag, hdr.Linkname = tar.TypeSymlink, target
	case unix.S_IFCHR, unix.S_IFBLK:
		hdr.Typeflag = tar.TypeChar
		if kind(st) == unix.S_IFBLK {
			hdr.Typeflag = tar.TypeBlock
		}
		hdr.Devmajor, hdr.Devminor = int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev))
	default:
		return fmt.Errorf("%q is of an unknown type, mode %o", t.shown(name), st.Mode)
	}
	return t.write(hdr)
}
