package cli

import (
	"fmt"
	"path"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cocker/cocker/image/remote"
)

func imageSearchCommand(s *streams) *cobra.Command {
	asJSON := false
	command := &cobra.Command{
		Use:   "search [flags] WHERE [PATTERN]",
		Short: "List the images of a registry or of another machine",
		Long: `Search lists the images that are at a place, by the names to pull them by.
WHERE is ssh://[USER@]HOST[:PORT], for the directory of images on another
machine, or a registry, HOST[:PORT]; or either with the name of a repository,
for its tags. Large public registries tell only the latter.

PATTERN chooses those whose name, without the tag, it is a part of; or, with
* ? [ in it, whose whole name matches as the names of files do in a shell.
` + aboutRegistries,
		Example: `  cocker image search ssh://me@images.example.com
  cocker image search registry.example.com:5000 'team/*'
  cocker image search docker.io/library/alpine`,
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, args []string) error {
			wanted, err := parsePattern(args[1:])
			if err != nil {
				return err
			}
			return s.transfer(func(client *remote.Client) error {
				list, err := client.List(c.Context(), args[0], wanted)
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(s.out, searchEntries(list, wanted))
				}
				return printTable(s.out, []string{"IMAGE", "DIGEST"}, searchRows(list, wanted))
			})
		},
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print them as JSON")
	return asRoot(command)
}

// parsePattern makes a filter of the names of images, which lets all through without one.
func parsePattern(args []string) (func(name string) bool, error) {
	if len(args) == 0 {
		return func(string) bool { return true }, nil
	}
	pattern := args[0]
	if !strings.ContainsAny(pattern, "*?[") {
		return func(name string) bool { return strings.Contains(name, pattern) }, nil
	}
	if _, err := path.Match(pattern, ""); err != nil {
		return nil, fmt.Errorf("pattern %q: %w", pattern, err)
	}
	return func(name string) bool {
		matched, _ := path.Match(pattern, name) // the pattern is a good one
		return matched
	}, nil
}

type searchEntry struct {
	Reference string `json:"reference"`
	Name      string `json:"name"`
	Tag       string `json:"tag"`
	Digest    string `json:"digest,omitempty"` // registries do not say
}

func searchEntries(list []remote.Listed, wanted func(string) bool) []searchEntry {
	entries := []searchEntry{}
	for _, l := range list {
		if wanted(l.Name) {
			entries = append(entries, searchEntry{l.Reference(), l.Name, l.Tag, l.Digest})
		}
	}
	return entries
}

func searchRows(list []remote.Listed, wanted func(string) bool) [][]string {
	var rows [][]string
	for _, e := range searchEntries(list, wanted) {
		rows = append(rows, []string{e.Reference, shortDigest(e.Digest)})
	}
	return rows
}
