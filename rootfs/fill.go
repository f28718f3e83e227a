package rootfs

import (
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/internal/handoff"
	"github.com/cocker/cocker/internal/linux"
)

// File is a file of the root file system that cocker fills in at every start.
type File struct {
	Path   string
	Mode   uint32
	Update func(old []byte) []byte // see Root.UpdateFile
}

// fill mounts and writes everything that comes on top of the overlay. credentials is as
// Assemble has it.
func fill(spec *Spec, devices []hostDevice) (notes []Note, credentials int, err error) {
	root, err := OpenRoot(handoff.StageRoot[1:])
	if err != nil {
		return nil, -1, err
	}
	defer root.Close()
	// The files come before the user's mounts: an image could lead one of them into
	// a directory of the host that is mounted writable, and a user's mount on
	// /etc/hosts is to be what the container sees.
	for _, step := range []func(*Root, *Spec) error{kernelDirectories, withDevices(devices), mountRun, writeFiles, prepareReadOnly} {
		if err := step(root, spec); err != nil {
			return nil, -1, err
		}
	}
	if credentials, err = mountCredentials(root, spec); err != nil {
		return nil, -1, err
	}
	volumes, err := openVolumes(root, spec)
	if err == nil {
		notes, err = mountAll(root, spec, volumes)
	}
	if err != nil && credentials >= 0 {
		_ = unix.Close(credentials)
	}
	return notes, credentials, err
}

// kernelDirectories makes sure that /proc and /sys are directories; cocker-init
// mounts there, because these file systems belong to the container's namespaces.
func kernelDirectories(root *Root, spec *Spec) error {
	for _, name := range []string{"proc", "sys"} {
		fd, err := root.PlainDirectory(name)
		if err != nil {
			return err
		}
		unix.Close(fd)
	}
	switch {
	case spec.HostSys:
		return bindHostSys(root, spec)
	case spec.SharedNetwork:
		return mountSharedSys(root, spec)
	}
	return nil
}

// sysAttributes are the attributes of /sys.
func (s *Spec) sysAttributes() uint64 {
	if s.WritableSys {
		return noExecution
	}
	return unix.MOUNT_ATTR_RDONLY | noExecution
}

const noExecution = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC

// mountSharedSys mounts the sysfs that shows the links of the thread's network namespace.
// Because of that it takes a capability over the namespace, which the container has not
// (kobj_ns_current_may_mount in fs/sysfs/mount.c).
func mountSharedSys(root *Root, spec *Spec) error {
	target, err := root.PlainDirectory("sys")
	if err != nil {
		return err
	}
	defer unix.Close(target)
	fd, err := linux.NewMount("sysfs", int(spec.sysAttributes()))
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return linux.Attach(fd, target)
}

func bindHostSys(root *Root, spec *Spec) error {
	target, err := root.PlainDirectory("sys")
	if err != nil {
		return err
	}
	defer unix.Close(target)
	fd, err := linux.CloneMount("/sys", false)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := linux.SetAttributes(fd, spec.sysAttributes(), false); err != nil {
		return err
	}
	return linux.Attach(fd, target)
}

// mountRun gives the container an empty /run, as after the boot of a machine.
func mountRun(root *Root, spec *Spec) error {
	target, err := root.PlainDirectory("run")
	if err != nil {
		return err
	}
	defer unix.Close(target)
	if err := mountTmpfs(target, spec, "0755", "20%", unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV); err != nil {
		return err
	}
	if spec.NotifySocket == "" {
		return nil
	}
	_, err = bind(root, &config.Mount{Source: spec.NotifySocket, Target: handoff.NotifySocket}, spec)
	return err
}

// mountTmpfs mounts a tmpfs on the directory target that belongs to the
// container's root. size is as in tmpfs(5); "" is the kernel's default.
func mountTmpfs(target int, spec *Spec, mode, size string, attributes int) error {
	owner := strconv.FormatUint(uint64(spec.IDBase), 10)
	options := []linux.Option{{Key: "mode", Value: mode}, {Key: "uid", Value: owner}, {Key: "gid", Value: owner}}
	if size != "" {
		options = append(options, linux.Option{Key: "size", Value: size})
	}
	if spec.Label != "" {
		options = append(options, linux.Option{Key: "context", Value: spec.Label})
	}
	fd, err := linux.NewMount("tmpfs", attributes, options...)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return linux.Attach(fd, target)
}

