package cli

import (
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/cocker/cocker/image"
	"github.com/cocker/cocker/internal/paths"
)

func imageCommand(s *streams) *cobra.Command {
	command := &cobra.Command{
		Use:   "image",
		Short: "Pull, push, search, import, export, list and remove images",
		Long: `Images are kept in /var/lib/cocker/oci, a standard OCI image layout that
other tools read: skopeo inspect oci:/var/lib/cocker/oci:demo:1.0`,
		Args: func(c *cobra.Command, args []string) error {
			return fmt.Errorf("say what to do: pull, push, search, import, export, ls, inspect, history, tag, rename, rm, prune or demo (see \"%s --help\")", c.CommandPath())
		},
		RunE: func(*cobra.Command, []string) error { return nil },
	}
	for _, add := range []func(*streams) *cobra.Command{
		imageListCommand, imagePullCommand, imagePushCommand, imageSearchCommand, imageImportCommand, imageExportCommand, imageDemoCommand, imageRemoveCommand,
		imageInspectCommand, imageHistoryCommand, imageTagCommand, imageRenameCommand, imagePruneCommand,
	} {
		command.AddCommand(add(s))
	}
	return command
}

func imageListCommand(s *streams) *cobra.Command {
	asJSON := false
	command := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List images",
		Long: `Ls lists the images of this host. SIZE is that of an image's blobs, which
are compressed; OWN is the part of it that no other image has.`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(*cobra.Command, []string) error {
			list, err := image.Open(paths.State).List()
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(s.out, imageEntries(list))
			}
			return printTable(s.out, []string{"IMAGE", "DIGEST", "LAYERS", "SIZE", "OWN", "CREATED"}, imageRows(list, time.Now()))
		},
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print them as JSON")
	return asRoot(command)
}

type imageEntry struct {
	Reference string     `json:"reference,omitempty"`
	Digest    string     `json:"digest"`
	Layers    int        `json:"layers"`
	Size      int64      `json:"size"` // bytes, compressed
	Own       int64      `json:"own_size"`
	Created   *time.Time `json:"created,omitempty"`
	Problem   string     `json:"problem,omitempty"`
}

func imageEntries(list []image.Summary) []imageEntry {
	entries := make([]imageEntry, 0, len(list))
	for _, i := range list {
		e := imageEntry{Reference: i.Reference, Digest: i.Digest, Layers: i.Layers, Size: i.Size, Own: i.Own}
		if !i.Created.IsZero() {
			e.Created = &i.Created
		}
		if i.Problem != nil {
			e.Problem = i.Problem.Error()
		}
		entries = append(entries, e)
	}
	return entries
}

func imageRows(list []image.Summary, now time.Time) [][]string {
	var rows [][]string
	for _, i := range list {
		created := ""
		if !i.Created.IsZero() {
			created = ago(now, i.Created) + " ago"
		}
		if i.Problem != nil {
			created = "damaged: " + i.Problem.Error()
		}
		rows = append(rows, []string{i.Reference, shortDigest(i.Digest), strconv.Itoa(i.Layers), byteSize(i.Size), byteSize(i.Own), created})
	}
	return rows
}

// shortDigest is enough of a digest to tell images apart by eye.
func shortDigest(digest string) string {
	return digest[:min(len(digest), len("sha256:")+12)]
}
