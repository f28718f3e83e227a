package treecopy

import (
	"archive/tar"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/image/unpack"
	"github.com/cocker/cocker/internal/inode"
)

// kernels are the file systems whose files are made up when they are read, some of
// them with an effect.
var kernels = []int64{
	unix.PROC_SUPER_MAGIC, unix.SYSFS_MAGIC, unix.CGROUP_SUPER_MAGIC, unix.CGROUP2_SUPER_MAGIC, unix.DEVPTS_SUPER_MAGIC,
	unix.DEBUGFS_MAGIC, unix.TRACEFS_MAGIC, unix.SECURITYFS_MAGIC, unix.BPF_FS_MAGIC, unix.PSTOREFS_MAGIC,
	unix.EFIVARFS_MAGIC, unix.BINFMTFS_MAGIC, 0x62656570, // configfs
	0x19800202, // mqueue
}

func isKernels(fd int) bool { return slices.Contains(kernels, typeOf(fd)) }

// isSecret tells the file system of a container's credentials, which no copy is given:
// that it is in memory only is what they rely on.
func isSecret(fd int) bool { return typeOf(fd) == unix.RAMFS_MAGIC }

// typeOf is the type of the file system that fd is open on.
func typeOf(fd int) int64 {
	var st unix.Statfs_t
	if unix.Fstatfs(fd, &st) != nil {
		return 0
	}
	return int64(st.Type)
}

// addAttributes adds the extended attributes that mean something elsewhere, too. A
// name with "=" has no form in a PAX header.
func addAttributes(fd int, hdr *tar.Header) error {
	names, err := inode.Attributes(fd)
	if err != nil {
		return err
	}
	for _, name := range names {
		if !unpack.KeepAttr(name) || strings.Contains(name, "=") {
			continue
		}
		value, err := inode.Attribute(fd, name)
		if errors.Is(err, unix.ENODATA) {
			continue // removed since it was listed
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		inode.AddAttribute(hdr, name, value)
	}
	return nil
}
