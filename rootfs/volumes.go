package rootfs

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/internal/linux"
)

// VolumeStore gives the directory of the host that holds a volume's data. A volume that has
// none yet gets what content has, a directory of the image with the owners of this
// container; nil: there is no such directory.
type VolumeStore interface {
	Data(mount *config.Mount, content *os.File) (path string, err error)
}

// openVolumes makes sure that all volumes have data, before any of the user's mounts
// is made: what is mounted below a target is not the image's. It returns their
// directories, by the number of the mount.
func openVolumes(root *Root, spec *Spec) (map[int]string, error) {
	data := map[int]string{}
	for i := range spec.Mounts {
		mount := &spec.Mounts[i]
		if mount.Type != config.MountVolume {
			continue
		}
		path, err := openVolume(root, mount, spec.VolumeStore)
		if err != nil {
			return nil, fmt.Errorf("mount %q: %w", mount.Target, err)
		}
		data[i] = path
	}
	return data, nil
}

func openVolume(root *Root, mount *config.Mount, volumes VolumeStore) (string, error) {
	content, err := root.content(mount.Target)
	if err != nil {
		return "", err
	}
	if content != nil {
		defer content.Close()
	}
	return volumes.Data(mount, content)
}

// content opens the directory that a volume will cover. What a link of the image leads
// to elsewhere than to the image, as into the host's /sys, is no content; nor is the
// image as a whole, which has the kernel's file systems in it.
func (r *Root) content(name string) (*os.File, error) {
	fd, err := linux.OpenInRoot(r.fd, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if errors.Is(err, unix.ENOTDIR) {
		return nil, errors.New("the image has no directory there, and a volume is one")
	}
	if err != nil {
		return nil, err
	}
	content := os.NewFile(uintptr(fd), name)
	there, err := identify(fd)
	top, topErr := identify(r.fd)
	err = errors.Join(err, topErr)
	if err == nil && there == top {
		err = fmt.Errorf("the image has a link to %q there", "/")
	}
	if err != nil || there.mount != top.mount {
		content.Close()
		return nil, err
	}
	return content, nil
}

// identity names a file on one mount.
type identity struct{ mount, inode uint64 }

func identify(fd int) (identity, error) {
	var st unix.Statx_t
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_INO|unix.STATX_MNT_ID, &st); err != nil {
		return identity{}, fmt.Errorf("statx: %w", err)
	}
	return identity{st.Mnt_id, st.Ino}, nil
}

// attachVolume mounts a volume, idmapped, so that several containers can have it: on the
// disk are the owners that each of them sees. It is no bind of the host's files, but the
// container's own, so set-user-ID programs work; a device that an image has does not.
func attachVolume(root *Root, mount *config.Mount, data string, spec *Spec) error {
	source, err := linux.Open(data, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW)
	if err != nil {
		return err
	}
	defer unix.Close(source)
	target, err := root.Directory(mount.Target, 0o755)
	if err != nil {
		return err
	}
	defer unix.Close(target)
	fd, err := linux.CloneMountAt(source, "", false)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	attributes := uint64(unix.MOUNT_ATTR_NODEV)
	if mount.ReadOnly {
		attributes |= unix.MOUNT_ATTR_RDONLY
	}
	if err := linux.SetAttributes(fd, attributes, false); err != nil {
		return err
	}
	if err := mapIDs(fd, spec.UserNamespace, false); err != nil {
		return fmt.Errorf("map the ids of %q (its file system must know idmapped mounts): %w", data, err)
	}
	return linux.Attach(fd, target)
}
