// Package rootfs assembles a container's root file system: the overlay of its
// layers, /dev, /run, the mounts of its TOML file and the few files that cocker
// fills in. It works in the mount namespace of the calling thread only, so that
// nothing is left on the host whatever happens. Everything inside the image is
// hostile: it is reached through Root, by descriptor, never by a path of the
// host. It may import config and internal/linux.
package rootfs

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/internal/handoff"
	"github.com/cocker/cocker/internal/linux"
)

// Spec says what a root file system is made of.
type Spec struct {
	Stage         string // an empty directory of the host to build on; mounts on it are private to the thread
	LayerRoot     string // the directory that holds all unpacked layers
	Layers        []string
	Writable      string // the directory that holds upper and work of this container
	IDBase        uint32 // the host's id of the container's root
	UserNamespace int    // descriptor of a user namespace with that mapping; NoUserNamespace: the ids are the host's
	Init          string // path of cocker-init on the host
	Mounts        []config.Mount
	VolumeStore   VolumeStore // where the data of volumes is
	Files         []File
	Credentials   []Credential // at handoff.Credentials; nil: there is no such directory
	HostSys       bool         // bind the host's /sys: with the host's network a new sysfs is refused
	SharedNetwork bool         // mount the sysfs of the thread's network namespace: only who owns that may
	SharedIPC     string       // a pod's /dev/shm, and mount the message queues of the thread's IPC namespace; "": there is no pod
	NotifySocket  string       // the host's socket to show at handoff.NotifySocket; "": none
	Terminal      string       // the terminal to show at /dev/console; "": none
	Devices       []config.Device
	AllDevices    bool   // of the host
	WritableSys   bool   // with HostSys or SharedNetwork: /sys is not read-only
	ReadOnly      bool   // the root file system is, from Seal on
	WorkDir       string // the directory that the command starts in; only with ReadOnly
	Label         string // the SELinux context of the files; "": none
}

// NoUserNamespace stands for a user namespace where the container has none of its own.
const NoUserNamespace = -1

// MountPoints are the directories and files of a container, as absolute paths, that
// something is mounted on; Assemble makes those that the image lacks.
func MountPoints(mounts []config.Mount) []string {
	points := []string{"/proc", "/sys", "/dev", "/run"}
	for i := range mounts {
		points = append(points, mounts[i].Target)
	}
	return points
}

// Note is something the user should know although it is no error.
type Note string

// Assemble builds the root file system and makes the stage around it the root of
// the calling thread, which must be locked and must never be unlocked again:
//   - the thread gets a mount namespace of its own, detached from the host's;
//   - the thread creates files as the container's root from then on;
//   - its "/" holds the root file system (handoff.StageRoot), cocker-init
//     (handoff.StageInit) and the host's /proc and /sys, without which the kernel
//     refuses new ones in a user namespace (mount_too_revealing in fs/namespace.c).
//
// The program that is started from the thread inherits all of it; because its
// user namespace is a less privileged one, the mounts are locked for it
// (mount_namespaces(7)): the container can neither undo nor loosen them.
//
// credentials is a descriptor through which their owner can be set; -1: there are none.
func Assemble(spec *Spec) (notes []Note, credentials int, err error) {
	spec = withScratch(spec)
	devices, err := hostDevices(spec)
	if err != nil {
		return nil, -1, err
	}
	if err := leaveHost(); err != nil {
		return nil, -1, err
	}
	stage, err := newStage(spec)
	if err != nil {
		return nil, -1, err
	}
	defer unix.Close(stage)
	if err := mountOverlay(spec); err != nil {
		return nil, -1, err
	}
	if notes, credentials, err = fill(spec, devices); err != nil {
		return nil, -1, err
	}
	return notes, credentials, linux.EnterRoot(stage)
}

// leaveHost gives the thread a mount namespace of its own. Private, not slave: a
// mount or unmount on the host must not reach into a container being built.
func leaveHost() error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("unshare mount namespace: %w", err)
	}
	return linux.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
}

// Names below the stage. The stage is the thread's working directory while the
// overlay is mounted: mount(2) takes one page of options, so names are short.
const (
	stageLayers   = "layers"   // idmapped mount of Spec.LayerRoot
	stageLinks    = "l"        // l/0, l/1, ...: links to the layers
	stageWritable = "writable" // idmapped mount of Spec.Writable
)

// newStage makes the stage and returns a descriptor of it. The thread's working
// directory is the stage afterwards.
func newStage(spec *Spec) (fd int, err error) {
	if err := linux.Mount("cocker", spec.Stage, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755,size=1M"); err != nil {
		return -1, err
	}
	if err := unix.Chdir(spec.Stage); err != nil {
		return -1, fmt.Errorf("chdir %q: %w", spec.Stage, err)
	}
	root := handoff.StageRoot[1:]
	for _, directory := range []string{stageLayers, stageLinks, stageWritable, root, "proc", "sys"} {
		if err := unix.Mkdir(directory, 0o755); err != nil {
			return -1, fmt.Errorf("mkdir %q on the stage: %w", directory, err)
		}
	}
	if err := stageFile(handoff.StageInit[1:]); err != nil {
		return -1, err
	}
	for _, bind := range []struct{ source, target string }{
		{"/proc", "proc"},
		{"/sys", "sys"},
		{spec.Init, handoff.StageInit[1:]},
	} {
		if err := bindReadOnly(bind.source, bind.target); err != nil {
			return -1, err
		}
	}
	fd, err = unix.Open(".", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open stage: %w", err)
	}
	return fd, nil
}

