package launch

import "github.com/cocker/cocker/internal/linux"

// rescuePrograms are tried in this order. Debian has a busybox that needs no libraries
// in the first place.
var rescuePrograms = []string{"/usr/bin/busybox", "/bin/busybox"}

// openRescue opens the host's busybox, of which init makes a shell for images that have
// none; -1: there is none here either. Init executes the descriptor, so nothing of it is to
// be seen in the container; and the mount that the file is on is read-only, so that who
// gets hold of the descriptor, or of /proc/PID/exe of the shell, cannot write the host's
// program, whatever its ids are (CVE-2019-5736).
func openRescue() int {
	for _, path := range rescuePrograms {
		if fd, err := linux.OpenReadOnly(path); err == nil {
			return fd
		}
	}
	return -1
}
