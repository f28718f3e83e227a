package launch

import (
	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/internal/linux"
)

// rescuePrograms are tried in this order. Debian has a busybox that needs no libraries
// in the first place.
var rescuePrograms = []string{"/usr/bin/busybox", "/bin/busybox"}

// openRescue opens the host's busybox, of which init makes a shell for images that have
// none; -1: there is none here either. Init executes the descriptor, so nothing is
// mounted, and for the container's ids the file is read-only.
func openRescue() int {
	for _, path := range rescuePrograms {
		if fd, err := linux.Open(path, unix.O_RDONLY); err == nil {
			return fd
		}
	}
	return -1
}
