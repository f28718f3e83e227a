// Package oom tells which processes of a container the kernel has killed because
// memory ran out: how many the container's cgroup says, which ones the kernel's
// log. It imports internal/linux only.
package oom

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cocker/cocker/internal/linux"
)

// cgroupRoot is where systemd has the unified hierarchy.
const cgroupRoot = "/sys/fs/cgroup"

// Victim is a process that was killed.
type Victim struct {
	Process string `json:"process"` // its name, as in /proc/PID/comm
	PID     int    `json:"pid"`     // as the host numbers it
}

// Report is what happened to one container.
type Report struct {
	Kills   int      // processes that were killed
	Limit   string   // the container's own limit if that was what was used up: "64M"; else ""
	Host    bool     // it was the host's memory that was used up
	Victims []Victim // in order; fewer than Kills if the kernel's log has them no more
}

// Read looks at a container that runs, or has ended but still has its cgroup. It
// gives nil if nothing was killed, which costs the reading of one small file.
//
// The counter lives as long as the cgroup, one run of the container, and the log
// longer; so the last entries of the log that are the container's are this run's.
func Read(cgroup string, idBase uint32) *Report {
	r, _ := read(cgroup, idBase, mark{})
	return r
}

// read leaves out what was there up to a mark, and returns the next one.
func read(cgroup string, idBase uint32, from mark) (*Report, mark) {
	to := from
	to.kills = counter(cgroup, "memory.events", "oom_kill")
	if to.kills <= from.kills {
		return nil, from
	}
	r := &Report{Kills: to.kills - from.kills}
	if counter(cgroup, "memory.events.local", "oom") > 0 {
		r.Limit = limit(cgroup)
	}
	log, err := OpenLog()
	if err != nil {
		return r, to
	}
	defer log.Close()
	found := later(log.victims(container{cgroup, idBase}), from.sequence)
	if len(found) > 0 {
		to.sequence = found[len(found)-1].sequence
	}
	r.add(found[max(0, len(found)-r.Kills):])
	return r, to
}

// counter reads a line "NAME NUMBER" of a file of a cgroup. A cgroup without the
// memory controller has no such file, and one that is gone has none either.
func counter(cgroup, file, name string) int {
	text, err := os.ReadFile(filepath.Join(cgroupRoot, cgroup, file))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			n, _ := strconv.Atoi(strings.TrimSpace(value))
			return n
		}
	}
	return 0
}

// limit is memory.max in the largest unit that gives a whole number.
func limit(cgroup string) string {
	text, err := os.ReadFile(filepath.Join(cgroupRoot, cgroup, "memory.max"))
	n, parseErr := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if err != nil || parseErr != nil { // "max": it has been raised since
		return ""
	}
	suffix := ""
	for _, s := range []string{"K", "M", "G", "T"} {
		if n%1024 != 0 || n == 0 {
			break
		}
		n, suffix = n/1024, s
	}
	return strconv.FormatUint(n, 10) + suffix
}

func (r *Report) add(entries []entry) {
	for _, e := range entries {
		r.Victims = append(r.Victims, e.Victim)
		r.Host = r.Host || e.host
	}
}

// String says what happened, without who did it:
// "out of memory (memory_max 64M): process stress (pid 42)".
func (r *Report) String() string {
	what := "out of memory"
	switch {
	case r.Host:
		what = "the host is out of memory"
	case r.Limit != "":
		what += " (memory_max " + r.Limit + ")"
	}
	if len(r.Victims) == 0 {
		return fmt.Sprintf("%s: %s", what, count(r.Kills))
	}
	last := r.Victims[len(r.Victims)-1]
	text := fmt.Sprintf("%s: process %s (pid %d)", what, last.Process, last.PID)
	if r.Kills > 1 {
		text += " and " + strconv.Itoa(r.Kills-1) + " before"
	}
	return text
}

func count(n int) string {
	if n == 1 {
		return "1 process"
	}
	return strconv.Itoa(n) + " processes"
}

// Killed tells whether a process is among the victims.
func (r *Report) Killed(pid int) bool {
	for _, v := range r.Victims {
		if v.PID == pid {
			return true
		}
	}
	return false
}

// container is by what the kernel's log names a container: its cgroup, and the
// user ids of its processes, which no other container has.
type container struct {
	cgroup string
	idBase uint32
}

func (c container) hasID(id uint64) bool {
	return c.idBase != 0 && id >= uint64(c.idBase) && id < uint64(c.idBase)+linux.IDRangeSize
}

func (c container) hasCgroup(path string) bool {
	return c.cgroup != "" && (path == c.cgroup || strings.HasPrefix(path, c.cgroup+"/"))
}
