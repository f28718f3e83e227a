package cli

import (
	"context"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

func diffCommand(s *streams) *cobra.Command {
	asJSON := false
	command := &cobra.Command{
		Use:   "diff NAME",
		Short: "List what a container has changed",
		Long: `Diff lists what a container has added (A), changed (C) and deleted (D),
compared with its images. It is what "cocker commit" puts into an image: mounted
directories and what a start fills in are not in it. A directory is changed if
something in it is; what was in a deleted one is not listed.

A container that runs may write while it is read. On a terminal characters of a
name that would steer it, and backslashes, are shown as Go and C write them
(\n, \x1b); elsewhere only in names with a line break are they.`,
		Example:           "  cocker diff web\n  cocker diff --json web | jq -r '.[]|select(.kind==\"A\").path'",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeContainers1,
		RunE: func(c *cobra.Command, args []string) error {
			entries, err := diff(c.Context(), args[0])
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(s.out, entries)
			}
			return s.printChanges(entries)
		},
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print it as JSON")
	return asRoot(command)
}

// completeContainers1 is completeContainers for commands that take one.
func completeContainers1(c *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, noFiles
	}
	return completeContainers(c, args, prefix)
}

type changeEntry struct {
	Kind string `json:"kind"` // A, C or D
	Path string `json:"path"`
	Raw  []byte `json:"path_bytes,omitempty"` // where the path is no UTF-8, in base64
}

func diff(ctx context.Context, name string) ([]changeEntry, error) {
	c, err := openWritten(ctx, name)
	if err != nil {
		return nil, err
	}
	changes, err := c.layer.Changes(ctx)
	if err != nil {
		return nil, err
	}
	entries := make([]changeEntry, 0, len(changes))
	for _, change := range changes {
		e := changeEntry{Kind: change.Kind, Path: change.Path}
		if !utf8.ValidString(change.Path) {
			e.Raw = []byte(change.Path)
		}
		entries = append(entries, e)
	}
	return entries, nil
}

func (s *streams) printChanges(entries []changeEntry) error {
	var text strings.Builder
	for _, e := range entries {
		fmt.Fprintf(&text, "%s %s\n", e.Kind, shownPath(e.Path, isTerminal(s.out)))
	}
	_, err := s.out.WriteString(text.String())
	return err
}

// shownPath keeps a name, which may be hostile, from steering a terminal, and from
// looking like two lines.
func shownPath(path string, terminal bool) string {
	steers := func(r rune) bool { return !unicode.IsPrint(r) || r == '\\' || r == utf8.RuneError }
	if !strings.Contains(path, "\n") && (!terminal || !strings.ContainsFunc(path, steers)) {
		return path
	}
	quoted := fmt.Sprintf("%q", path)
	return strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
}
