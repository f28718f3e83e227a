package launch

import (
	"slices"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/internal/handoff"
)

// mainProcess is the table of the process whose end is the container's; nil: it has none.
func mainProcess(c *config.Container) *config.Process {
	i := slices.IndexFunc(c.Processes, func(p config.Process) bool { return p.Name == config.MainProcess })
	if i < 0 {
		return nil
	}
	return &c.Processes[i]
}

// orMain is said to somebody whose container has nothing to run.
func orMain(c *config.Container) string {
	if len(c.Processes) == 0 {
		return ""
	}
	return ", for the process that is the main one, or [process.main]"
}

// planProcesses plans the processes of a container that has several. What the plan says of
// the command is main's afterwards.
func planProcesses(plan *handoff.Plan, c *config.Container) {
	for _, p := range c.Ordered() {
		planned := handoff.Process{
			Name:         p.Name,
			Main:         p.Name == config.MainProcess,
			Command:      p.Command,
			User:         firstOf(p.User, plan.User),
			WorkDir:      firstOf(p.WorkDir, plan.WorkDir),
			After:        p.After,
			Ready:        handoff.Ready(p.Ready),
			Restart:      handoff.Restart(p.Restart),
			RestartDelay: p.RestartDelay,
			DelayMax:     p.RestartDelayMax,
			RestartLimit: p.RestartLimit,
			StopSignal:   stopSignalOf(p.StopSignal),
			StopTimeout:  p.StopTimeout,
		}
		for _, v := range p.Environment {
			planned.Environment = append(planned.Environment, v.Name+"="+v.Value)
		}
		if planned.Main {
			planned.Command = plan.Command
			if p.StopSignal == "" {
				planned.StopSignal = plan.StopSignal
			}
			plan.ForwardNotify = p.Ready == config.ReadyNotify && !plan.Foreground && plan.Health == nil // which is ready when it is healthy
		}
		plan.Processes = append(plan.Processes, planned)
	}
	for _, p := range plan.Processes {
		if p.Main { // a session's default is as main
			plan.User, plan.WorkDir, plan.StopSignal = p.User, p.WorkDir, p.StopSignal
		}
	}
}

// stopSignalOf is the number of a signal of the file.
func stopSignalOf(name string) int {
	if name == "" {
		name = "SIGTERM"
	}
	_, number, _ := config.Signal(name)
	return int(number)
}
