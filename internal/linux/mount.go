package linux

import (
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"
)

// MountError is a failed mount operation.
type MountError struct {
	Op     string // the system call
	Source string // file system type, or what is mounted
	Target string
	Err    error
}

func (e *MountError) Error() string {
	if e.Target == "" {
		return fmt.Sprintf("%s %q: %v", e.Op, e.Source, e.Err)
	}
	return fmt.Sprintf("%s %q on %q: %v", e.Op, e.Source, e.Target, e.Err)
}

func (e *MountError) Unwrap() error { return e.Err }

func mountError(op, source, target string, err error) error {
	if err == nil {
		return nil
	}
	return &MountError{Op: op, Source: source, Target: target, Err: err}
}

// Mount is mount(2).
func Mount(source, target, fstype string, flags uintptr, data string) error {
	err := retry(func() error { return unix.Mount(source, target, fstype, flags, data) })
	return mountError("mount", fstype+" "+source, target, err)
}

// Option is one parameter of a new file system; an empty Value sets a flag.
type Option struct{ Key, Value string }

// NewMount makes a file system and returns a descriptor of its mount, which is
// not attached anywhere yet (fsopen(2), fsmount(2); Linux 5.2). attributes are
// the MOUNT_ATTR_ flags of mount_setattr(2).
func NewMount(fstype string, attributes int, options ...Option) (fd int, err error) {
	context, err := unix.Fsopen(fstype, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, mountError("fsopen", fstype, "", err)
	}
	defer unix.Close(context)
	for _, option := range options {
		if err := setOption(context, option); err != nil {
			return -1, mountError("fsconfig", fstype+" "+option.Key+"="+option.Value, "", err)
		}
	}
	if err := unix.FsconfigCreate(context); err != nil {
		return -1, mountError("fsconfig create", fstype, "", err)
	}
	fd, err = unix.Fsmount(context, unix.FSMOUNT_CLOEXEC, attributes)
	return fd, mountError("fsmount", fstype, "", err)
}

func setOption(context int, option Option) error {
	if option.Value == "" {
		return unix.FsconfigSetFlag(context, option.Key)
	}
	return unix.FsconfigSetString(context, option.Key, option.Value)
}

// CloneMount returns a descriptor of an unattached copy of the mount at path,
// with the mounts below it if recursive (open_tree(2), Linux 5.2). The last
// component of path may be a symlink; it is followed.
func CloneMount(path string, recursive bool) (fd int, err error) {
	return CloneMountAt(unix.AT_FDCWD, path, recursive)
}

// CloneMountAt is CloneMount for a path below dir; an empty path is dir itself.
func CloneMountAt(dir int, path string, recursive bool) (fd int, err error) {
	flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
	if path == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	fd, err = unix.OpenTree(dir, path, flags)
	return fd, mountError("open_tree", path, "", err)
}

// SetAttributes sets MOUNT_ATTR_ flags of the mount fd, and of all mounts below
// it if recursive (mount_setattr(2), Linux 5.12). Unlike a remount it reaches
// submounts too, so read-only is really read-only.
func SetAttributes(fd int, set uint64, recursive bool) error {
	return setAttributes(fd, &unix.MountAttr{Attr_set: set}, recursive)
}

// OpenReadOnly opens a file of the host on a read-only mount of its own. The mount is
// attached nowhere and is gone but for the descriptor: nobody can make it writable again,
// as mount_setattr(2) wants one that is in a mount namespace.
func OpenReadOnly(path string) (fd int, err error) {
	mount, err := CloneMount(path, false)
	if err != nil {
		return -1, err
	}
	defer unix.Close(mount)
	if err := SetAttributes(mount, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV, false); err != nil {
		return -1, err
	}
	// A path descriptor is opened for reading by its name in /proc (open(2), O_PATH).
	return Open("/proc/self/fd/"+strconv.Itoa(mount), unix.O_RDONLY)
}

// MapIDs gives the unattached mount fd, and all mounts below it if recursive, the
// id mapping of a user namespace: a file of id n on the disk appears as the n-th
// id of the namespace. All mounts are mapped or none.
func MapIDs(fd, userNamespace int, recursive bool) error {
	return setAttributes(fd, &unix.MountAttr{
		Attr_set:  unix.MOUNT_ATTR_IDMAP,
		Userns_fd: uint64(userNamespace),
	}, recursive)
}

func setAttributes(fd int, attr *unix.MountAttr, recursive bool) error {
	flags := uint(unix.AT_EMPTY_PATH)
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	return mountError("mount_setattr", "", "", unix.MountSetattr(fd, "", flags, attr))
}

// Attach moves the mount fd onto the file or directory that target is open on
// (move_mount(2)). No path is looked up, so nothing can be swapped meanwhile.
func Attach(fd, target int) error {
	flags := unix.MOVE_MOUNT_F_EMPTY_PATH | unix.MOVE_MOUNT_T_EMPTY_PATH
	return mountError("move_mount", "", "", unix.MoveMount(fd, "", target, "", flags))
}

// AttachAt moves the mount fd onto path, which must be free of symlinks of
// others: it is for cocker's own directories only.
func AttachAt(fd int, path string) error {
	err := unix.MoveMount(fd, "", unix.AT_FDCWD, path, unix.MOVE_MOUNT_F_EMPTY_PATH)
	return mountError("move_mount", "", path, err)
}

// EnterRoot makes the directory dir the root of the calling thread's mount
// namespace and detaches the old one: the two mounts are stacked on "/" for a
// moment, so that no directory for the old root is needed (pivot_root(2), "..").
func EnterRoot(dir int) error {
	if err := unix.Fchdir(dir); err != nil {
		return pathError("fchdir", "new root", err)
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return pathError("pivot_root", "new root", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return pathError("umount", "old root", err)
	}
	return pathError("chdir", "/", unix.Chdir("/"))
}

// SetFilesystemIDs makes the calling thread create files as uid and gid while it
// keeps the capabilities that it has: setfsuid(2) alone would drop those over
// files (capabilities(7), "Effect of user ID changes on capabilities").
func SetFilesystemIDs(uid, gid int) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return fmt.Errorf("capget: %w", err)
	}
	if err := unix.Setfsgid(gid); err != nil {
		return fmt.Errorf("setfsgid %d: %w", gid, err)
	}
	if err := unix.Setfsuid(uid); err != nil {
		return fmt.Errorf("setfsuid %d: %w", uid, err)
	}
	if err := unix.Capset(&header, &data[0]); err != nil {
		return fmt.Errorf("capset: %w", err)
	}
	return nil
}
