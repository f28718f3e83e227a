package cli

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"
)

func versionCommand(s *streams) *cobra.Command {
	asJSON := false
	command := &cobra.Command{
		Use:               "version",
		Short:             "Show the version of cocker",
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(*cobra.Command, []string) error {
			if asJSON {
				return printJSON(s.out, versionInfo{s.version, runtime.Version()})
			}
			_, err := fmt.Fprintf(s.out, "cocker %s (%s)\n", s.version, runtime.Version())
			return err
		},
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print it as JSON")
	return command
}

type versionInfo struct {
	Version string `json:"version"`
	Go      string `json:"go"`
}
