package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/internal/confinement"
	"github.com/cocker/cocker/internal/paths"
	"github.com/cocker/cocker/launch"
)

func securityCommand(s *streams) *cobra.Command {
	asJSON := false
	command := &cobra.Command{
		Use:   "security NAME",
		Short: "Show what confines a container, and what does not",
		Long: `Security lists what keeps a container apart from the host, what of that is on
and off, and why each matters, in the manner of "systemd-analyze security". Of a
container that runs, it is read from the kernel and from systemd as it is now,
of the least confined of its processes; only what it is given of the host's paths
is what its file says. Of one that does not run, all is read from its file.

The exposure is between 0, for a container that everything confines, and 10. It
judges the confinement, and not the program that is confined; nobody needs a 0.`,
		Example:           "  cocker security web\n  cocker security --json web | jq '.measures[] | select(.on | not)'",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeContainers,
		RunE: func(c *cobra.Command, args []string) error {
			report, err := confinementOf(c.Context(), args[0])
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(s.out, report)
			}
			return report.print(s.out)
		},
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print it as JSON")
	return asRoot(command)
}

// securityReport is what "cocker security" shows.
type securityReport struct {
	Name     string                `json:"name"`
	Running  bool                  `json:"running"` // then the measures are the kernel's, else those of the file
	Measures []confinement.Measure `json:"measures"`
	Exposure float64               `json:"exposure"`
	Verdict  string                `json:"verdict"`
}

func confinementOf(ctx context.Context, name string) (*securityReport, error) {
	c, err := containerNamed(ctx, name)
	if err != nil {
		return nil, err
	}
	facts, err := factsOf(c)
	if err != nil {
		return nil, err
	}
	report := &securityReport{Name: name, Running: c.Run != nil}
	report.Measures, report.Exposure = confinement.Judge(facts)
	report.Verdict = confinement.Verdict(report.Exposure)
	return report, nil
}

// factsOf reads what confines a container that runs, or would confine one that does not.
func factsOf(c container) (*confinement.Facts, error) {
	var facts *confinement.Facts
	switch {
	case c.Run != nil:
		cgroup, err := c.Run.CgroupDir()
		if err == nil {
			facts, err = confinement.Read(c.Run.Leader, cgroup, paths.Init())
		}
		if err != nil {
			return nil, fmt.Errorf("read what confines %s: %w", c.Name, err)
		}
	case c.Config == nil || c.Problem != nil:
		return nil, errors.Join(fmt.Errorf("container %s does not run and has no file that says how it would", c.Name), c.Problem)
	default:
		facts = plannedFacts(c.Config)
	}
	facts.Devices = c.Unit.DevicePolicy == "closed" || c.Unit.DevicePolicy == "strict"
	for _, allowed := range c.Unit.DeviceAllow {
		facts.MoreDevices = append(facts.MoreDevices, strings.TrimSpace(allowed))
	}
	facts.Binds, facts.NoFile = bindsOf(c.Config), c.Config == nil || c.Problem != nil
	return facts, nil
}

// plannedFacts are what a start makes of a container's file.
func plannedFacts(c *config.Container) *confinement.Facts {
	facts := &confinement.Facts{
		OwnUsers:     c.Security.OwnUsers(),
		Shared:       map[string]bool{"net": c.HostNetwork()},
		Filter:       !c.Unfiltered(),
		NoNewPrivs:   c.NoNewPrivileges,
		Bounding:     launch.Capabilities(c),
		RootUser:     c.User == "" || c.User == "root" || c.User == "0",
		ReadOnlyRoot: c.Security.ReadOnly,
		Label:        cmp.Or(c.Security.AppArmorProfile, c.Security.SELinuxLabel),
		MemoryLimit:  c.Resources.MemoryMax != "" && c.Resources.MemoryMax != "infinity",
		TasksLimit:   c.Resources.TasksMax != "infinity", // systemd has a default (DefaultTasksMax= in systemd-system.conf(5))
	}
	if c.Security.Privileged {
		facts.Unmask()
	}
	return facts
}

// bindsOf are the bind mounts of a container's file, where systemd and the kernel have no
// word for what a mount is.
func bindsOf(c *config.Container) (binds []confinement.Bind) {
	if c == nil {
		return nil
	}
	for _, m := range c.Mounts {
		if m.Type == config.MountBind {
			binds = append(binds, confinement.Bind{Source: m.Source, Target: m.Target, ReadOnly: m.ReadOnly})
		}
	}
	return binds
}

func (r *securityReport) print(w io.Writer) error {
	rows := make([][]string, 0, len(r.Measures))
	for _, m := range r.Measures {
		mark, exposure := "✓", ""
		if !m.On {
			mark, exposure = "✗", fmt.Sprintf("%.1f", m.Exposure)
		}
		rows = append(rows, []string{mark, m.Name, m.What, exposure, m.Why})
	}
	if err := printTable(w, []string{"", "MEASURE", "HOW IT IS", "EXPOSURE", "WHY"}, rows); err != nil {
		return err
	}
	from := "as it runs now"
	if !r.Running {
		from = "by its file, as it does not run"
	}
	_, err := fmt.Fprintf(w, "\nExposure of %s, %s: %.1f %s\n", r.Name, from, r.Exposure, r.Verdict)
	return err
}
