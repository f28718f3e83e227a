package pid1

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/internal/handoff"
)

// processDescriptors are those of a process that there are.
func processDescriptors(plan *handoff.Plan, index int) []uintptr {
	which := []uintptr{uintptr(handoff.ProcessFD(index, handoff.ProcessCgroup))}
	if plan.Processes[index].Journal {
		which = append(which, uintptr(handoff.ProcessFD(index, handoff.ProcessJournal)))
	}
	return which
}

// prepareProcesses finds out everything that can go wrong before the container counts as
// started.
func prepareProcesses(plan *handoff.Plan) ([]*process, error) {
	if len(plan.Processes) == 0 {
		only, err := onlyProcess(plan)
		return []*process{only}, err
	}
	within, err := newConfinement(plan) // one for all of them
	if err != nil {
		return nil, err
	}
	all := make([]*process, len(plan.Processes))
	for i := range plan.Processes {
		p, err := prepareProcess(plan, i, within)
		if err != nil {
			return nil, fmt.Errorf("process %s: %w", plan.Processes[i].Name, err)
		}
		all[i] = p
	}
	return all, nil
}

func prepareProcess(plan *handoff.Plan, index int, within *confinement) (*process, error) {
	about := &plan.Processes[index]
	environment := merge(plan.Environment, about.Environment)
	if about.Ready == handoff.ReadyNotify {
		environment = merge(environment, []string{"NOTIFY_SOCKET=" + handoff.ProcessNotify(about.Name)})
	}
	command, err := prepare(about.User, about.WorkDir, about.Command, environment)
	if err != nil {
		return nil, err
	}
	command.within = within
	p := &process{
		about: about, command: command, dir: about.WorkDir, tty: about.Main && plan.Terminal, state: stateWaiting,
		cgroup: handoff.ProcessFD(index, handoff.ProcessCgroup),
	}
	stream := -1
	if about.Journal {
		stream = handoff.ProcessFD(index, handoff.ProcessJournal)
	}
	if err := p.openOutput(stream); err != nil {
		return nil, err
	}
	switch {
	case p.tty:
		return p, command.ownInput()
	case plan.Foreground && !about.Main: // the caller's input is main's
		null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, fmt.Errorf("open /dev/null: %w", err)
		}
		p.files[0] = null
	}
	return p, nil
}

// The priorities of what is said of processes (sd-daemon(3)).
const (
	priorityError  = "<3>"
	priorityNotice = "<5>"
	priorityInfo   = "<6>"
)

// say writes a line to the unit's journal, or where else init's errors go. It never waits: a
// journal that is stuck must not stop init.
func (s *supervisor) say(priority, format string, args ...any) {
	if len(s.plan.Processes) == 0 {
		return // systemd tells it of the container
	}
	line := fmt.Sprintf(format, args...)
	if unix.Send(2, []byte(priority+line+"\n"), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL) == unix.ENOTSOCK {
		fmt.Fprintln(os.Stderr, "cocker: "+line)
	}
}
