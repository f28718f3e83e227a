package cli

import (
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cocker/cocker/scope"
	"github.com/cocker/cocker/units"
)

func networkListCommand(s *streams) *cobra.Command {
	asJSON := false
	command := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List networks",
		Long: `Ls lists the networks: those that have a file, and cocker0. The subnets of a
network whose file names none are picked when it starts; until then they are
shown as auto. CONTAINERS is how many run in it. The state is that of its unit:
up, down, failed, or "bad file" if no container can start in it because of what
"cocker check" says.`,
		Example:           "  cocker network ls\n  cocker network ls --json | jq -r '.[].name'",
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(c *cobra.Command, _ []string) error { return networkList(c, s, asJSON) },
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print them as JSON")
	return asRoot(command)
}

// networkEntry is one network of "cocker network ls --json".
type networkEntry struct {
	Name        string   `json:"name"`
	Description string   `json:"description,omitempty"`
	Kind        string   `json:"kind,omitempty"`
	Subnets     []string `json:"subnets"`
	Containers  []string `json:"containers"` // that run in it
	State       string   `json:"state"`      // up, down, failed, bad file, no file, ...
	Unit        string   `json:"unit"`
	File        string   `json:"file,omitempty"` // "": the built-in network
	Problem     string   `json:"problem,omitempty"`
}

func networkEntryOf(n network) networkEntry {
	e := networkEntry{Name: n.Name, Kind: n.kind(), Subnets: n.subnets(), Containers: []string{}, State: n.state(), Unit: units.Network(n.Name), File: n.file()}
	if n.Definition != nil {
		e.Description = n.Definition.Description
	}
	for _, m := range n.Members {
		e.Containers = append(e.Containers, m.Container)
	}
	if n.Problem != nil {
		e.Problem = n.Problem.Error()
	}
	return e
}

func networkList(c *cobra.Command, s *streams, asJSON bool) error {
	m, err := scope.Open(c.Context())
	if err != nil {
		return err
	}
	defer m.Close()
	all, err := collectNetworks(c.Context(), m)
	if err != nil {
		return err
	}
	entries := []networkEntry{}
	var rows [][]string
	for _, n := range all {
		e := networkEntryOf(n)
		entries = append(entries, e)
		rows = append(rows, []string{e.Name, e.Kind, strings.Join(e.Subnets, ","), strconv.Itoa(len(e.Containers)), e.State, e.File})
	}
	if asJSON {
		return printJSON(s.out, entries)
	}
	return printTable(s.out, []string{"NAME", "KIND", "SUBNETS", "CONTAINERS", "STATE", "FILE"}, rows)
}
