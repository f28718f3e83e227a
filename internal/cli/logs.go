package cli

import (
	"fmt"
	"os"
	"os/exec"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/units"
)

func logsCommand(*streams) *cobra.Command {
	var follow bool
	var lines, since, until, output string
	command := &cobra.Command{
		Use:   "logs [flags] NAME [-- JOURNALCTL-FLAG...]",
		Short: "Show what a container logged",
		Long: `Logs is journalctl for the units of a container. What stands behind "--" is
given to journalctl as it is.`,
		Example:           "  cocker logs -f web\n  cocker logs -n 20 --since '1 hour ago' web\n  cocker logs web -- --boot -p err",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeContainers,
		RunE: func(c *cobra.Command, args []string) error {
			name := args[0]
			if err := config.ValidName(name); err != nil {
				return err
			}
			argv := []string{"journalctl"}
			for _, unit := range []string{units.Service(name), units.TransientService(name), units.Scope(name)} {
				argv = append(argv, "--unit="+unit)
			}
			if follow {
				argv = append(argv, "--follow")
			}
			for flag, value := range map[string]string{"lines": lines, "since": since, "until": until, "output": output} {
				if value != "" {
					argv = append(argv, "--"+flag+"="+value)
				}
			}
			return become(append(argv, args[1:]...))
		},
	}
	command.Flags().BoolVarP(&follow, "follow", "f", false, "go on showing what is logged")
	command.Flags().StringVarP(&lines, "lines", "n", "", "show so many of the last lines, a `number` or \"all\"")
	command.Flags().StringVar(&since, "since", "", "show what was logged since then, a `time` as in systemd.time(7)")
	command.Flags().StringVar(&until, "until", "", "show what was logged until that `time`")
	command.Flags().StringVarP(&output, "output", "o", "", "journalctl's `format`: cat, json, short-precise, ...")
	return command
}

// become replaces this program: there is nothing left for it to do.
func become(argv []string) error {
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return err
	}
	if err := unix.Exec(path, argv, os.Environ()); err != nil {
		return fmt.Errorf("execute %s: %w", path, err)
	}
	return nil
}
