package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cocker/cocker/image"
	"github.com/cocker/cocker/internal/paths"
)

func imageTagCommand(s *streams) *cobra.Command {
	command := &cobra.Command{
		Use:     "tag IMAGE NAME[:TAG]...",
		Aliases: []string{"copy", "cp"},
		Short:   "Give an image more names",
		Long: `Tag gives an image more names; one without a tag gets the tag latest. It
copies nothing, and the image keeps the names that it has. An image that had
such a name loses it. Copy and cp are other words for tag: an image is never
there twice. Into files, and from them, export and import copy images; to and
from other hosts, push and pull.`,
		Example:           "  cocker image tag demo:1.0 registry.example.com/demo:1.0 demo:stable",
		Args:              cobra.MinimumNArgs(2),
		ValidArgsFunction: completeImages,
		RunE: func(_ *cobra.Command, args []string) error {
			for _, name := range args[1:] {
				full, err := image.Open(paths.State).Tag(args[0], name)
				if err != nil {
					return err
				}
				fmt.Fprintln(s.out, full)
			}
			return nil
		},
	}
	return asRoot(command)
}

func imageRenameCommand(s *streams) *cobra.Command {
	command := &cobra.Command{
		Use:     "rename IMAGE NAME[:TAG]",
		Aliases: []string{"mv"},
		Short:   "Give an image another name instead of the one it has",
		Long: `Rename gives an image another name, and takes away the one by which it was
named. Containers whose files name it by that do not find it any more.`,
		Example:           "  cocker image rename demo:1.0 demo:old",
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: completeImages,
		RunE: func(_ *cobra.Command, args []string) error {
			full, err := image.Open(paths.State).Rename(args[0], args[1])
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(s.out, full)
			return err
		},
	}
	return asRoot(command)
}

func imageHistoryCommand(s *streams) *cobra.Command {
	asJSON, whole := false, false
	command := &cobra.Command{
		Use:   "history IMAGE",
		Short: "Show how an image came to be",
		Long: `History shows the steps that an image was made in, the newest first, and
the size of the layer that each has made, compressed.`,
		Example:           "  cocker image history demo",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeImageAt(0),
		RunE: func(_ *cobra.Command, args []string) error {
			steps, err := image.Open(paths.State).History(args[0])
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(s.out, historyEntries(steps))
			}
			return printTable(s.out, []string{"CREATED", "SIZE", "LAYER", "BY"}, historyRows(steps, time.Now(), whole))
		},
	}
	command.Flags().BoolVar(&whole, "no-trunc", false, "show commands and digests in full")
	command.Flags().BoolVar(&asJSON, "json", false, "print it as JSON")
	return asRoot(command)
}

type historyEntry struct {
	Created   *time.Time `json:"created,omitempty"`
	CreatedBy string     `json:"created_by,omitempty"`
	Comment   string     `json:"comment,omitempty"`
	Layer     string     `json:"layer,omitempty"`
	Size      int64      `json:"size"`
}

func historyEntries(steps []image.Step) []historyEntry {
	entries := make([]historyEntry, len(steps))
	for i, s := range steps {
		entries[len(steps)-1-i] = historyEntry{s.Created, s.CreatedBy, s.Comment, s.Layer, s.Size}
	}
	return entries
}

func historyRows(steps []image.Step, now time.Time, whole bool) [][]string {
	var rows [][]string
	for _, e := range historyEntries(steps) {
		created, layer, size := "", e.Layer, ""
		if e.Created != nil && !e.Created.IsZero() {
			created = ago(now, *e.Created) + " ago"
		}
		by := strings.Join(strings.Fields(e.CreatedBy+" "+e.Comment), " ")
		if !whole {
			layer, by = shortDigest(layer), cut(by, 60)
		}
		if e.Layer != "" {
			size = byteSize(e.Size)
		}
		rows = append(rows, []string{created, size, layer, by})
	}
	return rows
}

// cut shortens a text to some characters.
func cut(text string, most int) string {
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most-3]) + "..."
	}
	return text
}
