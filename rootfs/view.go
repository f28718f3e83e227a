package rootfs

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/internal/handoff"
	"github.com/cocker/cocker/internal/linux"
)

// ViewSpec says how the files of a container that does not run are shown.
type ViewSpec struct {
	Spec             // Stage, LayerRoot, Layers, Writable, IDBase, UserNamespace and Mounts; Writable may be "" for reading
	Write     bool   // changes go to the writable layer; otherwise nothing on the disk changes
	UserMount bool   // show the [[mount]] tables, and what a start covers as read-only
	Volumes   string // the directory of named volumes
}

// View mounts the files of a container that does not run and returns a descriptor of
// their root directory. The calling thread must be locked and never be unlocked: it gets
// a mount namespace of its own, which must live as long as the files are used, and with
// which all mounts go. The notes tell which mounts are not there.
func View(spec *ViewSpec) (root int, notes []Note, err error) {
	if err := leaveHost(); err != nil {
		return -1, nil, err
	}
	if err := viewStage(spec.Stage); err != nil {
		return -1, nil, err
	}
	if err := mountView(spec); err != nil {
		return -1, nil, err
	}
	handle, err := OpenRoot(handoff.StageRoot[1:])
	if err != nil {
		return -1, nil, err
	}
	if spec.UserMount {
		if notes, err = mountInView(handle, spec); err != nil {
			handle.Close()
			return -1, nil, err
		}
	}
	return handle.fd, notes, nil
}

// stageScratch takes what would be written while the files are only read: the places of
// mounts that are missing.
const stageScratch = "scratch"

func viewStage(stage string) error {
	if err := linux.Mount("cocker", stage, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755,size=1M"); err != nil {
		return err
	}
	if err := unix.Chdir(stage); err != nil {
		return fmt.Errorf("chdir %q: %w", stage, err)
	}
	for _, directory := range []string{stageLayers, stageLinks, stageWritable, handoff.StageRoot[1:],
		stageScratch, stageScratch + "/upper", stageScratch + "/work"} {
		if err := unix.Mkdir(directory, 0o755); err != nil {
			return fmt.Errorf("mkdir %q on the stage: %w", directory, err)
		}
	}
	return nil
}

// mountView mounts the overlay. To be read, the writable layer is the topmost of the
// lower ones.
func mountView(spec *ViewSpec) error {
	if spec.Write {
		return mountOverlay(&spec.Spec)
	}
	if err := mountMapped(spec.LayerRoot, stageLayers, spec.UserNamespace); err != nil {
		return err
	}
	names, err := layerNames(spec.LayerRoot, spec.Layers)
	if err != nil {
		return err
	}
	for i, name := range names {
		names[i] = "../" + stageLayers + "/" + name
	}
	if spec.Writable != "" {
		if err := mountMapped(spec.Writable, stageWritable, spec.UserNamespace); err != nil {
			return err
		}
		names = append(names, "../"+stageWritable+"/upper")
	}
	for i, name := range names {
		link := filepath.Join(stageLinks, strconv.Itoa(i))
		if err := unix.Symlink(name, link); err != nil {
			return fmt.Errorf("link layer %q: %w", name, err)
		}
	}
	if err := likeTop(filepath.Join(stageLinks, strconv.Itoa(len(names)-1)), stageScratch+"/upper"); err != nil {
		return err
	}
	if err := linux.SetFilesystemIDs(int(spec.IDBase), int(spec.IDBase)); err != nil {
		return err
	}
	options := strings.ReplaceAll(overlayOptions(len(names)), "="+stageWritable+"/", "="+stageScratch+"/")
	return linux.Mount("cocker", handoff.StageRoot[1:], "overlay", unix.MS_NODEV|unix.MS_NOSUID, options)
}

// likeTop gives the scratch layer's directory, which is the root directory that is seen,
// owner, mode and time of the topmost layer's.
func likeTop(top, scratch string) error {
	var st unix.Stat_t
	if err := unix.Stat(top, &st); err != nil {
		return fmt.Errorf("stat %q: %w", top, err)
	}
	if err := unix.Chown(scratch, int(st.Uid), int(st.Gid)); err != nil {
		return fmt.Errorf("chown %q: %w", scratch, err)
	}
	if err := unix.Chmod(scratch, st.Mode&0o7777); err != nil {
		return fmt.Errorf("chmod %q: %w", scratch, err)
	}
	return unix.UtimesNano(scratch, []unix.Timespec{st.Mtim, st.Mtim})
}

// covered are the directories that a start mounts something new on.
var covered = [...]string{"dev", "proc", "run", "sys"}

// mountInView mounts what the container sees when it runs. What would be new at its start
// is empty and read-only: a file put there would be hidden.
func mountInView(root *Root, spec *ViewSpec) (notes []Note, err error) {
	for _, name := range covered {
		if err := cover(root, "/"+name); err != nil {
			return nil, err
		}
	}
	for i := range spec.Mounts {
		mount := &spec.Mounts[i]
		err := mountOne(root, mount, spec)
		if err != nil && spec.Write {
			return nil, fmt.Errorf("mount %q: %w", mount.Target, err)
		}
		if err != nil {
			notes = append(notes, Note(fmt.Sprintf("%s is not mounted: %v", mount.Target, err)))
		}
	}
	return notes, nil
}

func mountOne(root *Root, mount *config.Mount, spec *ViewSpec) error {
	switch mount.Type {
	case config.MountTmpfs:
		return cover(root, mount.Target)
	case config.MountVolume:
		return mountVolume(root, mount, spec)
	}
	_, err := bind(root, mount, &spec.Spec)
	return err
}

// cover hides a directory below an empty one.
func cover(root *Root, name string) error {
	target, err := root.Directory(name, 0o755)
	if err != nil {
		return err
	}
	defer unix.Close(target)
	const attributes = unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV
	fd, err := linux.NewMount("tmpfs", attributes, linux.Option{Key: "mode", Value: "0755"})
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return linux.Attach(fd, target)
}

// mountVolume mounts a volume that a start has made. Of one that is not there yet the content
// is what the image has, and nothing can be put there.
func mountVolume(root *Root, mount *config.Mount, spec *ViewSpec) error {
	err := attachVolume(root, mount, filepath.Join(spec.Volumes, mount.Source, "data"), &spec.Spec)
	if !errors.Is(err, unix.ENOENT) {
		return err
	}
	if spec.Write {
		return cover(root, mount.Target)
	}
	return nil
}
