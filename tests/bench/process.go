package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// process is one of a unit's processes, as the host numbers it.
type process int

// processesOf returns the processes in a unit's cgroup and below it.
func processesOf(ctx context.Context, unit string) ([]process, error) {
	group, err := output(ctx, "systemctl", "show", "--property=ControlGroup", "--value", unit)
	if err != nil {
		return nil, err
	}
	if group == "" {
		return nil, fmt.Errorf("%s has no cgroup: it does not run", unit)
	}
	var processes []process
	err = filepath.WalkDir("/sys/fs/cgroup"+group, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.Name() != "cgroup.procs" {
			return err
		}
		data, err := os.ReadFile(path)
		for _, field := range strings.Fields(string(data)) {
			pid, convErr := strconv.Atoi(field)
			processes, err = append(processes, process(pid)), errors.Join(err, convErr)
		}
		return err
	})
	return processes, err
}

func (p process) path(name string) string { return fmt.Sprintf("/proc/%d/%s", int(p), name) }

// isCommand tells the contender's command from what keeps it company.
func (p process) isCommand() bool {
	program, err := os.Readlink(p.path("exe"))
	return err == nil && filepath.Base(program) == "busybox"
}

// privateDirty is the memory in KiB that would not be in use without the process
// (proc_pid_smaps(5)). Clean pages are the page cache's, whoever maps them.
func (p process) privateDirty() (kibibytes int) {
	data, _ := os.ReadFile(p.path("smaps_rollup")) // none if it has ended
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		if len(fields) == 3 && (fields[0] == "Private_Dirty:" || fields[0] == "Swap:") {
			n, _ := strconv.Atoi(fields[1])
			kibibytes += n
		}
	}
	return kibibytes
}

// shares tells whether two processes are in the same namespace of a kind.
func (p process) shares(kind string, with process) bool {
	a, errA := os.Readlink(p.path("ns/" + kind))
	b, errB := os.Readlink(with.path("ns/" + kind))
	return errA == nil && errB == nil && a == b
}
