package rootfs

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/internal/linux"
)

// devices are the nodes of every container's /dev: what the container interface
// of systemd and the OCI runtime specification ask for. None gives access to
// anything of the host.
var devices = [...]struct {
	name         string
	major, minor uint32
}{
	{"null", 1, 3},
	{"zero", 1, 5},
	{"full", 1, 7},
	{"random", 1, 8},
	{"urandom", 1, 9},
	{"tty", 5, 0},
}

var deviceLinks = [...]struct{ name, target string }{
	{"fd", "/proc/self/fd"},
	{"stdin", "/proc/self/fd/0"},
	{"stdout", "/proc/self/fd/1"},
	{"stderr", "/proc/self/fd/2"},
	{"ptmx", "pts/ptmx"},
}

// TTYGroup is the group tty, 5 in every distribution; it is given the terminals,
// so that write(1) and wall(1) work.
const TTYGroup = 5

// withDevices is mountDev as a step of fill.
func withDevices(more []hostDevice) func(*Root, *Spec) error {
	return func(root *Root, spec *Spec) error { return mountDev(root, spec, more) }
}

// mountDev makes /dev: a tmpfs with real device nodes, which only the host's root
// can make, and a devpts of its own. The container cannot add a node: that needs
// CAP_MKNOD in the initial user namespace (capabilities(7)).
func mountDev(root *Root, spec *Spec, more []hostDevice) error {
	target, err := root.PlainDirectory("dev")
	if err != nil {
		return err
	}
	defer unix.Close(target)
	if err := mountTmpfs(target, spec, "0755", "64k", unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC); err != nil {
		return err
	}
	dev, err := root.PlainDirectory("dev") // now the tmpfs
	if err != nil {
		return err
	}
	defer unix.Close(dev)
	if err := makeDevices(dev); err != nil {
		return err
	}
	if err := makeHostDevices(dev, more, spec.IDBase); err != nil {
		return err
	}
	if err := mountPts(dev, spec.IDBase); err != nil {
		return err
	}
	if err := mountIPC(dev, spec); err != nil {
		return err
	}
	if spec.Terminal == "" {
		return nil
	}
	_, err = bind(root, &config.Mount{Source: spec.Terminal, Target: "/dev/console"}, spec)
	return err
}

func makeDevices(dev int) error {
	for _, device := range devices {
		number := unix.Mkdev(device.major, device.minor)
		if err := unix.Mknodat(dev, device.name, unix.S_IFCHR|0o666, int(number)); err != nil {
			return fmt.Errorf("mknod /dev/%s: %w", device.name, err)
		}
		if err := unix.Fchmodat(dev, device.name, 0o666, 0); err != nil { // the umask took some
			return fmt.Errorf("chmod /dev/%s: %w", device.name, err)
		}
	}
	for _, link := range deviceLinks {
		if err := unix.Symlinkat(link.target, dev, link.name); err != nil {
			return fmt.Errorf("link /dev/%s: %w", link.name, err)
		}
	}
	return nil
}

func mountPts(dev int, base uint32) error {
	fd, err := linux.NewMount("devpts", unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC,
		linux.Option{Key: "newinstance"},
		linux.Option{Key: "ptmxmode", Value: "0666"},
		linux.Option{Key: "mode", Value: "0620"},
		linux.Option{Key: "gid", Value: strconv.FormatUint(uint64(base)+TTYGroup, 10)})
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return attachNew(dev, "pts", fd)
}

func mountShm(dev int, spec *Spec) error {
	if err := unix.Mkdirat(dev, "shm", 0o1777); err != nil {
		return fmt.Errorf("mkdir /dev/shm: %w", err)
	}
	target, err := linux.OpenPlain(dev, "shm", unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer unix.Close(target)
	return mountTmpfs(target, spec, "1777", "", unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV)
}

// mountIPC makes /dev/shm and the directory of /dev/mqueue, where cocker-init mounts. In a
// pod both are the pod's.
func mountIPC(dev int, spec *Spec) error {
	if spec.SharedIPC == "" {
		if err := unix.Mkdirat(dev, "mqueue", 0o755); err != nil {
			return fmt.Errorf("mkdir /dev/mqueue: %w", err)
		}
		return mountShm(dev, spec)
	}
	if err := shareMemory(dev, spec); err != nil {
		return err
	}
	fd, err := linux.NewMount("mqueue", noExecution)
	if errors.Is(err, unix.ENODEV) { // the kernel was built without it
		return os.NewSyscallError("mkdirat", unix.Mkdirat(dev, "mqueue", 0o755))
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return attachNew(dev, "mqueue", fd)
}

// shareMemory shows the pod's /dev/shm, with the container's ids where the kernel can map
// those of a tmpfs (Linux 6.3). Elsewhere the others of the pod are nobody in it, and what
// they share must be open to everybody.
func shareMemory(dev int, spec *Spec) error {
	fd, err := linux.CloneMount(spec.SharedIPC, false)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := mapIDs(fd, spec.UserNamespace, false); err != nil && !cannotMap(err) {
		return err
	}
	return attachNew(dev, "shm", fd)
}

// attachNew makes the directory name in our own /dev and attaches a mount to it.
func attachNew(dev int, name string, mount int) error {
	if err := unix.Mkdirat(dev, name, 0o755); err != nil {
		return fmt.Errorf("mkdir /dev/%s: %w", name, err)
	}
	target, err := linux.OpenPlain(dev, name, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer unix.Close(target)
	return linux.Attach(mount, target)
}
