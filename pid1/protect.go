package pid1

import (
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/internal/handoff"
	"github.com/cocker/cocker/internal/linux"
)

// What the file systems of the kernel tell of the host, and let change of it, in spite of
// all namespaces: the lists of Docker (moby, daemon/pkg/oci/defaults.go) and more strictly
// of systemd-nspawn (mount_all() in nspawn-mount.c of systemd 257). A kernel has some of them.
var (
	hiddenOfProc = [...]string{"acpi", "apm", "asound", "interrupts", "kallsyms", "kcore", "keys",
		"latency_stats", "sched_debug", "scsi", "timer_list", "timer_stats"}
	hiddenOfSys     = [...]string{"firmware", "devices/virtual/powercap"}
	unchangedOfProc = [...]string{"bus", "fs", "irq", "sysrq-trigger"}
)

// protectKernel hides, or makes read-only, what of /proc and /sys is the host's. In
// another user namespace that a container's process makes, these mounts are locked, and
// the kernel refuses a new /proc or /sys there that would show what they hide
// (mount_namespaces(7); mount_too_revealing in fs/namespace.c).
func protectKernel(plan *handoff.Plan) error {
	if plan.Privileged {
		return nil
	}
	m, err := newMask()
	if err != nil {
		return err
	}
	defer m.close()
	proc, err := openKernel("proc", unix.PROC_SUPER_MAGIC)
	if err != nil {
		return err
	}
	defer unix.Close(proc)
	if err := errors.Join(m.hide(proc, hiddenOfProc[:]), keepUnchanged(proc, unchangedOfProc[:])); err != nil {
		return fmt.Errorf("protect /proc: %w", err)
	}
	if !plan.Boot { // else see protectSysctl
		if err := keepUnchanged(proc, []string{"sys"}); err != nil {
			return fmt.Errorf("protect /proc: %w", err)
		}
	}
	sys, err := openKernel("sys", unix.SYSFS_MAGIC)
	if err != nil {
		return err
	}
	defer unix.Close(sys)
	if err := errors.Join(m.hide(sys, hiddenOfSys[:]), m.hideThrottling(sys)); err != nil {
		return fmt.Errorf("protect /sys: %w", err)
	}
	return nil
}

// openKernel opens a directory of the top level that a file system of the kernel is mounted
// on, and makes sure that it is that: what is written or mounted below a directory of the
// image would protect nothing (CVE-2019-16884, CVE-2025-52881).
func openKernel(name string, magic int64) (fd int, err error) {
	fd, err = openPlain("/"+name, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return -1, err
	}
	var st unix.Statfs_t
	err = unix.Fstatfs(fd, &st)
	if err == nil && int64(st.Type) != magic {
		err = errors.New("something else is mounted there")
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("/%s is not the kernel's: %w", name, err)
	}
	return fd, nil
}

// openPlain opens a path without links, wherever this process is: for openat2(2) with
// RESOLVE_IN_ROOT the working directory would be the root.
func openPlain(path string, flags int) (fd int, err error) {
	root, err := linux.Open("/", unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return -1, err
	}
	defer unix.Close(root)
	return linux.OpenPlain(root, path, flags, 0)
}

// openBelow opens what is below the root of a file system of the kernel, and on it: no link
// and no mount leads elsewhere. -1: this kernel has no such file.
func openBelow(root int, name string, flags int) (fd int, err error) {
	fd, err = linux.OpenSameMount(root, name, flags|unix.O_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EACCES) {
		return -1, nil
	}
	return fd, err
}

// mask is what is mounted on that which is hidden: the null device on files, an empty
// directory on directories.
type mask struct{ null, empty int }

// newMask opens the null device. It is looked at, as an image has led an engine to another
// file there (CVE-2025-31133).
func newMask() (*mask, error) {
	null, err := openPlain("/dev/null", unix.O_PATH)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	err = unix.Fstat(null, &st)
	if err == nil && (st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != unix.Mkdev(1, 3)) {
		err = errors.New("something else is mounted there")
	}
	if err != nil {
		_ = unix.Close(null)
		return nil, fmt.Errorf("/dev/null is not the null device: %w", err)
	}
	return &mask{null: null, empty: -1}, nil
}

func (m *mask) close() {
	_ = unix.Close(m.null)
	if m.empty >= 0 {
		_ = unix.Close(m.empty)
	}
}

func (m *mask) hide(root int, names []string) error {
	var errs []error
	for _, name := range names {
		if _, err := m.hideOne(root, name); err != nil {
			errs = append(errs, fmt.Errorf("hide %q: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// hideOne hides a file or directory; false: this kernel has none of that name.
func (m *mask) hideOne(root int, name string) (hidden bool, err error) {
	target, err := openBelow(root, name, unix.O_PATH)
	if target < 0 || err != nil {
		return false, err
	}
	defer unix.Close(target)
	var st unix.Stat_t
	if err := unix.Fstat(target, &st); err != nil {
		return false, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return true, attachCopy(m.null, target)
	}
	if m.empty >= 0 {
		return true, attachCopy(m.empty, target)
	}
	m.empty, err = linux.NewMount("tmpfs", noExecution|unix.MOUNT_ATTR_RDONLY, linux.Option{Key: "mode", Value: "0755"})
	if err != nil {
		return false, err
	}
	return true, linux.Attach(m.empty, target)
}

// hideThrottling hides how often each processor had to be slowed down for its heat: that
// tells of what others compute (GHSA-6fw5-f8r9-fgfm of moby). Where the first processor
// does not say so none does, and that costs two system calls: it is always online (Linux 6.5;
// cpu0_hotplug before that was for debugging). A processor that is added later is not hidden.
func (m *mask) hideThrottling(sys int) error {
	for number := 0; ; number++ {
		name := "devices/system/cpu/cpu" + strconv.Itoa(number)
		processor, err := openBelow(sys, name, unix.O_PATH)
		if processor < 0 || err != nil {
			return err
		}
		_ = unix.Close(processor)
		hidden, err := m.hideOne(sys, name+"/thermal_throttle")
		if err != nil || !hidden && number == 0 {
			return err
		}
	}
}

func attachCopy(source, target int) error {
	fd, err := linux.CloneMountAt(source, "", false)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return linux.Attach(fd, target)
}

// keepUnchanged makes files and directories below the root of a file system read-only.
func keepUnchanged(root int, names []string) error {
	var errs []error
	for _, name := range names {
		if err := keepOneUnchanged(root, name); err != nil {
			errs = append(errs, fmt.Errorf("make %q read-only: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

func keepOneUnchanged(root int, name string) error {
	target, err := openBelow(root, name, unix.O_PATH)
	if target < 0 || err != nil {
		return err
	}
	defer unix.Close(target)
	fd, err := linux.CloneMountAt(target, "", true)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := linux.SetAttributes(fd, noExecution|unix.MOUNT_ATTR_RDONLY, true); err != nil {
		return err
	}
	return linux.Attach(fd, target)
}
