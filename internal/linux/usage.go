package linux

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// DiskUsage is the space that trees take on their file systems, in bytes, as du(1)
// counts: blocks, not lengths, and an inode with several names once. It follows no
// link and stays on the file system of each tree. What vanishes meanwhile, as
// containers may be at work in it, is left out; so is a tree that does not exist.
func DiskUsage(trees ...string) (int64, error) {
	u := usage{seen: map[inode]bool{}}
	var errs []error
	for _, tree := range trees {
		var st unix.Stat_t
		err := unix.Lstat(tree, &st)
		if err == nil {
			u.device = st.Dev
			err = u.add(unix.AT_FDCWD, tree, &st)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("size of %q: %w", tree, err))
		}
	}
	return u.bytes, errors.Join(errs...)
}

type inode struct{ device, number uint64 }

type usage struct {
	bytes  int64
	device uint64
	seen   map[inode]bool // of those with several names
}

// add counts one node, and what is below it. Descriptors lead down, so that nobody
// who renames directories meanwhile can lead it elsewhere.
func (u *usage) add(parent int, name string, st *unix.Stat_t) error {
	if !u.count(st) {
		return nil
	}
	fd, err := unix.Openat(parent, name, usageFlags, 0)
	if err != nil {
		return err
	}
	dir := &usageDir{fd: fd}
	defer dir.close()
	return u.entries(dir, 0)
}

// count counts a node, and says whether there may be some below it.
func (u *usage) count(st *unix.Stat_t) (directory bool) {
	if st.Dev != u.device {
		return false // something is mounted here
	}
	directory = st.Mode&unix.S_IFMT == unix.S_IFDIR
	if st.Nlink > 1 && !directory {
		key := inode{st.Dev, st.Ino}
		if u.seen[key] {
			return false
		}
		u.seen[key] = true
	}
	u.bytes += st.Blocks * 512 // stat(2): whatever the file system's own blocks are
	return directory
}

const usageFlags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC

// usageDir is a directory that is being counted; its descriptor is -1 while it is
// closed.
type usageDir struct {
	fd int
	id inode
}

func (d *usageDir) close() {
	if d.fd >= 0 {
		unix.Close(d.fd)
	}
	d.fd = -1
}

// openDepth bounds the descriptors: a container can nest directories deeper than a
// process may have files open. Those above are closed, and found again by "..".
const openDepth = 200

func (u *usage) entries(dir *usageDir, depth int) error {
	var st unix.Stat_t
	if err := unix.Fstat(dir.fd, &st); err != nil {
		return err
	}
	dir.id = inode{st.Dev, st.Ino}
	names, err := namesIn(dir.fd)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := u.entry(dir, name, depth); err != nil && !vanished(err) {
			return err
		}
		if dir.fd < 0 {
			return nil // it was moved elsewhere while it was closed
		}
	}
	return nil
}

func (u *usage) entry(dir *usageDir, name string, depth int) error {
	var st unix.Stat_t
	if err := unix.Fstatat(dir.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if !u.count(&st) {
		return nil
	}
	fd, err := unix.Openat(dir.fd, name, usageFlags, 0)
	if err != nil {
		return err
	}
	child := &usageDir{fd: fd}
	defer child.close()
	if depth < openDepth {
		return u.entries(child, depth+1)
	}
	dir.close()
	err = u.entries(child, depth+1)
	if child.fd < 0 {
		return err
	}
	up, upErr := unix.Openat(child.fd, "..", usageFlags, 0)
	if upErr != nil {
		return errors.Join(err, upErr)
	}
	var now unix.Stat_t
	if unix.Fstat(up, &now) != nil || (inode{now.Dev, now.Ino}) != dir.id {
		unix.Close(up)
		return err
	}
	dir.fd = up
	return err
}

// namesIn reads a directory, whose descriptor stays open.
func namesIn(fd int) ([]string, error) {
	again, err := unix.Openat(fd, ".", usageFlags, 0)
	if err != nil {
		return nil, err
	}
	dir := os.NewFile(uintptr(again), ".")
	defer dir.Close()
	return dir.Readdirnames(-1)
}

// vanished tells what a rename or a removal at the same time makes of a look-up.
func vanished(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP)
}
