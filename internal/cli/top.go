package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/internal/linux"
	"github.com/cocker/cocker/internal/stats"
	"github.com/cocker/cocker/launch"
)

func topCommand(s *streams) *cobra.Command {
	l, sorting := &live{out: s.out}, "cpu"
	command := &cobra.Command{
		Use:   "top NAME",
		Short: "Show the processes in a container, and go on",
		Long: `Top shows the processes in a running container, those of its sessions too. On a
terminal it is a table that is drawn anew at each interval until Ctrl-C or the
container's end.

PID       as the container numbers it
HOST-PID  as the host does
USER      as the container's /etc/passwd names it
CPU%      processor time over the last interval; 100 is one CPU
MEMORY    resident memory; what several processes share counts for each
TIME      processor time since its start
COMMAND   the command line, or the name in brackets if there is none

With --json each line is one process in one sample, with the keys time, container,
pid, host_pid, user, uid (as the container numbers it), cpu_percent, cpu_usec,
memory_bytes and command. cpu_percent is null in the first sample of a process.

Control characters in names and command lines, which the container decides on, are
shown as "?".`,
		Example:           "  cocker top web\n  cocker top --no-stream --sort memory web",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeContainers1,
		RunE: func(c *cobra.Command, args []string) error {
			if err := errors.Join(l.check(), checkSort(sorting, topOrders())); err != nil {
				return err
			}
			state, err := existingState(args[0])
			if err != nil {
				return err
			}
			w := &processWatch{state: state, sort: sorting, last: map[int]processReading{}}
			if err := w.prepare(); err != nil {
				return fmt.Errorf("container %s: %w", state.Name, err)
			}
			if err := l.run(c.Context(), w.take); l.noStream || !errors.Is(err, errEnded) {
				return err
			}
			return nil // there is nothing more to watch
		},
	}
	l.flags(command)
	sortFlag(command, &sorting, topOrders())
	return asRoot(command)
}

// errEnded says that a container has ended while it was looked at.
var errEnded = errors.New("has ended")

// topEntry is one line of "cocker top --json".
type topEntry struct {
	Time       time.Time `json:"time"`
	Container  string    `json:"container"`
	PID        int       `json:"pid"`
	HostPID    int       `json:"host_pid"`
	User       string    `json:"user"`
	UID        uint32    `json:"uid"`
	CPUPercent *float64  `json:"cpu_percent"`
	CPUUsec    uint64    `json:"cpu_usec"`
	Memory     uint64    `json:"memory_bytes"`
	Command    string    `json:"command"`
}

func topOrders() []order[topEntry] {
	return []order[topEntry]{
		{"cpu", func(a, b topEntry) int { return descending(a.CPUPercent, b.CPUPercent) }},
		{"memory", func(a, b topEntry) int { return cmp.Compare(b.Memory, a.Memory) }},
		{"time", func(a, b topEntry) int { return cmp.Compare(b.CPUUsec, a.CPUUsec) }},
		{"pid", func(a, b topEntry) int { return cmp.Compare(a.PID, b.PID) }},
		{"user", func(a, b topEntry) int { return cmp.Compare(a.User, b.User) }},
		{"command", func(a, b topEntry) int { return cmp.Compare(a.Command, b.Command) }},
	}
}

// processReading is what was read of a process.
type processReading struct {
	start uint64
	at    time.Time
	cpu   time.Duration
}

// processWatch takes samples of the processes of one container.
type processWatch struct {
	state  *launch.State
	cgroup string
	sort   string
	ids    idMap
	users  map[uint32]string // as the container numbers them
	last   map[int]processReading
}

func (w *processWatch) prepare() (err error) {
	if w.cgroup, err = w.state.CgroupDir(); err != nil {
		return err
	}
	if w.ids, err = idMapOf(w.state.Leader); err != nil {
		return err
	}
	w.users = containerUsers(w.state.Leader)
	return nil
}

