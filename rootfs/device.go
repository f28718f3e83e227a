package rootfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/internal/linux"
)

// hostDevice is a device of the host, as it was looked at before the host went out of sight.
type hostDevice struct {
	target string // below /dev
	number uint64
	mode   uint32 // with its kind
	uid    uint32 // in the container
	gid    uint32
}

// hostDevices looks at the devices that the container is given.
func hostDevices(spec *Spec) ([]hostDevice, error) {
	var found []hostDevice
	if spec.AllDevices {
		found = everyDevice()
	}
	for i := range spec.Devices {
		device, err := lookAtDevice(&spec.Devices[i])
		if err != nil {
			return nil, err
		}
		found = append(found, device)
	}
	return found, nil
}

func lookAtDevice(d *config.Device) (hostDevice, error) {
	var st unix.Stat_t
	err := unix.Stat(d.Source, &st)
	if errors.Is(err, unix.ENOENT) {
		return hostDevice{}, fmt.Errorf("device %q is not on the host; load its driver, or take its [[device]] table out", d.Source)
	}
	if err != nil {
		return hostDevice{}, fmt.Errorf("device %q: %w", d.Source, err)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFCHR, unix.S_IFBLK:
	case unix.S_IFDIR:
		return hostDevice{}, fmt.Errorf("%q is a directory, no device; give each device in it a [[device]] table", d.Source)
	default:
		return hostDevice{}, fmt.Errorf("%q is no device", d.Source)
	}
	device := hostDevice{target: strings.TrimPrefix(d.Target, "/dev/"), number: st.Rdev, mode: st.Mode}
	if d.Mode != 0 {
		device.mode = st.Mode&unix.S_IFMT | d.Mode
	}
	if d.Owner != nil {
		device.uid, device.gid = d.Owner.UID, d.Owner.GID
	}
	return device, nil
}

// everyDevice are all devices that have a name in the host's /dev. What each container has
// of its own there is left out, and what the host's programs keep there.
func everyDevice() (all []hostDevice) {
	_ = filepath.WalkDir("/dev", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil: // removed just now
			return nil
		case entry.IsDir() && (name == "/dev/pts" || name == "/dev/shm" || name == "/dev/mqueue" || name == "/dev/hugepages"):
			return filepath.SkipDir
		case entry.Type()&os.ModeDevice == 0 || name == "/dev/console" || isOwnDevice(name):
			return nil
		}
		var st unix.Stat_t
		if unix.Lstat(name, &st) == nil {
			all = append(all, hostDevice{target: strings.TrimPrefix(name, "/dev/"), number: st.Rdev, mode: st.Mode, uid: st.Uid, gid: st.Gid})
		}
		return nil
	})
	return all
}

func isOwnDevice(name string) bool {
	for _, own := range devices {
		if name == "/dev/"+own.name {
			return true
		}
	}
	return name == "/dev/ptmx"
}

// makeHostDevices makes nodes of the host's devices in our own /dev, for the container's
// ids; who may open them the device controller of the unit's cgroup decides too.
func makeHostDevices(dev int, all []hostDevice, base uint32) error {
	for _, d := range all {
		if err := makeHostDevice(dev, d, base); err != nil {
			return fmt.Errorf("make /dev/%s: %w", d.target, err)
		}
	}
	return nil
}

func makeHostDevice(dev int, d hostDevice, base uint32) error {
	parent, err := deviceParent(dev, path.Dir(d.target))
	if err != nil {
		return err
	}
	defer unix.Close(parent)
	name := path.Base(d.target)
	if err := unix.Mknodat(parent, name, d.mode, int(d.number)); err != nil { //nolint:gosec // 32 bits in use
		return fmt.Errorf("mknod: %w", err)
	}
	if err := unix.Fchownat(parent, name, int(base+d.uid), int(base+d.gid), unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("chown: %w", err)
	}
	return os.NewSyscallError("chmod", unix.Fchmodat(parent, name, d.mode&0o777, 0)) // the umask took some
}

// deviceParent makes the directories of our own /dev that a device is in.
func deviceParent(dev int, dir string) (fd int, err error) {
	fd, err = linux.OpenPlain(dev, ".", unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil || dir == "." {
		return fd, err
	}
	for _, name := range strings.Split(dir, "/") {
		if err := unix.Mkdirat(fd, name, 0o755); err != nil && !errors.Is(err, unix.EEXIST) {
			unix.Close(fd)
			return -1, fmt.Errorf("mkdir %q: %w", name, err)
		}
		below, err := linux.OpenPlain(fd, name, unix.O_PATH|unix.O_DIRECTORY, 0)
		unix.Close(fd)
		if err != nil {
			return -1, err
		}
		fd = below
	}
	return fd, nil
}
