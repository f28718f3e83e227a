package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cgroupTree is the machine's cgroup2 hierarchy, of which hosts get one cgroup each.
// The machine's cgroup v1 hierarchies are never touched.
type cgroupTree struct {
	dir  string
	root *os.File
}

// openCgroups opens the hierarchy where it is mounted: /sys/fs/cgroup, or
// /sys/fs/cgroup/unified on a hybrid machine. On a machine with cgroup v1 alone the
// hierarchy exists as well, and is opened without mounting it anywhere.
func openCgroups() (*cgroupTree, error) {
	dir, err := cgroupMount()
	if err != nil {
		return nil, err
	}
	if dir == "" {
		return detachedCgroups()
	}
	root, err := os.Open(dir)
	return &cgroupTree{dir: dir, root: root}, err
}

// cgroupMount returns the first mount point of cgroup2, or "".
func cgroupMount() (string, error) {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); len(fields) > 2 && fields[2] == "cgroup2" {
			return fields[1], nil
		}
	}
	return "", nil
}

func detachedCgroups() (*cgroupTree, error) {
	fs, err := unix.Fsopen("cgroup2", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("open the cgroup2 file system: %w", err)
	}
	defer unix.Close(fs)
	if err := unix.FsconfigCreate(fs); err != nil {
		return nil, fmt.Errorf("create the cgroup2 file system: %w", err)
	}
	mount, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("mount cgroup2: %w", err)
	}
	return &cgroupTree{dir: fmt.Sprintf("/proc/self/fd/%d", mount), root: os.NewFile(uintptr(mount), "cgroup2")}, nil
}

func (t *cgroupTree) Close() error { return t.root.Close() }

// create makes an empty cgroup called name, in place of one of an earlier boot.
func (t *cgroupTree) create(name string) (*os.File, error) {
	if err := t.remove(name); err != nil {
		return nil, err
	}
	dir := filepath.Join(t.dir, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	return os.Open(dir)
}

// kill sends SIGKILL to every process below the cgroup.
func (t *cgroupTree) kill(name string) error {
	err := os.WriteFile(filepath.Join(t.dir, name, "cgroup.kill"), []byte("1"), 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// remove kills what is in the cgroup and removes it with everything below.
func (t *cgroupTree) remove(name string) error {
	if err := t.kill(name); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	// The kernel reports an empty cgroup before it lets go of it: there is no event.
	return poll(ctx, func() error { return removeCgroups(filepath.Join(t.dir, name)) })
}

// removeCgroups removes a tree of empty cgroups, deepest first.
func removeCgroups(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.IsDir() {
			err = errors.Join(err, removeCgroups(filepath.Join(dir, entry.Name())))
		}
	}
	return errors.Join(err, unix.Rmdir(dir))
}
