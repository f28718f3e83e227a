package cli

import (
	"fmt"

	"github.com/spf13/cobra"
)

func systemCommand(s *streams) *cobra.Command {
	command := &cobra.Command{
		Use:   "system",
		Short: "Look at what cocker keeps on the disk: its size, its state, what may go",
		Args: func(c *cobra.Command, _ []string) error {
			return fmt.Errorf("say what to do: df, check or prune (see \"%s --help\")", c.CommandPath())
		},
		RunE: func(*cobra.Command, []string) error { return nil },
	}
	for _, add := range []func(*streams) *cobra.Command{systemDiskCommand, systemCheckCommand, systemPruneCommand} {
		command.AddCommand(add(s))
	}
	return command
}
