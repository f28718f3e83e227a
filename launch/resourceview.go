package launch

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/internal/linux"
)

// With resource_view files of lxcfs, a FUSE file system, lie upon those of the container's
// /proc and /sys, where they say what the container may use: lxcfs finds the cgroup of who
// reads. They are mounted from outside, into the container's mount namespace: once when it
// starts, and again whenever lxcfs does. The mounts of an lxcfs that has ended only give
// ENOTCONN. LXC and Incus never restart theirs for that reason, so lxcfs.service has a drop-in
// that calls the functions here, at its start and at its end.

// lxcfsMount is where lxcfs.service of Debian mounts it.
const lxcfsMount = "/var/lib/lxcfs"

// viewedFile is a file that lxcfs has, and that a container then has of it.
type viewedFile struct {
	directory, name string
	kind            int64 // of the container's file system
}

var viewedFiles = [...]viewedFile{
	{"proc", "cpuinfo", unix.PROC_SUPER_MAGIC},
	{"proc", "diskstats", unix.PROC_SUPER_MAGIC},
	{"proc", "loadavg", unix.PROC_SUPER_MAGIC},
	{"proc", "meminfo", unix.PROC_SUPER_MAGIC},
	{"proc", "slabinfo", unix.PROC_SUPER_MAGIC},
	{"proc", "stat", unix.PROC_SUPER_MAGIC},
	{"proc", "swaps", unix.PROC_SUPER_MAGIC},
	{"proc", "uptime", unix.PROC_SUPER_MAGIC},
	{"sys/devices/system/cpu", "online", unix.SYSFS_MAGIC},
}

// checkResourceView asserts that there is an lxcfs, which is no part of cocker.
func checkResourceView(c *config.Container) error {
	if !c.Resources.View {
		return nil
	}
	if _, err := lxcfsDevice(); err != nil {
		return fmt.Errorf("resource_view: %w", err)
	}
	return nil
}

// lxcfsDevice is the device number of the lxcfs that serves; each start of it has another.
func lxcfsDevice() (uint64, error) {
	var files unix.Statfs_t
	err := unix.Statfs(lxcfsMount, &files)
	switch {
	case errors.Is(err, unix.ENOENT):
		return 0, fmt.Errorf("lxcfs is not installed, there is no %s; install the package lxcfs", lxcfsMount)
	case errors.Is(err, unix.ENOTCONN):
		return 0, fmt.Errorf("lxcfs has died, and its mount is still at %s; run \"systemctl restart lxcfs.service\"", lxcfsMount)
	case err != nil:
		return 0, fmt.Errorf("lxcfs at %s: %w", lxcfsMount, err)
	case files.Type != unix.FUSE_SUPER_MAGIC:
		return 0, fmt.Errorf("lxcfs is not mounted at %s; is the package lxcfs installed, and what does \"systemctl status lxcfs.service\" say?", lxcfsMount)
	}
	var stat unix.Stat_t
	if err := unix.Stat(lxcfsMount, &stat); err != nil {
		return 0, fmt.Errorf("lxcfs at %s: %w", lxcfsMount, err)
	}
	return stat.Dev, nil
}

// viewAttempts bounds how often a start tries again that met a restart of lxcfs, and how often
// attachView does that met a file which the kernel has looked up anew.
const viewAttempts = 5

// showResources gives a container that starts its view. lxcfs may be restarted just now, and
// its drop-in have looked at this container before: then the mounts are made anew.
func (l *launcher) showResources() error {
	if !l.container.Resources.View {
		return nil
	}
	for attempt := 1; ; attempt++ {
		err := attachView(l.state)
		device, now := lxcfsDevice()
		if now == nil && err == nil && device == l.state.viewDevice || attempt == viewAttempts {
			return viewError(l.state.Name, errors.Join(err, now))
		}
	}
}

func viewError(container string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("resource_view of %s: %w", container, err)
}

// attachView mounts the files of the lxcfs that serves now, and takes away what another one
// has left there. It may be repeated, and repeats itself: when a look-up of the same file by
// somebody else finds that lxcfs knows it by another number now, the kernel drops the dentry
// that was cloned, and no mount of a dropped dentry can be attached (ENOENT; get_mountpoint of
// the source in attach_recursive_mnt, fs/namespace.c, seen with Linux 6.18 on a busy machine).
func attachView(state *State) (err error) {
	for range viewAttempts {
		if err = attachFiles(state); !errors.Is(err, unix.ENOENT) {
			break
		}
	}
	return err
}

