package pack

import (
	"bytes"
	"errors"
	"io"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/image/unpack"
	"github.com/cocker/cocker/internal/inode"
)

// isWhiteout knows both forms of overlayfs: a character device 0:0 and, since
// Linux 6.7, an empty file with the attribute trusted.overlay.whiteout.
func isWhiteout(parent int, base string, st unix.Stat_t) (bool, error) {
	if isWhiteoutNode(st) {
		return true, nil
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size != 0 {
		return false, nil
	}
	fd, err := openElement(parent, base, 0)
	if vanished(err) {
		return false, nil
	}
	if err != nil {
		return false, entryError("open", base, err)
	}
	defer unix.Close(fd)
	return hasAttr(fd, whiteoutAttr), nil
}

func hasAttr(fd int, name string) bool {
	var value [1]byte
	_, err := unix.Fgetxattr(fd, name, value[:])
	return err == nil || errors.Is(err, unix.ERANGE)
}

// sameElement says whether a leaf of the writable layer is what it was below: then
// overlayfs has copied it up for a change that changed nothing. One of several names
// never is, as its other names may be new.
func sameElement(parent int, base string, st unix.Stat_t, there found) (bool, error) {
	old := there.st
	if st.Nlink != 1 || st.Mtim != old.Mtim || st.Size != old.Size || st.Rdev != old.Rdev || st.Mode&unix.S_IFMT != old.Mode&unix.S_IFMT {
		return false, nil
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return sameFile(parent, base, st, there)
	case unix.S_IFLNK:
		a, err := inode.ReadLink(parent, base)
		if err != nil {
			return false, err
		}
		b, err := inode.ReadLink(there.parent, base)
		return err == nil && a == b && sameOwner(st, old), err
	}
	return sameOwner(st, old), nil
}

func sameOwner(a, b unix.Stat_t) bool { return a.Mode == b.Mode && a.Uid == b.Uid && a.Gid == b.Gid }

func sameFile(parent int, base string, st unix.Stat_t, there found) (bool, error) {
	a, err := openElement(parent, base, 0)
	if err != nil {
		return false, err
	}
	above := os.NewFile(uintptr(a), base)
	defer above.Close()
	b, err := openElement(there.parent, base, 0)
	if err != nil {
		return false, err
	}
	below := os.NewFile(uintptr(b), base)
	defer below.Close()
	if same, err := sameMeta(a, st, b, there.st); !same || err != nil {
		return false, err
	}
	return sameContent(above, below)
}

// sameMeta compares what an image keeps of two open files beside time and content.
func sameMeta(a int, stA unix.Stat_t, b int, stB unix.Stat_t) (bool, error) {
	if !sameOwner(stA, stB) {
		return false, nil
	}
	attrsA, err := keptAttrs(a)
	if err != nil {
		return false, err
	}
	attrsB, err := keptAttrs(b)
	return slices.Equal(attrsA, attrsB), err
}

// keptAttrs are the names and values of attributes that belong to an image.
func keptAttrs(fd int) ([]string, error) {
	names, err := inode.Attributes(fd)
	if err != nil {
		return nil, err
	}
	var attrs []string
	for _, name := range names {
		if !unpack.KeepAttr(name) {
			continue
		}
		value, err := inode.Attribute(fd, name)
		if err != nil && !errors.Is(err, unix.ENODATA) {
			return nil, err
		}
		attrs = append(attrs, name, value)
	}
	return attrs, nil
}

func sameContent(a, b io.Reader) (bool, error) {
	bufA, bufB := make([]byte, 64<<10), make([]byte, 64<<10)
	for {
		n, errA := io.ReadFull(a, bufA)
		m, errB := io.ReadFull(b, bufB)
		if !bytes.Equal(bufA[:n], bufB[:m]) {
			return false, nil
		}
		for _, err := range []error{errA, errB} {
			if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
				return false, err
			}
		}
		if errA != nil || errB != nil {
			return true, nil
		}
	}
}
