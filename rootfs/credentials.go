package rootfs

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/internal/handoff"
	"github.com/cocker/cocker/internal/linux"
)

// Credential is a secret that the container gets as a file of handoff.Credentials.
type Credential struct {
	Name  string
	Value []byte
}

// mountCredentials puts the credentials into a ramfs, whose pages are never swapped (ramfs
// in Documentation/filesystems/ramfs-rootfs-initramfs.rst); a tmpfs can do that from Linux
// 6.3 on, with noswap. The mount is read-only, and stays so: what is read-only in a mount
// namespace of more privilege is locked in the container's (mount_namespaces(7)).
//
// own is a descriptor of another mount of it, which is attached nowhere and writable, for
// init to give the files to the user whom only it may look up; -1 if there is nothing.
func mountCredentials(root *Root, spec *Spec) (own int, err error) {
	if spec.Credentials == nil {
		return -1, nil
	}
	fd, err := linux.NewMount("ramfs", noExecution, linux.Option{Key: "mode", Value: "0700"})
	if err != nil {
		return -1, err
	}
	defer unix.Close(fd)
	for _, c := range spec.Credentials {
		if err := writeCredential(fd, c); err != nil {
			return -1, fmt.Errorf("credential %s: %w", c.Name, err)
		}
	}
	if err := unix.Fchmodat(fd, ".", 0o500, 0); err != nil {
		return -1, os.NewSyscallError("fchmodat", err)
	}
	target, err := root.Directory(handoff.Credentials, 0o755)
	if err != nil {
		return -1, err
	}
	defer unix.Close(target)
	if err := linux.Attach(fd, target); err != nil {
		return -1, err
	}
	if own, err = linux.CloneMountAt(fd, "", false); err != nil {
		return -1, err
	}
	if err := linux.SetAttributes(fd, unix.MOUNT_ATTR_RDONLY, false); err != nil {
		_ = unix.Close(own)
		return -1, err
	}
	return own, nil
}

func writeCredential(dir int, c Credential) error {
	fd, err := unix.Openat(dir, c.Name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o400)
	if err != nil {
		return os.NewSyscallError("open", err)
	}
	file := os.NewFile(uintptr(fd), c.Name)
	_, err = file.Write(c.Value)
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	return err
}
