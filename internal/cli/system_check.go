package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cocker/cocker/image"
	"github.com/cocker/cocker/image/importer"
	"github.com/cocker/cocker/internal/paths"
)

func systemCheckCommand(s *streams) *cobra.Command {
	options := image.CheckOptions{Unpack: importer.Unpack, InUse: layersInUse}
	asJSON := false
	command := &cobra.Command{
		Use:   "check",
		Short: "Check that all images are whole and undamaged",
		Long: `Check looks at everything that the image store has: that all that the images
name is there, with the right digest and size, that every layer is unpacked,
and that there is nothing else. It reads all blobs. With --deep it also unpacks
each of them, one at a time, and compares the layers, which needs the space of
the largest layer meanwhile. Containers can start while it works; images cannot
be added or removed.

With --repair it mends what can be mended. What a pull or a clean-up has left
that was killed is finished or taken back; a layer that is missing, or with
--deep damaged, is unpacked from its blob; what no image needs is removed. A blob
that is damaged is put aside, to /var/lib/cocker/quarantine, and the output says
how to get it again. An image never loses its name, and one whose layers are
unpacked can be run without the blobs.

The exit status is 0 if all is well, or was repaired, else 1.`,
		Example: `  cocker system check
  cocker system check --deep --repair`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, _ []string) error {
			found, err := image.Open(paths.State).Check(c.Context(), options)
			if err != nil {
				return err
			}
			result := checkedStore{Clean: true, Findings: []checkedFinding{}}
			for _, f := range found {
				result.Clean = result.Clean && f.Repaired
				result.Findings = append(result.Findings, checkedFinding{f.Kind, f.Object, f.Images, f.Problem, f.Advice, f.Repaired})
			}
			if asJSON {
				err = printJSON(s.out, result)
			} else {
				err = printFindings(s.out, result, options.Repair)
			}
			if err == nil && !result.Clean {
				err = exitError(exitFailure)
			}
			return err
		},
	}
	command.Flags().BoolVar(&options.Deep, "deep", false, "compare the unpacked layers with their blobs")
	command.Flags().BoolVar(&options.Repair, "repair", false, "mend what can be mended")
	command.Flags().BoolVar(&asJSON, "json", false, "print it as JSON")
	return asRoot(command)
}

// checkedStore is what "cocker system check --json" prints.
type checkedStore struct {
	Clean    bool             `json:"clean"`
	Findings []checkedFinding `json:"findings"`
}

type checkedFinding struct {
	Kind     string   `json:"kind"`
	Object   string   `json:"object"`
	Images   []string `json:"images,omitempty"`
	Problem  string   `json:"problem"`
	Advice   string   `json:"advice,omitempty"`
	Repaired bool     `json:"repaired"`
}

func printFindings(w io.Writer, result checkedStore, repair bool) error {
	repairable := false
	for _, f := range result.Findings {
		fmt.Fprintln(w, oneLine(f.line()))
		if f.Advice != "" && !f.Repaired {
			fmt.Fprintln(w, "  "+oneLine(f.Advice))
		}
		repairable = repairable || f.Advice == "" || f.Kind == "blob"
	}
	switch {
	case len(result.Findings) == 0:
		fmt.Fprintln(w, "everything is as it should be")
	case repairable && !repair:
		fmt.Fprintln(w, `"cocker system check --repair" mends what can be mended`)
	}
	return nil
}

func (f checkedFinding) line() string {
	text := f.Kind + " " + f.Object
	if len(f.Images) > 0 {
		text += " of " + strings.Join(f.Images, ", ")
	}
	if text += ": " + f.Problem; f.Repaired {
		text += " (repaired)"
	}
	return text
}
