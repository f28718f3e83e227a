package unpack

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// place is where an entry goes: an element of an open directory.
type place struct {
	parent int
	base   string
	name   string // the whole clean name
}

// stat looks at what is there; a symbolic link is not followed.
func (p place) stat() (unix.Stat_t, error) {
	var st unix.Stat_t
	err := unix.Fstatat(p.parent, p.base, &st, unix.AT_SYMLINK_NOFOLLOW)
	return st, err
}

// clear removes what is there, a directory with all that is in it.
func (t *tree) clear(p place) error {
	_, err := p.stat()
	if err == unix.ENOENT {
		return nil
	}
	if err != nil {
		return os.NewSyscallError("stat", err)
	}
	t.stale = true
	if err := removeAll(p.parent, p.base); err != nil {
		return fmt.Errorf("remove what is in its place: %w", err)
	}
	return nil
}

// removeAll removes an element of an open directory. Symbolic links are removed,
// not followed.
func removeAll(parent int, base string) error {
	err := unix.Unlinkat(parent, base, 0)
	if err != unix.EISDIR {
		return os.NewSyscallError("unlink", err)
	}
	fd, err := unix.Openat(parent, base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("open", err)
	}
	dir := os.NewFile(uintptr(fd), base)
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := removeAll(fd, name); err != nil {
			return err
		}
	}
	return os.NewSyscallError("rmdir", unix.Unlinkat(parent, base, unix.AT_REMOVEDIR))
}

// Whiteouts as the image specification writes them, and as overlayfs does.
const (
	whiteoutPrefix = ".wh."
	metaPrefix     = ".wh..wh." // aufs's own files; all but the next mean nothing here
	opaqueMarker   = ".wh..wh..opq"
	opaqueAttr     = "trusted.overlay.opaque"
)

func isWhiteout(base string) bool { return strings.HasPrefix(base, whiteoutPrefix) }

func isWhiteoutNode(st unix.Stat_t) bool {
	return st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0
}

// addWhiteout hides something of the layers below. What this layer itself has
// under the name stays, whichever of the two entries comes first.
func (t *tree) addWhiteout(parent int, parentName, base string) error {
	if base == opaqueMarker {
		return node{fd: parent, path: true}.setAttr(opaqueAttr, "y")
	}
	if strings.HasPrefix(base, metaPrefix) {
		return nil
	}
	hidden := base[len(whiteoutPrefix):]
	if hidden == "" || hidden == "." || hidden == ".." {
		return fmt.Errorf("whiteout of %q", hidden)
	}
	p := place{parent: parent, base: hidden, name: parentName + "/" + hidden}
	st, err := p.stat()
	switch {
	case err == unix.ENOENT:
		return os.NewSyscallError("mknod", unix.Mknodat(parent, hidden, unix.S_IFCHR, 0))
	case err != nil:
		return os.NewSyscallError("stat", err)
	case st.Mode&unix.S_IFMT == unix.S_IFDIR:
		return p.setOpaque()
	}
	return nil
}

// setOpaque hides what the directory of the layers below has in it.
func (p place) setOpaque() error {
	fd, err := unix.Openat(p.parent, p.base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("open", err)
	}
	defer unix.Close(fd)
	return node{fd: fd}.setAttr(opaqueAttr, "y")
}
