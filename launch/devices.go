package launch

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/config"
)

// checkDisks makes sure that each limit of [resources] has a disk. systemd looks
// for it in the same way (lookup_block_device() in its cgroup.c) but only logs a
// warning if there is none, and the container would run without the limit.
func checkDisks(c *config.Container) error {
	for _, limit := range c.Resources.DeviceLimits() {
		if err := checkDisk(limit.Path); err != nil {
			return fmt.Errorf("no disk can be found for the limit %q: %w; correct it in [resources] of %s", limit, err, c.Sources[0])
		}
	}
	return nil
}

func checkDisk(path string) error {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	var fs unix.Statfs_t
	switch {
	case st.Mode&unix.S_IFMT == unix.S_IFBLK, unix.Major(st.Dev) != 0:
		return nil
	case unix.Statfs(path, &fs) == nil && fs.Type == unix.BTRFS_SUPER_MAGIC: // its device numbers are of no disk
		return nil
	}
	return fmt.Errorf("%s is neither a block device nor on one", path)
}
