package linux

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// getNamespaceType is NS_GET_NSTYPE of linux/nsfs.h, _IO(0xb7, 3): ioctl_ns(2).
const getNamespaceType = 0xb703

// CheckNamespace asserts that a descriptor is a namespace of the kind that a flag of
// clone(2) names.
func CheckNamespace(fd, kind int) error {
	var stat unix.Statfs_t
	if err := unix.Fstatfs(fd, &stat); err != nil {
		return os.NewSyscallError("fstatfs", err)
	}
	if stat.Type != unix.NSFS_MAGIC {
		return errors.New("it is a file of another kind")
	}
	found, err := unix.IoctlRetInt(fd, getNamespaceType)
	if err != nil {
		return os.NewSyscallError("ioctl NS_GET_NSTYPE", err)
	}
	if found != kind {
		return errors.New("it is a namespace of another kind")
	}
	return nil
}

// LockInNamespace locks the calling goroutine to its thread and takes that to a namespace.
// It must not be unlocked: the runtime ends the thread with the goroutine then.
func LockInNamespace(fd, kind int) error {
	runtime.LockOSThread()
	if err := unix.Setns(fd, kind); err != nil {
		return fmt.Errorf("enter namespace: %w", err)
	}
	return nil
}
