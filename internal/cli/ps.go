package cli

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cocker/cocker/scope"
)

func psCommand(s *streams) *cobra.Command {
	all, asJSON := false, false
	command := &cobra.Command{
		Use:     "ps",
		Aliases: []string{"list"},
		Short:   "List containers",
		Long: `Ps lists the containers that run or have failed, of every kind: those of
files, and those of "cocker run". With --all it lists all that exist, and as
"no file" what containers wrote whose files are gone; "cocker rm NAME" removes
it.`,
		Example:           "  cocker ps --all\n  cocker ps --json | jq -r '.[].name'",
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(c *cobra.Command, _ []string) error { return ps(c.Context(), s, all, asJSON) },
	}
	command.Flags().BoolVarP(&all, "all", "a", false, "list those that do not run too")
	command.Flags().BoolVar(&asJSON, "json", false, "print them as JSON")
	return asRoot(command)
}

// psEntry is one container of "cocker ps --json".
type psEntry struct {
	Name        string     `json:"name"`
	Description string     `json:"description,omitempty"`
	Images      []string   `json:"images"`
	State       string     `json:"state"` // running, stopped, failed, starting, stopping, no file, ...
	Since       *time.Time `json:"since,omitempty"`
	Unit        string     `json:"unit"`
	ActiveState string     `json:"active_state"`
	SubState    string     `json:"sub_state"`
	Result      string     `json:"result,omitempty"`
	Address     string     `json:"address,omitempty"`
	Ports       []string   `json:"ports"`
	File        string     `json:"file,omitempty"`
	Problem     string     `json:"problem,omitempty"`
}

func ps(ctx context.Context, s *streams, all, asJSON bool) error {
	m, err := scope.Open(ctx)
	if err != nil {
		return err
	}
	defer m.Close()
	containers, err := collect(ctx, m)
	if err != nil {
		return err
	}
	entries := []psEntry{}
	for _, c := range containers {
		listed := c.Unit.Running() || c.Unit.ActiveState == "failed"
		if listed || all {
			entries = append(entries, describe(ctx, m, c))
		}
	}
	if asJSON {
		return printJSON(s.out, entries)
	}
	return printTable(s.out, []string{"NAME", "IMAGE", "STATE", "SINCE", "ADDRESS", "PORTS"}, psRows(entries, time.Now()))
}

// describe asks systemd for what a list of units does not say. A unit that is
// gone by now has stopped.
func describe(ctx context.Context, m *scope.Manager, c container) psEntry {
	if full, err := m.Unit(ctx, c.Unit.Name); err == nil {
		c.Unit = full
	}
	e := psEntry{Name: c.Name, Images: append([]string{}, c.images()...), State: c.state(), Unit: c.Unit.Name,
		ActiveState: c.Unit.ActiveState, SubState: c.Unit.SubState, Ports: c.ports(), File: c.File}
	if c.Config != nil {
		e.Description = c.Config.Description
	}
	if !c.Unit.Since.IsZero() {
		e.Since = &c.Unit.Since
	}
	if c.Unit.Running() {
		e.Address = c.address()
	}
	if c.Unit.Result != "success" {
		e.Result = c.Unit.Result
	}
	if c.Problem != nil {
		e.Problem = c.Problem.Error()
	}
	return e
}

func psRows(entries []psEntry, now time.Time) [][]string {
	var rows [][]string
	for _, e := range entries {
		state, since := e.State, ""
		switch {
		case e.Problem != "" && e.ActiveState != "active":
			state = "bad file"
		case e.Result != "" && e.State == "failed":
			state += " (" + e.Result + ")"
		}
		if e.Since != nil {
			since = ago(now, *e.Since)
		}
		rows = append(rows, []string{e.Name, strings.Join(e.Images, ","), state, since, e.Address, strings.Join(e.Ports, ",")})
	}
	return rows
}