func attachFiles(state *State) error {
	device, err := lxcfsDevice()
	if err != nil {
		return err
	}
	state.viewDevice = device
	trees := make([]int, len(viewedFiles))
	for i := range trees {
		trees[i] = -1
	}
	defer func() {
		for _, tree := range trees {
			if tree >= 0 {
				_ = unix.Close(tree)
			}
		}
	}()
	for i, file := range viewedFiles {
		trees[i], err = cloneViewed(filepath.Join(lxcfsMount, file.directory, file.name))
		if err != nil && !errors.Is(err, unix.ENOENT) { // an older lxcfs has fewer
			return err
		}
	}
	return inMountNamespace(state, func() (errs error) {
		for i, file := range viewedFiles {
			errs = errors.Join(errs, file.show(trees[i], device))
		}
		return errs
	})
}

// detachView gives a container the kernel's own files back.
func detachView(state *State) error {
	return inMountNamespace(state, func() (errs error) {
		for _, file := range viewedFiles {
			errs = errors.Join(errs, file.show(-1, 0))
		}
		return errs
	})
}

// cloneViewed returns a mount of one file, which nothing propagates to.
func cloneViewed(path string) (fd int, err error) {
	if fd, err = linux.CloneMount(path, false); err != nil {
		return -1, err
	}
	attributes := &unix.MountAttr{Propagation: unix.MS_PRIVATE,
		Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, attributes); err != nil {
		return -1, errors.Join(fmt.Errorf("mount_setattr %q: %w", path, err), unix.Close(fd))
	}
	return fd, nil
}

// inMountNamespace does work in a container's mount namespace and root, in a thread that
// ends with it. What it finds there is the container's: nothing of the host can be reached
// by a path, and a file system in user space of the container's gives EACCES and cannot hold
// us up, since this thread's user namespace is not below that one's (fuse(4), allow_other).
func inMountNamespace(state *State, work func() error) error {
	namespace, err := linux.Open(fmt.Sprintf("/proc/%d/ns/mnt", state.Leader), unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer unix.Close(namespace)
	if !state.Running() { // checked after the descriptor is open: it is this process's
		return unix.ESRCH
	}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for good: the thread goes with the goroutine
		err := unix.Unshare(unix.CLONE_FS)
		if err == nil {
			err = linux.LockInNamespace(namespace, unix.CLONE_NEWNS)
		}
		if err == nil {
			err = work()
		}
		done <- err
	}()
	return <-done
}

// maxStacked bounds what is taken away from upon one file.
const maxStacked = 16

// show makes tree what is mounted on the file, and nothing else; -1: nothing is. Whoever may
// mount in the container may have put something there, or upon its whole /proc, in which case
// it is left alone.
func (f viewedFile) show(tree int, device uint64) error {
	directory, err := f.openDirectory()
	if err != nil || directory < 0 {
		return err
	}
	defer unix.Close(directory)
	if err := unix.Fchdir(directory); err != nil { // umount(2) takes a path only
		return fmt.Errorf("chdir to /%s: %w", f.directory, err)
	}
	for range maxStacked {
		covered, theirs, err := f.mounted(directory)
		switch {
		case errors.Is(err, unix.ENOENT): // this kernel has no such file
			return nil
		case err != nil:
			return err
		case !covered && tree < 0, covered && tree >= 0 && theirs == device:
			return nil
		case !covered:
			return f.attach(directory, tree)
		}
		if err := unix.Unmount(f.name, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
			return fmt.Errorf("umount /%s/%s: %w", f.directory, f.name, err)
		}
	}
	return fmt.Errorf("on /%s/%s there are more than %d mounts", f.directory, f.name, maxStacked)
}

