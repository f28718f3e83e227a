package unpack

import (
	"archive/tar"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// node is an open node of the tree. A path descriptor (O_PATH) knows fewer system
// calls; for those it is named by its magic link, which cannot lead elsewhere.
type node struct {
	fd   int
	path bool
}

func (n node) magic() string { return "/proc/self/fd/" + strconv.Itoa(n.fd) }

// setMeta gives a node the owner, attributes, mode and times of its entry. The
// order matters: chown clears set-uid bits and file capabilities.
func (t *tree) setMeta(n node, hdr *tar.Header) error {
	if err := unix.Fchownat(n.fd, "", hdr.Uid, hdr.Gid, unix.AT_EMPTY_PATH); err != nil {
		return os.NewSyscallError("chown", err)
	}
	if err := t.setAttrs(n, hdr); err != nil {
		return err
	}
	if err := n.chmod(hdr); err != nil {
		return err
	}
	if hdr.Typeflag == tar.TypeDir {
		return nil // its time comes last of all
	}
	return setTimes(n.fd, hdr.ModTime)
}

func (n node) chmod(hdr *tar.Header) error {
	mode := uint32(hdr.Mode & 0o7777)
	switch {
	case hdr.Typeflag == tar.TypeSymlink:
		return nil // Linux knows none
	case n.path:
		return os.NewSyscallError("chmod", unix.Chmod(n.magic(), mode))
	}
	return os.NewSyscallError("chmod", unix.Fchmod(n.fd, mode))
}

func (n node) setAttr(name, value string) error {
	var err error
	if n.path {
		err = unix.Setxattr(n.magic(), name, []byte(value), 0)
	} else {
		err = unix.Fsetxattr(n.fd, name, []byte(value), 0)
	}
	if err != nil {
		return fmt.Errorf("set extended attribute %s: %w", name, err)
	}
	return nil
}

const attrRecord = "SCHILY.xattr." // GNU tar, bsdtar and all container tools use it

func (t *tree) setAttrs(n node, hdr *tar.Header) error {
	count := 0
	for _, record := range slices.Sorted(maps.Keys(hdr.PAXRecords)) {
		name, ok := strings.CutPrefix(record, attrRecord)
		if !ok {
			continue
		}
		if count++; count > maxAttributes {
			return fmt.Errorf("more than %d extended attributes", maxAttributes)
		}
		if !KeepAttr(name) && (!t.plain || !plainAttr(name)) {
			t.noteAttr(name, hdr.Name)
			continue
		}
		if err := n.setAttr(name, hdr.PAXRecords[record]); err != nil {
			return err
		}
	}
	return nil
}

// noteAttr tells of each attribute once: on some hosts every file has a label.
func (t *tree) noteAttr(attr, entry string) {
	if !t.noted[attr] && len(t.noted) < maxAttributes {
		t.noted[attr] = true
		t.note(fmt.Sprintf("%s: the extended attribute %s is not imported, here and elsewhere", entry, attr))
	}
}

// KeepAttr says which extended attributes belong to an image: the user's and file
// capabilities. The others belong to the machine they were made on, or to
// overlayfs, and a layer must not bring them along:
//   - trusted.overlay.* (user.overlay.* for some mounts) would make overlayfs show
//     files under other names (redirect) or without content (metacopy);
//   - security.selinux, .ima, .evm are labels and signatures of one host's policy;
//   - system.posix_acl_* name users by ids that nothing checks.
func KeepAttr(name string) bool {
	if strings.HasPrefix(name, "user.overlay.") {
		return false
	}
	return strings.HasPrefix(name, "user.") || name == "security.capability"
}

// plainAttr says what a tree that is no layer has besides. Its access control lists
// name users by the ids that it has on the disk, as its owners do.
func plainAttr(name string) bool {
	return strings.HasPrefix(name, "user.") || name == "system.posix_acl_access" || name == "system.posix_acl_default"
}

// setTimes sets both times to the entry's; archives seldom have the time of access.
func setTimes(fd int, mtime time.Time) error {
	ts, err := unix.TimeToTimespec(mtime)
	if err != nil {
		return fmt.Errorf("time %v: %w", mtime, err)
	}
	err = unix.UtimesNanoAt(fd, "", []unix.Timespec{ts, ts}, unix.AT_EMPTY_PATH)
	return os.NewSyscallError("utimensat", err)
}
