package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/cocker/cocker/internal/handoff"
	"github.com/cocker/cocker/internal/linux"
	"github.com/cocker/cocker/launch"
)

// processEntry is one process of "cocker ps NAME --json".
type processEntry struct {
	Name         string     `json:"name"`
	State        string     `json:"state"`         // waiting, starting, running, stopping, restarting, stopped, ended, failed
	PID          int        `json:"pid,omitempty"` // as the host numbers it
	ContainerPID int        `json:"container_pid,omitempty"`
	Since        *time.Time `json:"since,omitempty"`
	Restarts     int        `json:"restarts"`
	Result       string     `json:"result,omitempty"` // how it ended last
	Processes    int        `json:"processes"`        // those that it has started, and itself
}

// psProcesses lists the processes of one container.
func psProcesses(ctx context.Context, s *streams, name string, asJSON bool) error {
	state, err := runningState(name)
	if err != nil {
		return err
	}
	cgroup, err := linux.CgroupOf(state.Leader)
	if err != nil {
		return fmt.Errorf("container %s has ended", name)
	}
	reply, err := askInit(ctx, state, handoff.ProcessList)
	if errors.Is(err, errOneProcess) {
		reply, err = onlyCommand(state, cgroup), nil
	}
	if err != nil {
		return err
	}
	entries := []processEntry{}
	for i := range reply.Processes {
		entries = append(entries, newProcessEntry(cgroup, &reply.Processes[i]))
	}
	if asJSON {
		return printJSON(s.out, entries)
	}
	var rows [][]string
	for _, e := range entries {
		rows = append(rows, e.row(time.Now()))
	}
	return printTable(s.out, []string{"PROCESS", "STATE", "PID", "SINCE", "RESTARTS", "RESULT"}, rows)
}

func (e processEntry) row(now time.Time) []string {
	pid, since := "", ""
	if e.PID != 0 {
		pid = strconv.Itoa(e.PID)
	}
	if e.Since != nil {
		since = ago(now, *e.Since)
	}
	return []string{e.Name, e.State, pid, since, strconv.Itoa(e.Restarts), e.Result}
}

func newProcessEntry(cgroup string, p *handoff.ProcessStatus) processEntry {
	e := processEntry{Name: p.Name, State: p.State, ContainerPID: p.PID, Restarts: p.Restarts, Result: p.Result}
	if p.Since != 0 {
		since := time.UnixMicro(p.Since)
		e.Since = &since
	}
	if !filepath.IsLocal(p.Name) || strings.Contains(p.Name, "/") { // init is in the container's hands
		return e
	}
	own := launch.ProcessCgroup(cgroup, p.Name)
	if _, err := os.Stat(own); err != nil {
		own = cgroup
	}
	members := membersOf(own)
	e.Processes = len(members)
	for _, pid := range members {
		if inner := pidInside(pid); inner != 0 && inner == p.PID {
			e.PID = pid
		}
	}
	return e
}

// onlyCommand is what there is to say of a container without tables: its command is the
// first process that init has started, or PID 1 itself.
func onlyCommand(state *launch.State, cgroup string) *handoff.ProcessReply {
	command := handoff.ProcessStatus{Name: "main", State: "running"}
	for _, pid := range membersOf(cgroup) {
		if inner := pidInside(pid); inner > 1 && parentOf(pid) == state.Leader && (command.PID == 0 || inner < command.PID) {
			command.PID = inner
		}
	}
	if command.PID == 0 {
		command.PID = 1
	}
	return &handoff.ProcessReply{Processes: []handoff.ProcessStatus{command}}
}

// membersOf are the processes in a cgroup, as the host numbers them.
func membersOf(cgroup string) (pids []int) {
	text, _ := os.ReadFile(filepath.Join(cgroup, "cgroup.procs")) // gone: nobody is in it
	for line := range strings.Lines(string(text)) {
		if pid, err := strconv.Atoi(strings.TrimSpace(line)); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// pidInside is the number of a process in its container's pid namespace, the one below
// ours (NSpid in proc(5)); 0: it has ended.
func pidInside(pid int) int { return statusNumber(pid, "NSpid") }

func parentOf(pid int) int { return statusNumber(pid, "PPid") }

// statusNumber is the second number of a line of /proc/PID/status, or the only one.
func statusNumber(pid int, key string) int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if name, rest, _ := strings.Cut(line, ":"); name == key {
			fields := strings.Fields(rest)
			if len(fields) == 0 {
				return 0
			}
			number, _ := strconv.Atoi(fields[min(1, len(fields)-1)])
			return number
		}
	}
	return 0
}
