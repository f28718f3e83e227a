package treecopy

import (
	"archive/tar"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/image/unpack"
)

// header is the entry of a node without link target, size and device. The PAX format
// keeps nanoseconds and names of any length.
func header(name string, kind byte, st *unix.Stat_t) *tar.Header {
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

// kernels are the file systems whose files are made up when they are read, some of
// them with an effect.
var kernels = []int64{
	unix.PROC_SUPER_MAGIC, unix.SYSFS_MAGIC, unix.CGROUP_SUPER_MAGIC, unix.CGROUP2_SUPER_MAGIC, unix.DEVPTS_SUPER_MAGIC,
	unix.DEBUGFS_MAGIC, unix.TRACEFS_MAGIC, unix.SECURITYFS_MAGIC, unix.BPF_FS_MAGIC, unix.PSTOREFS_MAGIC,
	unix.EFIVARFS_MAGIC, unix.BINFMTFS_MAGIC, 0x62656570, // configfs
	0x19800202, // mqueue
}

func isKernels(fd int) bool {
	var st unix.Statfs_t
	return unix.Fstatfs(fd, &st) == nil && slices.Contains(kernels, int64(st.Type))
}

const attrRecord = "SCHILY.xattr." // GNU tar, bsdtar and all container tools use it

// addAttributes adds the extended attributes that mean something elsewhere, too. A
// name with "=" has no form in a PAX header.
func addAttributes(fd int, hdr *tar.Header) error {
	names, err := listAttributes(fd)
	if err != nil {
		return err
	}
	for _, name := range names {
		if !unpack.KeepAttr(name) || strings.Contains(name, "=") {
			continue
		}
		value, err := grow(func(b []byte) (int, error) { return unix.Fgetxattr(fd, name, b) })
		if errors.Is(err, unix.ENODATA) {
			continue // removed since it was listed
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if hdr.PAXRecords == nil {
			hdr.PAXRecords = map[string]string{}
		}
		hdr.PAXRecords[attrRecord+name] = string(value)
	}
	return nil
}

func listAttributes(fd int) ([]string, error) {
	list, err := grow(func(b []byte) (int, error) { return unix.Flistxattr(fd, b) })
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return strings.Split(strings.TrimSuffix(string(list), "\x00"), "\x00"), nil
}

// grow calls a function that wants a large enough buffer, with up to the 64 KiB that
// the kernel allows for a value and for a list of names (xattr(7)).
func grow(call func([]byte) (int, error)) ([]byte, error) {
	for _, size := range []int{256, 1 << 16} {
		buffer := make([]byte, size)
		n, err := call(buffer)
		switch {
		case err == nil:
			return buffer[:n], nil
		case errors.Is(err, unix.ENOTSUP):
			return nil, nil // a file system without attributes
		case !errors.Is(err, unix.ERANGE):
			return nil, err
		}
	}
	return nil, unix.E2BIG
}
