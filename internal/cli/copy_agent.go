package cli

import (
	"github.com/spf13/cobra"

	"github.com/cocker/cocker/internal/treecopy"
)

// copyAgentCommand is what cp and export start in a container's ids; see treecopy.
func copyAgentCommand(*streams) *cobra.Command {
	return &cobra.Command{
		Use:    treecopy.Verb,
		Short:  "One end of a copy; called by cocker cp and cocker export",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE:   func(c *cobra.Command, _ []string) error { return treecopy.Serve(c.Context()) },
	}
}
