package stats

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Process is one process of a container.
type Process struct {
	PID     int           // as the container numbers it
	HostPID int           // as the host does
	Start   uint64        // clock ticks since boot; names the process for good
	UID     uint32        // the effective user, as the host numbers it
	CPU     time.Duration // processor time since its start
	Memory  uint64        // resident bytes; what several processes share counts for each
	Command string        // its command line, or its name in brackets if it has none. Hostile
}

// Processes lists the processes in a control group and below it that are in a pid
// namespace below the caller's: what the host itself runs there, as a cleanup does, is none
// of the container's. One that ends meanwhile is left out.
func Processes(cgroup string) ([]Process, error) {
	var all []Process
	err := filepath.WalkDir(cgroup, func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist) && path != cgroup:
			return nil // gone meanwhile
		case err != nil:
			return err
		case !d.IsDir():
			return nil
		}
		text, err := os.ReadFile(filepath.Join(path, "cgroup.procs"))
		if err != nil && path == cgroup {
			return err
		}
		for line := range strings.Lines(string(text)) { // none of one that is gone, or threaded (EOPNOTSUPP)
			pid, err := strconv.Atoi(strings.TrimSpace(line))
			if err != nil || pid == 0 {
				continue
			}
			if p, ok := readProcess(fmt.Sprintf("/proc/%d", pid)); ok {
				p.HostPID = pid
				all = append(all, p)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	return all, nil
}

// maxCommand bounds what is read of a command line.
const maxCommand = 4096

func readProcess(directory string) (p Process, ok bool) {
	status, err := os.ReadFile(filepath.Join(directory, "status"))
	if err != nil || !p.parseStatus(string(status)) {
		return p, false
	}
	stat, err := os.ReadFile(filepath.Join(directory, "stat"))
	if err != nil {
		return p, false
	}
	name, ok := p.parseStat(string(stat))
	p.Command = command(directory, name)
	return p, ok
}

// parseStatus reads /proc/PID/status (proc_pid_status(5)); false: the process is in the
// caller's own pid namespace.
func (p *Process) parseStatus(text string) bool {
	for line := range strings.Lines(text) {
		key, rest, _ := strings.Cut(line, ":")
		fields := strings.Fields(rest)
		switch {
		case key == "Uid" && len(fields) > 1: // real, effective, saved, of the file system
			id, _ := strconv.ParseUint(fields[1], 10, 32)
			p.UID = uint32(id)
		case key == "VmRSS" && len(fields) > 0:
			kilobytes, _ := strconv.ParseUint(fields[0], 10, 64)
			p.Memory = kilobytes << 10
		case key == "NSpid" && len(fields) > 1: // from the caller's namespace inwards
			p.PID, _ = strconv.Atoi(fields[1])
		}
	}
	return p.PID != 0
}

// Fields of /proc/PID/stat after the name, of which the state is the first
// (proc_pid_stat(5) counts it as the third).
const (
	statUserTime   = 14 - 3
	statSystemTime = 15 - 3
	statStart      = 22 - 3
)

// ticks is USER_HZ, which is 100 wherever Linux runs programs (time(7)).
const ticks = 100

// parseStat reads /proc/PID/stat and returns the name. It may have parentheses and
// newlines in it, so it ends at the last parenthesis.
func (p *Process) parseStat(text string) (name string, ok bool) {
	open, end := strings.IndexByte(text, '('), strings.LastIndexByte(text, ')')
	if open < 0 || end < open {
		return "", false
	}
	fields := strings.Fields(text[end+1:])
	if len(fields) <= statStart {
		return "", false
	}
	user, err := strconv.ParseUint(fields[statUserTime], 10, 64)
	system, systemErr := strconv.ParseUint(fields[statSystemTime], 10, 64)
	start, startErr := strconv.ParseUint(fields[statStart], 10, 64)
	p.CPU, p.Start = time.Duration(user+system)*(time.Second/ticks), start //nolint:gosec // 292 years
	return text[open+1 : end], errors.Join(err, systemErr, startErr) == nil
}

// command is what ps(1) shows: the arguments, or the name of what has none.
func command(directory, name string) string {
	file, err := os.Open(filepath.Join(directory, "cmdline"))
	if err != nil {
		return "[" + name + "]"
	}
	defer file.Close()
	text, _ := io.ReadAll(io.LimitReader(file, maxCommand))
	line := strings.TrimSpace(strings.ReplaceAll(strings.TrimRight(string(text), "\x00"), "\x00", " "))
	if line == "" {
		return "[" + name + "]"
	}
	return line
}
