package confinement

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Read reads of the kernel what confines a running container: its PID 1, and the processes
// in its cgroup, of which the least confined one counts. Processes that run the program
// init are cocker's.
func Read(leader int, cgroup, init string) (*Facts, error) {
	f := &Facts{Shared: map[string]bool{}}
	for _, read := range []func() error{
		func() error { return f.readIDs(leader) },
		func() error { return f.readNamespaces(leader) },
		func() error { return f.readMounts(leader) },
		func() error { return f.readProcesses(leader, cgroup, init) },
		func() error { return f.readLimits(cgroup) },
	} {
		if err := read(); err != nil {
			return nil, err
		}
	}
	return f, nil
}

func process(pid int, name string) string { return fmt.Sprintf("/proc/%d/%s", pid, name) }

// readIDs looks whether root of the container is root of the host (user_namespaces(7)).
func (f *Facts) readIDs(leader int) error {
	text, err := os.ReadFile(process(leader, "uid_map"))
	if err != nil {
		return err
	}
	f.FirstID, err = rootID(string(text))
	f.OwnUsers = f.FirstID != 0
	return err
}

// rootID is the id that 0 of a namespace is, by its map.
func rootID(text string) (uint32, error) {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) != 3 || fields[0] != "0" {
			continue
		}
		id, err := strconv.ParseUint(fields[1], 10, 32)
		return uint32(id), err
	}
	return 0, fmt.Errorf("no root in the id map %q", text)
}

func (f *Facts) readNamespaces(leader int) error {
	for _, n := range namespaces {
		own, err := os.Readlink("/proc/self/ns/" + n.kind)
		if err != nil {
			return err
		}
		its, err := os.Readlink(process(leader, "ns/"+n.kind))
		if err != nil {
			return err
		}
		f.Shared[n.kind] = own == its
	}
	return nil
}

// mount is a line of mountinfo (proc_pid_mountinfo(5)).
type mount struct {
	target   string
	readOnly bool
}

func parseMounts(text string) (all []mount) {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 6 {
			continue
		}
		all = append(all, mount{unescape(fields[4]), slices.Contains(strings.Split(fields[5], ","), "ro")})
	}
	return all
}

// unescape undoes what mountinfo does to spaces, tabs, newlines and backslashes.
func unescape(path string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(path)
}

// mountOf is the mount that a path of the container is on: of those at the longest prefix
// the last one, which covers the others.
func mountOf(mounts []mount, path string) (on mount) {
	for _, m := range mounts {
		inside := m.target == "/" || m.target == path || strings.HasPrefix(path, m.target+"/")
		if inside && len(m.target) >= len(on.target) {
			on = m
		}
	}
	return on
}

func (f *Facts) readMounts(leader int) error {
	text, err := os.ReadFile(process(leader, "mountinfo"))
	if err != nil {
		return err
	}
	mounts := parseMounts(string(text))
	f.ReadOnlyRoot = mountOf(mounts, "/").readOnly
	for _, path := range kernelSwitches {
		if exists(path) && !mountOf(mounts, path).readOnly {
			f.Writable = append(f.Writable, path)
		}
	}
	for _, path := range hostInformation {
		if exists(path) && mountOf(mounts, path).target != path {
			f.Shown = append(f.Shown, path)
		}
	}
	return nil
}

// Unmask says that nothing of the kernel's file systems is hidden or read-only.
func (f *Facts) Unmask() {
	all := func(paths []string) []string {
		return slices.DeleteFunc(slices.Clone(paths), func(path string) bool { return !exists(path) })
	}
	f.Writable, f.Shown = all(kernelSwitches[:]), all(hostInformation[:])
}

// exists tells whether this kernel has a file, by the host's own /proc and /sys.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// readProcesses reads what the kernel says of each process of the container.
func (f *Facts) readProcesses(leader int, cgroup, init string) error {
	pids := members(cgroup)
	if !slices.Contains(pids, leader) {
		pids = append(pids, leader)
	}
	var ours []string
	f.Filter, f.NoNewPrivs = true, true
	found := false
	for _, pid := range pids {
		text, err := os.ReadFile(process(pid, "status"))
		if err != nil {
			continue // it has ended meanwhile
		}
		if runs(pid, init) {
			ours = append(ours, string(text))
			continue
		}
		found = true
		f.add(string(text))
		f.RootUser = f.RootUser || field(string(text), "Uid") == strconv.FormatUint(uint64(f.FirstID), 10)
	}
	if !found { // what the next process would have
		for _, text := range ours {
			f.add(text)
		}
	}
	label, _ := os.ReadFile(process(leader, "attr/current"))
	f.Label = strings.Trim(string(label), "\x00\n")
	if f.Label == "unconfined" || f.Label == "kernel" {
		f.Label = ""
	}
	if len(ours) == 0 && !found {
		return fmt.Errorf("process %d has ended", leader)
	}
	return nil
}

func (f *Facts) add(status string) {
	f.Filter = f.Filter && field(status, "Seccomp") == "2"
	f.NoNewPrivs = f.NoNewPrivs && field(status, "NoNewPrivs") == "1"
	f.Bounding |= set(status, "CapBnd") | set(status, "CapPrm")
	f.Ambient |= set(status, "CapAmb")
}

// field is the first word of a field of proc_pid_status(5).
func field(status, name string) string {
	for line := range strings.Lines(status) {
		if value, found := strings.CutPrefix(line, name+":"); found {
			fields := strings.Fields(value)
			if len(fields) > 0 {
				return fields[0]
			}
		}
	}
	return ""
}

func set(status, name string) uint64 {
	value, _ := strconv.ParseUint(field(status, name), 16, 64)
	return value
}

// runs tells whether a process runs a program of the host.
func runs(pid int, program string) bool {
	var its, that unix.Stat_t
	return unix.Stat(process(pid, "exe"), &its) == nil && unix.Stat(program, &that) == nil && its.Dev == that.Dev && its.Ino == that.Ino
}

// members are the processes in a cgroup and those below it.
func members(cgroup string) (pids []int) {
	_ = filepath.WalkDir(cgroup, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.Name() != "cgroup.procs" {
			return nil //nolint:nilerr // one that is gone has nobody in it
		}
		text, _ := os.ReadFile(path)
		for _, word := range strings.Fields(string(text)) {
			if pid, err := strconv.Atoi(word); err == nil && pid > 0 {
				pids = append(pids, pid)
			}
		}
		return nil
	})
	return pids
}

// readLimits looks at the cgroup and those above it: a slice may have the limit. A host
// without the controllers has no limits.
func (f *Facts) readLimits(cgroup string) error {
	for dir := cgroup; strings.HasPrefix(dir, "/sys/fs/cgroup/"); dir = filepath.Dir(dir) {
		f.MemoryLimit = f.MemoryLimit || limited(filepath.Join(dir, "memory.max"))
		f.TasksLimit = f.TasksLimit || limited(filepath.Join(dir, "pids.max"))
	}
	return nil
}

func limited(file string) bool {
	text, err := os.ReadFile(file)
	return err == nil && strings.TrimSpace(string(text)) != "max"
}