func (w *processWatch) take() (sample, error) {
	processes, err := stats.Processes(w.cgroup)
	if err != nil && !w.state.Running() || err == nil && len(processes) == 0 && !w.state.Running() {
		return sample{}, fmt.Errorf("container %s %w", w.state.Name, errEnded)
	}
	if err != nil {
		return sample{}, fmt.Errorf("container %s: %w", w.state.Name, err)
	}
	now, seen := time.Now(), map[int]processReading{}
	entries := []topEntry{}
	for _, p := range processes {
		seen[p.HostPID] = processReading{p.Start, now, p.CPU}
		entries = append(entries, w.entry(p, now))
	}
	w.last = seen
	sortBy(entries, w.sort, topOrders(), func(a, b topEntry) int { return cmp.Compare(a.PID, b.PID) })
	return topSample(entries), nil
}

func (w *processWatch) entry(p stats.Process, now time.Time) topEntry {
	e := topEntry{Time: now.Round(0), Container: w.state.Name, PID: p.PID, HostPID: p.HostPID, UID: w.ids.inside(p.UID),
		CPUUsec: uint64(p.CPU.Microseconds()), Memory: p.Memory, Command: oneLine(p.Command)} //nolint:gosec // not negative
	e.User = w.users[e.UID]
	if e.User == "" {
		e.User = strconv.FormatUint(uint64(e.UID), 10)
	}
	if before, known := w.last[p.HostPID]; known && before.start == p.Start && now.After(before.at) {
		percent := max(0, 100*(p.CPU-before.cpu).Seconds()/now.Sub(before.at).Seconds())
		e.CPUPercent = &percent
	}
	return e
}

func topSample(entries []topEntry) sample {
	s := sample{header: []string{"PID", "HOST-PID", "USER", "CPU%", "MEMORY", "TIME", "COMMAND"}}
	for _, e := range entries {
		s.objects = append(s.objects, e)
		s.rows = append(s.rows, []string{strconv.Itoa(e.PID), strconv.Itoa(e.HostPID), e.User, decimal(e.CPUPercent),
			bytesCell(&e.Memory), processorTime(e.CPUUsec), e.Command})
	}
	return s
}

// processorTime is as top(1) has it: minutes, seconds and hundredths.
func processorTime(usec uint64) string {
	hundredths := usec / 10_000
	return fmt.Sprintf("%d:%02d.%02d", hundredths/6000, hundredths/100%60, hundredths%100)
}

// idMap is /proc/PID/uid_map, as the reader sees it (user_namespaces(7)).
type idMap []struct{ inside, outside, length uint32 }

// overflowID is who nobody is mapped to (/proc/sys/kernel/overflowuid, proc(5)).
const overflowID = 65534

func idMapOf(pid int) (m idMap, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/uid_map", pid))
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(text)) {
		var r struct{ inside, outside, length uint32 }
		if _, err := fmt.Sscan(line, &r.inside, &r.outside, &r.length); err != nil {
			return nil, fmt.Errorf("read /proc/%d/uid_map: %w", pid, err)
		}
		m = append(m, r)
	}
	return m, nil
}

func (m idMap) inside(outside uint32) uint32 {
	for _, r := range m {
		if outside >= r.outside && outside-r.outside < r.length {
			return r.inside + outside - r.outside
		}
	}
	return overflowID
}

// maxPasswd and maxUserName bound what a container can make of its /etc/passwd.
const (
	maxPasswd   = 1 << 20
	maxUserName = 32
)

// containerUsers reads the container's /etc/passwd, which is hostile as every file of it:
// it is opened below the container's root, without waiting for whoever holds the other end
// of a fifo, and is a plain file or is not read. Without it users are numbers.
func containerUsers(leader int) map[uint32]string {
	users := map[uint32]string{}
	root, err := linux.Open(fmt.Sprintf("/proc/%d/root", leader), unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return users
	}
	defer unix.Close(root)
	fd, err := linux.OpenInRoot(root, "/etc/passwd", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return users
	}
	file := os.NewFile(uintptr(fd), "passwd")
	defer file.Close()
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return users
	}
	text, err := io.ReadAll(io.LimitReader(file, maxPasswd))
	if err != nil {
		return users
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Split(line, ":") // passwd(5)
		if len(fields) < 7 || fields[0] == "" || len(fields[0]) > maxUserName {
			continue
		}
		id, err := strconv.ParseUint(fields[2], 10, 32)
		if _, taken := users[uint32(id)]; err == nil && !taken { // the first one counts, as for getpwuid(3)
			users[uint32(id)] = oneLine(fields[0])
		}
	}
	return users
}
