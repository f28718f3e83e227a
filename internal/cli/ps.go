package cli

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cocker/cocker/scope"
)

func psCommand(s *streams) *cobra.Command {
	all, asJSON := false, false
	command := &cobra.Command{
		Use:     "ps [NAME]",
		Aliases: []string{"list"},
		Short:   "List containers, or the processes of one",
		Long: `Ps lists the containers that run or have failed, of every kind: those of
files, and those of "cocker run". With --all it lists all that exist, and as
"no file" what containers wrote whose files are gone; "cocker rm NAME" removes
it. The state of a container tells, in parentheses, how far the pull is that its
start waits for, whether it is healthy if it has a [health] table, when its file
is gone or bad while it runs, which process the kernel has killed because memory
ran out, and what its [security] table turns off: "privileged", "no user namespace".

With a NAME it lists the processes that the [process.NAME] tables of that container
stand for, in the order of their start: whether each runs, as which process of the
host, since when, how often it has been restarted, and how it ended last. The states
are waiting (for others that must be ready first), starting (it is not ready yet),
running, stopping, restarting (it has ended and waits for its restart), stopped, ended
and failed.`,
		Example:           "  cocker ps --all\n  cocker ps --json | jq -r '.[].name'\n  cocker ps web",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeFirstContainer,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 1 {
				return psProcesses(c.Context(), s, args[0], asJSON)
			}
			return ps(c.Context(), s, all, asJSON)
		},
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
	State       string     `json:"state"`            // running, stopped, failed, starting, stopping, pulling, no file, ...
	Pull        string     `json:"pull,omitempty"`   // how far the pull is that its start waits for
	Health      string     `json:"health,omitempty"` // starting, healthy or unhealthy; "": it is not checked, or does not run
	Since       *time.Time `json:"since,omitempty"`
	Unit        string     `json:"unit"`
	ActiveState string     `json:"active_state"`
	SubState    string     `json:"sub_state"`
	Result      string     `json:"result,omitempty"`
	Address     string     `json:"address,omitempty"`
	Addresses   []string   `json:"addresses,omitempty"` // of all networks, Address first
	Ports       []string   `json:"ports"`
	File        string     `json:"file,omitempty"`
	Open        []string   `json:"open,omitempty"`    // what of the confinement is off: "privileged", "no user namespace"
	OOM         string     `json:"oom,omitempty"`     // what was killed because memory ran out
	Problem     string     `json:"problem,omitempty"` // with its file
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
		listed := c.Unit.Running() || c.Unit.ActiveState == "failed" || c.Pull != ""
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
		e.Open = c.Config.Security.Open()
	}
	if !c.Unit.Since.IsZero() {
		e.Since = &c.Unit.Since
	}
	e.Health = c.health()
	if c.Unit.Running() {
		if e.Addresses = c.addresses(); len(e.Addresses) > 0 {
			e.Address = e.Addresses[0]
		}
	}
	if c.Unit.Result != "success" {
		e.Result = c.Unit.Result
	}
	if c.Pull != "" {
		pull, _ := m.Unit(ctx, c.Pull) // it may be gone by now
		e.Pull = pull.StatusText
	}
	e.OOM = c.killed()
	e.Problem = strings.Join(c.problems(), "\n")
	return e
}

func psRows(entries []psEntry, now time.Time) [][]string {
	var rows [][]string
	for _, e := range entries {
		since := ""
		if e.Since != nil {
			since = ago(now, *e.Since)
		}
		rows = append(rows, []string{e.Name, strings.Join(shortNames(e.Images), ","), e.stateCell(), since, strings.Join(e.Addresses, ","), strings.Join(e.Ports, ",")})
	}
	return rows
}

// shortNames are names of images with shorter digests, for people.
func shortNames(images []string) []string {
	short := slices.Clone(images)
	for i, name := range short {
		if repository, digest, ok := strings.Cut(name, "@"); ok {
			short[i] = repository + "@" + shortDigest(digest)
		}
	}
	return short
}

// stateCell is the state and, in parentheses, what else there is to know of it.
func (e psEntry) stateCell() string {
	badFile := e.Problem != "" && e.File != ""
	if badFile && e.ActiveState != "active" {
		return "bad file"
	}
	notes := slices.Clone(e.Open)
	switch {
	case e.Pull != "":
		notes = append(notes, e.Pull)
	case e.Health != "" && e.Health != "starting":
		notes = append(notes, e.Health)
	}
	switch {
	case e.OOM != "":
		notes = append(notes, e.OOM)
	case e.Result != "" && e.State == "failed":
		notes = append(notes, e.Result)
	}
	switch {
	case badFile:
		notes = append(notes, "bad file")
	case e.Problem != "":
		notes = append(notes, "no file")
	}
	if len(notes) == 0 {
		return e.State
	}
	return e.State + " (" + strings.Join(notes, ", ") + ")"
}
