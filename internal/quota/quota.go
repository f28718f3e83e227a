// Package quota limits how much disk space directory trees take, by the project quota
// of ext4 and xfs. It imports internal/linux only.
//
// A tree has a project id, which the kernel counts its blocks by; new files inherit it
// (FS_XFLAG_PROJINHERIT, ioctl_xfs_fssetxattr(2)). There is no list of ids in use: the
// kernel's own count tells. An id that nothing is counted for belongs to nobody, and
// one that is given to a directory is counted from then on, until the last file of it
// is gone.
package quota

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Limit sets how many bytes the tree may take, and with them how many files and
// directories; 0: as many as there are. A tree without
// a project gets one first, with everything in it, and nobody else may write to it
// meanwhile. lock is an existing directory that all who call this lock while they
// choose an id. After an interruption the next call completes the work.
func Limit(lock, tree string, bytes uint64) error {
	root, err := os.Open(tree)
	if err != nil {
		return err
	}
	defer root.Close()
	if bytes == 0 {
		return lift(root)
	}
	if err := enforced(root); err != nil {
		return err
	}
	id, err := assign(lock, root)
	if err != nil {
		return err
	}
	return setLimit(root, id, bytes)
}

// Assign gives the tree a project, if it can have one and has none, so that a limit
// can be set at any time.
func Assign(lock, tree string) error {
	root, err := os.Open(tree)
	if err != nil {
		return err
	}
	defer root.Close()
	if enforced(root) != nil {
		return nil
	}
	_, err = assign(lock, root)
	return err
}

// Assigned tells whether the tree has a project, and a limit needs no look at all that
// is in it.
func Assigned(tree string) bool {
	root, err := os.Open(tree)
	if err != nil {
		return false
	}
	defer root.Close()
	attributes, err := getAttributes(root)
	return err == nil && attributes.whole()
}

// Release lifts the limit of a tree that is about to be removed, so that the next
// owner of its id begins without. A tree that is gone has none.
func Release(tree string) error {
	err := Limit("", tree, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Usage is what the kernel has counted for a tree.
type Usage struct {
	Limit uint64 // bytes; 0: none
	Used  uint64 // bytes
}

// Read returns the limit and the use of a tree; false where no project quota counts.
func Read(tree string) (Usage, bool) {
	root, err := os.Open(tree)
	if err != nil {
		return Usage{}, false
	}
	defer root.Close()
	attributes, err := getAttributes(root)
	if err != nil || !attributes.ours() || !attributes.whole() || enforced(root) != nil {
		return Usage{}, false
	}
	count, err := get(root, attributes.project)
	if err != nil {
		return Usage{}, false
	}
	return Usage{Limit: count.hardBlocks * blockSize, Used: count.space}, true
}

// lift takes the limit of a tree away. Where quota is off, or there is no project,
// there is none.
func lift(root *os.File) error {
	attributes, err := getAttributes(root)
	if err != nil || !attributes.ours() || enforced(root) != nil {
		return nil
	}
	return setLimit(root, attributes.project, 0)
}

// perInode is how many bytes of a limit allow one file more. Empty files take no space
// that is counted, but ext4 has only so many inodes, and xfs takes space for them that
// it counts for nobody. A file with content takes a block of that size anyway.
const perInode = 4096

func setLimit(root *os.File, id uint32, bytes uint64) error {
	limit := count{hardBlocks: (bytes + blockSize - 1) / blockSize, hardInodes: (bytes + perInode - 1) / perInode, valid: validLimits}
	if err := call(root, setQuota, id, &limit); err != nil {
		return fmt.Errorf("limit the disk space of %q: %w", root.Name(), err)
	}
	return nil
}

func get(root *os.File, id uint32) (count, error) {
	var c count
	err := call(root, getQuota, id, &c)
	if errors.Is(err, unix.ENOENT) { // xfs: never used
		return count{}, nil
	}
	if err != nil {
		return c, fmt.Errorf("quota of project %d on %q: %w", id, root.Name(), err)
	}
	return c, nil
}