// mountAll mounts what the [[mount]] tables say, in their order.
func mountAll(root *Root, spec *Spec, volumes map[int]string) ([]Note, error) {
	var notes []Note
	for i := range spec.Mounts {
		mount := &spec.Mounts[i]
		var note Note
		var err error
		switch mount.Type {
		case config.MountTmpfs:
			err = mountUserTmpfs(root, mount, spec)
		case config.MountVolume:
			err = attachVolume(root, mount, volumes[i], spec)
		default:
			note, err = bind(root, mount, spec)
		}
		if err != nil {
			return nil, fmt.Errorf("mount %q: %w", mount.Target, err)
		}
		if note != "" {
			notes = append(notes, note)
		}
	}
	return notes, nil
}

func mountUserTmpfs(root *Root, mount *config.Mount, spec *Spec) error {
	target, err := root.Directory(mount.Target, 0o755)
	if err != nil {
		return err
	}
	defer unix.Close(target)
	size := ""
	if mount.Size > 0 {
		size = strconv.FormatUint(mount.Size, 10)
	}
	attributes := unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV
	if mount.ReadOnly {
		attributes |= unix.MOUNT_ATTR_RDONLY
	}
	mode := uint32(0o1777)
	if mount.Mode != 0 {
		mode = mount.Mode
	}
	return mountTmpfs(target, spec, fmt.Sprintf("%04o", mode), size, attributes)
}

// bind binds a file or directory of the host. The source is looked up once: what
// was checked is what is mounted, also if another container can write on the way.
func bind(root *Root, mount *config.Mount, spec *Spec) (Note, error) {
	source, err := unix.Open(mount.Source, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("source %q: %w", mount.Source, err)
	}
	defer unix.Close(source)
	var stat unix.Stat_t
	if err := unix.Fstat(source, &stat); err != nil {
		return "", fmt.Errorf("source %q: %w", mount.Source, err)
	}
	target, err := root.Target(mount.Target, stat.Mode&unix.S_IFMT == unix.S_IFDIR)
	if err != nil {
		return "", err
	}
	defer unix.Close(target)
	fd, err := linux.CloneMountAt(source, "", true)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	if err := linux.SetAttributes(fd, bindAttributes(mount, stat.Mode), true); err != nil {
		return "", err
	}
	note := unmappedNote(mount, &stat, spec.IDBase)
	if mount.MapsIDs() && mount.Type == config.MountBind {
		if note, err = mapBind(fd, mount, spec.UserNamespace); err != nil {
			return "", err
		}
	}
	return note, linux.Attach(fd, target)
}

// unmappedNote tells the user of a writable directory that the container probably
// cannot write to.
func unmappedNote(mount *config.Mount, stat *unix.Stat_t, base uint32) Note {
	directory := stat.Mode&unix.S_IFMT == unix.S_IFDIR
	inside := stat.Uid >= base && stat.Uid-base < linux.IDRangeSize
	if mount.Type != config.MountBind || mount.ReadOnly || mount.MapsIDs() || !directory || inside || stat.Mode&0o002 != 0 {
		return ""
	}
	return Note(fmt.Sprintf("%q belongs to nobody in the container, which cannot write to it: "+
		"give it to the container's root (chown %d:%[2]d), or set idmap = true for this mount if the container may act as the host's users there",
		mount.Source, base))
}

// bindAttributes are the mount attributes of a bind mount. A device that is bound
// by its own name is meant to work; one that lies in a bound directory is not.
func bindAttributes(mount *config.Mount, mode uint32) uint64 {
	attributes := uint64(unix.MOUNT_ATTR_NOSUID)
	if kind := mode & unix.S_IFMT; kind != unix.S_IFCHR && kind != unix.S_IFBLK {
		attributes |= unix.MOUNT_ATTR_NODEV
	}
	if mount.ReadOnly {
		attributes |= unix.MOUNT_ATTR_RDONLY
	}
	return attributes
}

// mapBind maps the ids of a bind mount, and of what is mounted below it, where
// their file systems can (tmpfs: since Linux 6.3; not overlayfs, FUSE, NFS). Where
// one cannot, files of other owners belong to nobody inside, as in systemd-nspawn
// without idmap.
func mapBind(fd int, mount *config.Mount, userNamespace int) (Note, error) {
	whole := mapIDs(fd, userNamespace, true)
	if !cannotMap(whole) {
		return "", whole
	}
	what := fmt.Sprintf("%q cannot", mount.Source)
	switch err := mapIDs(fd, userNamespace, false); {
	case err == nil:
		what = fmt.Sprintf("what is mounted below %q cannot", mount.Source)
	case !cannotMap(err):
		return "", err
	}
	return Note(what + " be mapped to the container's ids (a file system there does not support it); its files belong to nobody in the container"), nil
}

func cannotMap(err error) bool { return errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EPERM) }

func writeFiles(root *Root, spec *Spec) error {
	for _, file := range spec.Files {
		if err := root.UpdateFile(file.Path, file.Mode, file.Update); err != nil {
			return err
		}
	}
	return nil
}
