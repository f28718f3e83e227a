package agent

import (
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Confine takes from the calling process every file that it has no descriptor of, and all
// capabilities but those over files. The new root directory, that of the process's own
// descriptor numbers, has no directory in it and cannot be written to.
func Confine() error {
	if err := unix.Chroot("/proc/self/fdinfo"); err != nil {
		return fmt.Errorf("leave the host's root directory: %w", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return fmt.Errorf("leave the working directory: %w", err)
	}
	// These two belong to a thread (prctl(2), capabilities(7)), and every one has to have them.
	if _, _, errno := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0); errno != 0 {
		return fmt.Errorf("set no_new_privs: %w", errno)
	}
	return dropCapabilities()
}

// capabilities are those over files that the root of a container has, too.
const capabilities = 1<<unix.CAP_CHOWN | 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_FOWNER | 1<<unix.CAP_FSETID | 1<<unix.CAP_SETFCAP

func dropCapabilities() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	data := [2]unix.CapUserData{{Effective: uint32(capabilities & 0xffffffff), Permitted: uint32(capabilities & 0xffffffff)}}
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&data[0])), 0)
	if errno != 0 {
		return fmt.Errorf("drop capabilities: %w", errno)
	}
	return nil
}
