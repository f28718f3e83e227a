package image

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// differ says in which way two trees are not the same, by the first node that differs:
// type, owner, mode, time, extended attributes, content, links. "": they are.
func differ(want, got string) (string, error) {
	c := comparison{want: want, got: got, links: map[uint64]uint64{}}
	err := filepath.WalkDir(want, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		c.path, err = filepath.Rel(want, path)
		if err == nil {
			err = c.node()
		}
		if err == nil && c.difference != "" {
			return filepath.SkipAll
		}
		return err
	})
	if err != nil || c.difference == "" {
		return "", err
	}
	return fmt.Sprintf("%q: %s", c.path, c.difference), nil
}

type comparison struct {
	want, got  string
	path       string            // relative
	links      map[uint64]uint64 // inodes with several names, of want to got
	difference string
}

func (c *comparison) node() error {
	var want, got unix.Stat_t
	if err := unix.Lstat(filepath.Join(c.want, c.path), &want); err != nil {
		return err
	}
	if err := unix.Lstat(filepath.Join(c.got, c.path), &got); err != nil {
		c.difference = "it cannot be looked at: " + err.Error()
		return nil //nolint:nilerr // that is the finding
	}
	c.difference = differentStat(&want, &got)
	if c.difference == "" && want.Nlink > 1 && want.Mode&unix.S_IFMT != unix.S_IFDIR {
		if other, seen := c.links[want.Ino]; seen && other != got.Ino {
			c.difference = "not the same hard link"
		}
		c.links[want.Ino] = got.Ino
	}
	for _, differs := range []func(kind uint32) (string, error){c.attributes, c.names, c.target, c.content} {
		if c.difference != "" {
			return nil
		}
		var err error
		if c.difference, err = differs(want.Mode & unix.S_IFMT); err != nil {
			return err
		}
	}
	return nil
}

func differentStat(want, got *unix.Stat_t) string {
	switch {
	case want.Mode != got.Mode:
		return fmt.Sprintf("type and mode are %o, not %o", got.Mode, want.Mode)
	case want.Uid != got.Uid || want.Gid != got.Gid:
		return fmt.Sprintf("the owner is %d:%d, not %d:%d", got.Uid, got.Gid, want.Uid, want.Gid)
	case want.Rdev != got.Rdev:
		return fmt.Sprintf("it is device %#x, not %#x", got.Rdev, want.Rdev)
	case want.Mode&unix.S_IFMT == unix.S_IFREG && want.Size != got.Size:
		return fmt.Sprintf("it has %d bytes, not %d", got.Size, want.Size)
	case want.Mode&unix.S_IFMT == unix.S_IFREG && want.Nlink != got.Nlink:
		return fmt.Sprintf("it has %d hard links, not %d", got.Nlink, want.Nlink)
	case want.Mtim != got.Mtim:
		return "its time of modification is another one"
	}
	return ""
}

func (c *comparison) attributes(uint32) (string, error) {
	want, err := attributesOf(filepath.Join(c.want, c.path))
	if err != nil {
		return "", err
	}
	got, err := attributesOf(filepath.Join(c.got, c.path))
	if err != nil || slices.Equal(want, got) {
		return "", err
	}
	return "its extended attributes are others", nil
}

// attributesOf lists names and values of extended attributes, sorted. What a security
// module of this host has added, such as a label, is not the layer's.
func attributesOf(path string) (list []string, err error) {
	buf := make([]byte, 64<<10) // XATTR_LIST_MAX and XATTR_SIZE_MAX
	n, err := unix.Llistxattr(path, buf)
	if err != nil {
		return nil, &os.PathError{Op: "listxattr", Path: path, Err: err}
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00") {
		if name == "" || strings.HasPrefix(name, "security.") && name != "security.capability" {
			continue
		}
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			return nil, &os.PathError{Op: "getxattr", Path: path, Err: err}
		}
		list = append(list, name+"="+string(value[:n]))
	}
	slices.Sort(list)
	return list, nil
}

// names finds what is in a directory and should not be.
func (c *comparison) names(kind uint32) (string, error) {
	if kind != unix.S_IFDIR {
		return "", nil
	}
	want, err := os.ReadDir(filepath.Join(c.want, c.path))
	if err != nil {
		return "", err
	}
	got, err := os.ReadDir(filepath.Join(c.got, c.path))
	if err != nil {
		return "", err
	}
	for _, e := range got {
		_, found := slices.BinarySearchFunc(want, e.Name(), func(w fs.DirEntry, name string) int { return strings.Compare(w.Name(), name) })
		if !found {
			return fmt.Sprintf("%q in it should not be there", e.Name()), nil
		}
	}
	return "", nil
}

func (c *comparison) target(kind uint32) (string, error) {
	if kind != unix.S_IFLNK {
		return "", nil
	}
	want, err := os.Readlink(filepath.Join(c.want, c.path))
	if err != nil {
		return "", err
	}
	got, err := os.Readlink(filepath.Join(c.got, c.path))
	if err != nil || got == want {
		return "", err
	}
	return fmt.Sprintf("it links to %q, not %q", got, want), nil
}

func (c *comparison) content(kind uint32) (string, error) {
	if kind != unix.S_IFREG {
		return "", nil
	}
	want, err := os.Open(filepath.Join(c.want, c.path))
	if err != nil {
		return "", err
	}
	defer want.Close()
	got, err := os.Open(filepath.Join(c.got, c.path))
	if err != nil {
		return "", err
	}
	defer got.Close()
	a, b := make([]byte, 64<<10), make([]byte, 64<<10)
	for {
		n, errWant := io.ReadFull(want, a)
		m, errGot := io.ReadFull(got, b)
		if errGot != nil && errGot != io.EOF && errGot != io.ErrUnexpectedEOF {
			return fmt.Sprintf("it cannot be read: %v", errGot), nil
		}
		if n != m || !bytes.Equal(a[:n], b[:m]) {
			return "its content is another one", nil
		}
		if errWant == io.EOF || errWant == io.ErrUnexpectedEOF {
			return "", nil
		}
		if errWant != nil {
			return "", errWant
		}
	}
}
