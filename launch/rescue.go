package launch

import (
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/internal/linux"
)

// rescuePrograms are tried in this order. Debian has a busybox that needs no libraries
// in the first place.
var rescuePrograms = []string{"/usr/bin/busybox", "/bin/busybox"}

// openRescue opens the host's busybox, of which init makes a shell for images that have
// none; -1: there is none here either. Init executes the descriptor, so nothing of it is to
// be seen in the container.
func openRescue() int {
	for _, path := range rescuePrograms {
		if fd, err := openReadOnly(path); err == nil {
			return fd
		}
	}
	return -1
}

// openReadOnly opens a file on a mount of its own that is read-only: who runs it could write
// to it through /proc/PID/exe otherwise, if the container's root were the host's
// (CVE-2019-5736).
func openReadOnly(path string) (fd int, err error) {
	mount, err := linux.CloneMount(path, false)
	if err != nil {
		return -1, err
	}
	defer unix.Close(mount)
	if err := linux.SetAttributes(mount, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV, false); err != nil {
		return -1, err
	}
	return linux.Open("/proc/self/fd/"+strconv.Itoa(mount), unix.O_RDONLY)
}
