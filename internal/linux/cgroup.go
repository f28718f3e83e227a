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

// CgroupFrozen tells whether a cgroup is frozen, by itself or by one above it.
func CgroupFrozen(dir string) bool {
	text, _ := os.ReadFile(filepath.Join(dir, "cgroup.events"))
	own, _ := os.ReadFile(filepath.Join(dir, "cgroup.freeze")) // it comes before the event
	return strings.Contains(string(text), "frozen 1\n") || string(own) == "1\n"
}
