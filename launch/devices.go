package launch

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/config"
)

// checkDisks makes sure that each limit of [resources] counts. systemd leaves one
// out, with a warning, whose path leads to no disk; and of two paths that lead to
// the same disk it applies the last one's limits, with none where that has none
// (cgroup_apply_io_device_limit() in its cgroup.c writes all four for each path).
func checkDisks(c *config.Container) error {
	paths := map[string]string{} // by disk
	for _, limit := range c.Resources.DeviceLimits() {
		disk, err := diskOf(limit.Path)
		if err != nil {
			return fmt.Errorf("no disk can be found for the limit %q: %w; correct it in [resources] of %s", limit, err, c.Sources[0])
		}
		if other := paths[disk]; other != "" && other != limit.Path {
			return fmt.Errorf("the limits of %s and %s are for the same disk, %s, and only one would count; name the disk by one path in [resources] of %s",
				other, limit.Path, disk, c.Sources[0])
		}
		if disk != "" {
			paths[disk] = limit.Path
		}
	}
	return nil
}

// diskOf finds the disk of a path as lookup_block_device() of systemd's cgroup.c
// does: "vda" for /dev/vda1 or a file on it, "" for a disk that only btrfs knows.
func diskOf(path string) (string, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	var fs unix.Statfs_t
	switch {
	case st.Mode&unix.S_IFMT == unix.S_IFBLK:
		return wholeDisk(st.Rdev), nil
	case unix.Major(st.Dev) != 0:
		return wholeDisk(st.Dev), nil
	case unix.Statfs(path, &fs) == nil && fs.Type == unix.BTRFS_SUPER_MAGIC:
		return "", nil
	}
	return "", fmt.Errorf("%s is neither a block device nor on one", path)
}

// wholeDisk goes from an encrypted or mapped device to the only one below it, and
// from a partition to its disk.
func wholeDisk(device uint64) string {
	dir, err := filepath.EvalSymlinks(fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(device), unix.Minor(device)))
	if err != nil {
		return fmt.Sprintf("%d:%d", unix.Major(device), unix.Minor(device))
	}
	for {
		below, err := filepath.Glob(filepath.Join(dir, "slaves", "*"))
		if err != nil || len(below) != 1 {
			break
		}
		if dir, err = filepath.EvalSymlinks(below[0]); err != nil {
			return filepath.Base(below[0])
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "partition")); err == nil {
		dir = filepath.Dir(dir)
	}
	return strings.ReplaceAll(filepath.Base(dir), "!", "/") // as sysfs spells cciss/c0d0
}
