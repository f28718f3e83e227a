package linux

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// cgroupRoot is where systemd has the unified hierarchy.
const cgroupRoot = "/sys/fs/cgroup"

// CgroupPath is the directory of a cgroup as /proc/PID/cgroup names it.
func CgroupPath(name string) string { return filepath.Join(cgroupRoot, name) }

// CgroupOf is the directory of the cgroup that a process is in.
func CgroupOf(pid int) (string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		if name, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok { // cgroups(7): the unified hierarchy
			return CgroupPath(name), nil
		}
	}
	return "", errors.New("this host has no unified cgroup hierarchy")
}

// DelegateCgroup lets an owner move processes into and out of a cgroup.
func DelegateCgroup(dir string, owner int) error {
	if err := os.Chown(filepath.Join(dir, "cgroup.procs"), owner, owner); err != nil {
		return fmt.Errorf("delegate cgroup: %w", err)
	}
	return nil
}

// delegatable are the files of a cgroup that belong to whoever may divide it
// (cgroups(7), "Delegation"), beside those that the kernel of the host lists.
var delegatable = [...]string{"cgroup.procs", "cgroup.subtree_control", "cgroup.threads"}

// DelegateSubtree gives an owner what is below a cgroup, as systemd does for a unit with
// Delegate= and User=; the cgroup's own limits stay.
func DelegateSubtree(dir string, owner int) error {
	files := delegatable[:]
	if listed, err := os.ReadFile("/sys/kernel/cgroup/delegate"); err == nil {
		files = strings.Fields(string(listed))
	}
	if err := os.Chown(dir, owner, owner); err != nil {
		return fmt.Errorf("delegate cgroup: %w", err)
	}
	for _, file := range files {
		err := os.Chown(filepath.Join(dir, file), owner, owner)
		if err != nil && !errors.Is(err, os.ErrNotExist) { // of a controller that is not enabled
			return fmt.Errorf("delegate cgroup: %w", err)
		}
	}
	return nil
}

// CgroupFrozen tells whether a cgroup is frozen, by itself or by one above it.
func CgroupFrozen(dir string) bool {
	text, _ := os.ReadFile(filepath.Join(dir, "cgroup.events"))
	own, _ := os.ReadFile(filepath.Join(dir, "cgroup.freeze")) // it comes before the event
	return strings.Contains(string(text), "frozen 1\n") || string(own) == "1\n"
}
