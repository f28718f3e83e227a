// Package inode reads what a tar says of files of the host, from open descriptors and
// the results of stat(2): who writes tars, of layers, copies and volumes, decides what of
// that goes in. It imports nothing of cocker.
package inode

import (
	"archive/tar"
	"errors"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// AttributeRecord begins the names of records of extended attributes in a PAX header:
// GNU tar, bsdtar and all container tools use it.
const AttributeRecord = "SCHILY.xattr."

// Header is the entry of an inode without link target, size and device. The PAX format
// keeps nanoseconds and names of any length.
func Header(name string, kind byte, st *unix.Stat_t) *tar.Header {
	return &tar.Header{
		Typeflag: kind,
		Name:     name,
		Mode:     int64(st.Mode & 0o7777),
		Uid:      int(st.Uid),
		Gid:      int(st.Gid),
		ModTime:  time.Unix(st.Mtim.Unix()),
		Format:   tar.FormatPAX,
	}
}

// AddAttribute adds an extended attribute to an entry.
func AddAttribute(hdr *tar.Header, name, value string) {
	if hdr.PAXRecords == nil {
		hdr.PAXRecords = map[string]string{}
	}
	hdr.PAXRecords[AttributeRecord+name] = value
}

// Links knows the first name of each file that has several.
type Links map[id]string

type id struct{ dev, ino uint64 }

// First returns the name under which a file went in first, if it was another one.
func (l Links) First(st *unix.Stat_t, name string) (string, bool) {
	if st.Nlink < 2 {
		return "", false
	}
	this := id{uint64(st.Dev), st.Ino}
	first, ok := l[this]
	if !ok {
		l[this] = name
	}
	return first, ok
}

// ReadLink reads a symbolic link of an open directory, or with an empty name the one
// that fd, a path descriptor, is open on.
func ReadLink(fd int, name string) (string, error) {
	buffer := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, name, buffer)
	if err != nil {
		return "", err
	}
	return string(buffer[:n]), nil
}

// Attributes lists the names of the extended attributes, sorted. A file system without
// attributes has none.
func Attributes(fd int) ([]string, error) {
	list, err := grow(func(buffer []byte) (int, error) { return unix.Flistxattr(fd, buffer) })
	if err != nil || list == "" {
		return nil, err
	}
	names := strings.Split(strings.TrimSuffix(list, "\x00"), "\x00")
	slices.Sort(names)
	return names, nil
}

// Attribute reads one.
func Attribute(fd int, name string) (string, error) {
	return grow(func(buffer []byte) (int, error) { return unix.Fgetxattr(fd, name, buffer) })
}

// grow calls a function that wants a large enough buffer, with up to the 64 KiB that the
// kernel allows for a value and for a list of names (xattr(7)).
func grow(call func([]byte) (int, error)) (string, error) {
	var small [256]byte
	buffer := small[:]
	for {
		n, err := call(buffer)
		switch {
		case err == nil:
			return string(buffer[:n]), nil
		case errors.Is(err, unix.ENOTSUP):
			return "", nil
		case !errors.Is(err, unix.ERANGE) || len(buffer) >= 1<<16:
			return "", err
		}
		buffer = make([]byte, 1<<16)
	}
}
