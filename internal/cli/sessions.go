package cli

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cocker/cocker/launch"
)

func sessionsCommand(s *streams) *cobra.Command {
	asJSON := false
	command := &cobra.Command{
		Use:   "sessions [NAME...]",
		Short: "List the commands that run beside a container's own",
		Long: `Sessions lists what "cocker exec", "shell" and "login" have started, or "machinectl shell" and
"login", and what still runs: in which container, who of the host asked for it, as whom it runs, and how
many processes it has. Each is a cgroup, session-N, below that of the container's
unit, where systemd-cgls(1) and systemctl status show its processes.`,
		Example:           "  cocker sessions\n  cocker sessions web --json | jq -r '.[].caller'",
		ValidArgsFunction: completeContainers,
		RunE: func(_ *cobra.Command, args []string) error {
			list, err := listSessions(args)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(s.out, list)
			}
			return printSessions(s, list)
		},
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print it as JSON")
	return asRoot(command)
}

// listSessions lists the sessions of the containers named, or of all.
func listSessions(names []string) ([]sessionInfo, error) {
	list := []sessionInfo{}
	states, err := launch.States()
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if !slices.ContainsFunc(states, func(s *launch.State) bool { return s.Name == name && s.Running() }) {
			return nil, fmt.Errorf("container %s is not running", name)
		}
	}
	for _, state := range states {
		if len(names) > 0 && !slices.Contains(names, state.Name) || !state.Running() {
			continue
		}
		parent, err := state.CgroupDir()
		if err != nil {
			continue // it has ended meanwhile
		}
		sweepSessions(parent)
		for _, path := range sessionDirectories(parent) {
			if about, ok := readSession(state.Name, path); ok {
				list = append(list, about)
			}
		}
	}
	slices.SortFunc(list, func(a, b sessionInfo) int {
		return cmp.Or(cmp.Compare(a.Container, b.Container), cmp.Compare(a.Session, b.Session))
	})
	return list, nil
}

func printSessions(s *streams, list []sessionInfo) error {
	var rows [][]string
	for _, about := range list {
		command := strings.Join(about.Command, " ")
		switch {
		case about.Login:
			command = "(login)"
		case command == "":
			command = "(login shell)"
		}
		rows = append(rows, []string{about.Container, fmt.Sprint(about.Session), about.Caller, about.User,
			ago(time.Now(), about.Since), fmt.Sprint(about.Processes), command})
	}
	return printTable(s.out, []string{"CONTAINER", "SESSION", "CALLER", "USER", "SINCE", "PROCESSES", "COMMAND"}, rows)
}
