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
	if st.Dev != u.device {
		return nil // something is mounted here
	}
	directory := st.Mode&unix.S_IFMT == unix.S_IFDIR
	if st.Nlink > 1 && !directory {
		key := inode{st.Dev, st.Ino}
		if u.seen[key] {
			return nil
		}
		u.seen[key] = true
	}
	u.bytes += st.Blocks * 512 // stat(2): whatever the file system's own blocks are
	if !directory {
		return nil
	}
	fd, err := unix.Openat(parent, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	dir := os.NewFile(uintptr(fd), name)
	defer dir.Close()
	return u.addEntries(dir)
}

func (u *usage) addEntries(dir *os.File) error {
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		var st unix.Stat_t
		err := unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW)
		if err == nil {
			err = u.add(int(dir.Fd()), name, &st)
		}
		if err != nil && !vanished(err) {
			return err
		}
	}
	return nil
}

// vanished tells what a rename or a removal at the same time makes of a look-up.
func vanished(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP)
}