func stageFile(name string) error {
	fd, err := unix.Open(name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return fmt.Errorf("create %q on the stage: %w", name, err)
	}
	return unix.Close(fd)
}

// bindReadOnly binds a path of the host. The init must not be writable through
// /proc/1/exe (CVE-2019-5736); /proc is an exception, because the id maps of the
// container are written through it.
func bindReadOnly(source, target string) error {
	fd, err := linux.CloneMount(source, false)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if source != "/proc" {
		if err := linux.SetAttributes(fd, unix.MOUNT_ATTR_RDONLY, false); err != nil {
			return fmt.Errorf("bind %q: %w", source, err)
		}
	}
	return linux.AttachAt(fd, target)
}

// mountOverlay mounts the layers. The overlay itself is nodev: a device file in
// an image must never work, its node is made by the host's root.
func mountOverlay(spec *Spec) error {
	if err := mountMapped(spec.LayerRoot, stageLayers, spec.UserNamespace); err != nil {
		return err
	}
	if err := mountMapped(spec.Writable, stageWritable, spec.UserNamespace); err != nil {
		return err
	}
	names, err := layerNames(spec.LayerRoot, spec.Layers)
	if err != nil {
		return err
	}
	for i, name := range names {
		link := filepath.Join(stageLinks, strconv.Itoa(i))
		if err := unix.Symlink("../"+stageLayers+"/"+name, link); err != nil {
			return fmt.Errorf("link layer %q: %w", name, err)
		}
	}
	// overlayfs writes with the credentials of whoever mounted it, and we write to
	// it next: both must have ids that the idmapped upper layer knows, or the
	// overlay is read-only and a file cannot be made (EOVERFLOW).
	if err := linux.SetFilesystemIDs(int(spec.IDBase), int(spec.IDBase)); err != nil {
		return err
	}
	return linux.Mount("cocker", handoff.StageRoot[1:], "overlay", unix.MS_NODEV, overlayOptions(len(names))+spec.context())
}

// context is the mount option for the SELinux label (mount(8), "context="); one with levels
// has commas.
func (s *Spec) context() string {
	if s.Label == "" {
		return ""
	}
	return `,context="` + s.Label + `"`
}

// mapIDs gives a mount the container's ids, where those are not the host's.
func mapIDs(fd, userNamespace int, recursive bool) error {
	if userNamespace == NoUserNamespace {
		return nil
	}
	return linux.MapIDs(fd, userNamespace, recursive)
}

func mountMapped(source, target string, userNamespace int) error {
	fd, err := linux.CloneMount(source, false)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := mapIDs(fd, userNamespace, false); err != nil {
		return fmt.Errorf("map the ids of %q (its file system must know idmapped mounts): %w", source, err)
	}
	return linux.AttachAt(fd, target)
}

// CreateWritable makes the directories of a writable layer below dir, if they
// are not there yet. The root directory of the container is the upper layer's,
// so it takes owner and mode from the topmost image layer.
func CreateWritable(dir, topLayer string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("create writable layer: %w", err)
	}
	if err := os.Mkdir(filepath.Join(dir, "work"), 0o700); err != nil && !os.IsExist(err) {
		return fmt.Errorf("create writable layer: %w", err)
	}
	upper := filepath.Join(dir, "upper")
	if _, err := os.Lstat(upper); err == nil {
		return checkWritable(upper)
	}
	return createUpper(upper, topLayer)
}

// checkWritable tells a read-only file system, which overlayfs refuses as an
// "invalid argument". The kernel makes one read-only by itself after an error of
// the disk.
func checkWritable(upper string) error {
	if err := unix.Access(upper, unix.W_OK); err != nil {
		return fmt.Errorf("writable layer %q: %w; see findmnt --target /var/lib/cocker and the kernel's log (dmesg)", upper, err)
	}
	return nil
}

// createUpper makes upper complete under another name first: a container that
// was killed in between must not keep a root directory of mode 0700.
func createUpper(upper, topLayer string) error {
	var stat unix.Stat_t
	if err := unix.Stat(topLayer, &stat); err != nil {
		return fmt.Errorf("stat layer %q: %w", topLayer, err)
	}
	staging := upper + ".new"
	if err := os.Mkdir(staging, 0o700); err != nil && !os.IsExist(err) {
		return fmt.Errorf("create writable layer: %w", err)
	}
	if err := unix.Chown(staging, int(stat.Uid), int(stat.Gid)); err != nil {
		return fmt.Errorf("chown %q: %w", staging, err)
	}
	if err := unix.Chmod(staging, stat.Mode&0o7777); err != nil {
		return fmt.Errorf("chmod %q: %w", staging, err)
	}
	if err := os.Rename(staging, upper); err != nil {
		return fmt.Errorf("create writable layer: %w", err)
	}
	return nil
}