// openDirectory opens the directory of the file in the container; -1: it is not the kernel's.
func (f viewedFile) openDirectory() (fd int, err error) {
	root, err := linux.Open("/", unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return -1, err
	}
	defer unix.Close(root)
	fd, err = linux.OpenPlain(root, f.directory, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return -1, nil //nolint:nilerr // no directory, or a link: the container has changed it
	}
	var files unix.Statfs_t
	if err := unix.Fstatfs(fd, &files); err != nil || int64(files.Type) != f.kind {
		_ = unix.Close(fd)
		return -1, nil //nolint:nilerr // as above
	}
	return fd, nil
}

// mounted tells whether something is mounted on the file, and of which device. With no
// attribute asked for, and from what is cached, statx(2) does not call an lxcfs that has died
// (fuse_getattr in fs/fuse/dir.c, Linux 6.1 to 6.18).
func (f viewedFile) mounted(directory int) (covered bool, device uint64, err error) {
	fd, err := linux.OpenPlain(directory, f.name, unix.O_PATH, 0)
	if err != nil {
		return false, 0, err
	}
	defer unix.Close(fd)
	var stat unix.Statx_t
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH|unix.AT_STATX_DONT_SYNC, 0, &stat); err != nil {
		return false, 0, fmt.Errorf("statx /%s/%s: %w", f.directory, f.name, err)
	}
	return stat.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0, unix.Mkdev(stat.Dev_major, stat.Dev_minor), nil
}

func (f viewedFile) attach(directory, tree int) error {
	fd, err := linux.OpenPlain(directory, f.name, unix.O_PATH, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := linux.Attach(tree, fd); err != nil {
		return fmt.Errorf("/%s/%s: %w", f.directory, f.name, err)
	}
	return nil
}

// viewsTimeout bounds what lxcfs.service waits for when it starts or ends.
const viewsTimeout = 10 * time.Second

// attachViews is ExecStartPost= of lxcfs.service: it waits for the mount, so that what comes
// after the unit finds it, and mends the view of all containers that run.
func attachViews() error {
	deadline := time.Now().Add(viewsTimeout)
	if err := awaitLxcfs(deadline); err != nil {
		return err
	}
	return eachView(deadline, attachView)
}

// detachViews is ExecStopPost= of lxcfs.service: until it serves again containers see what the
// host has, which is better than no /proc/meminfo at all.
func detachViews() error {
	err := eachView(time.Now().Add(viewsTimeout), detachView)
	// fusermount(1), by which the unit itself does so, is in a package of its own.
	if statErr := unix.Statfs(lxcfsMount, new(unix.Statfs_t)); errors.Is(statErr, unix.ENOTCONN) {
		err = errors.Join(err, unix.Unmount(lxcfsMount, unix.MNT_DETACH))
	}
	return err
}

// views is what the drop-in of lxcfs.service calls.
func views(what string) error {
	switch what {
	case "attach":
		return attachViews()
	case "detach":
		return detachViews()
	}
	return fmt.Errorf("%q is neither attach nor detach", what)
}

// awaitLxcfs waits until lxcfs is mounted: poll(2) of mountinfo tells of each change
// (proc_pid_mountinfo(5)).
func awaitLxcfs(deadline time.Time) error {
	table, err := linux.Open("/proc/self/mountinfo", unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer unix.Close(table)
	for {
		_, err := lxcfsDevice()
		left := time.Until(deadline)
		if err == nil || left <= 0 {
			return err
		}
		_, _ = unix.Poll([]unix.PollFd{{Fd: int32(table), Events: unix.POLLPRI}}, int(left.Milliseconds())+1) //nolint:gosec // a descriptor
	}
}

// eachView does work for all containers with a view, side by side: one must not hold up others.
func eachView(deadline time.Time, work func(*State) error) error {
	states, errs := States()
	results := make(chan error)
	var waiting int
	for _, state := range states {
		if !state.ResourceView || !state.Running() {
			continue
		}
		waiting++
		go func() {
			err := work(state)
			if !state.Running() { // it has ended meanwhile
				err = nil
			}
			results <- viewError(state.Name, err)
		}()
	}
	timeout := time.After(time.Until(deadline))
	for ; waiting > 0; waiting-- {
		select {
		case err := <-results:
			errs = errors.Join(errs, err)
		case <-timeout:
			return errors.Join(errs, fmt.Errorf("resource_view: %d containers are not done in time", waiting))
		}
	}
	return errs
}
