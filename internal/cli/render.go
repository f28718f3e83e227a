package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/cocker/cocker/internal/render"
	"github.com/cocker/cocker/internal/template"
	"github.com/cocker/cocker/launch"
)

// exitTrouble is what diff(1) ends with when it could not compare.
const exitTrouble = 2

func renderCommand(s *streams) *cobra.Command {
	dry := false
	command := &cobra.Command{
		Use:   "render NAME",
		Short: "Fill in the templates of a container",
		Long: `Render fills in the [[template]] files of a container, which may run or not, as
each of its starts and "systemctl reload" of its unit do, with the values that
its file and maps have now, and prints the files that it has changed. The command
in the container is not told. A key without a value is an error, and then nothing
is written.

With --dry-run nothing is written; what would change is shown as by diff -u, and
the exit status is 0 if nothing would, 1 if something would, and 2 if there was
an error. A change of owner or mode alone is shown without lines. The values of
credentials are shown like all others.

Credentials are there while the unit runs, and so is an address that is not
fixed. In a container that does not run, /dev, /proc, /run, /sys and every tmpfs
cannot be written to, as they are new at each start.`,
		Example:           "  cocker render --dry-run web\n  cocker render web && systemctl reload cocker@web",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeContainers1,
		RunE: func(c *cobra.Command, args []string) error {
			if dry {
				return s.renderDry(c.Context(), args[0])
			}
			return s.render(c.Context(), args[0])
		},
	}
	command.Flags().BoolVarP(&dry, "dry-run", "n", false, "only show what would change")
	return asRoot(command)
}

// renderAgentCommand is what render starts in a container's ids; see package render.
func renderAgentCommand(*streams) *cobra.Command {
	return &cobra.Command{
		Use:    render.Verb + " " + render.Argument,
		Short:  "Fill in templates inside; called by cocker render",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE:   func(*cobra.Command, []string) error { return render.Serve() },
	}
}

func (s *streams) render(ctx context.Context, name string) error {
	results, err := launch.Render(ctx, name, true, s.renderNote)
	for _, r := range results {
		if r.Changed {
			fmt.Fprintln(s.out, r.Target)
		}
	}
	return errors.Join(err, hintFor(name, err))
}

func (s *streams) renderDry(ctx context.Context, name string) error {
	results, err := launch.Render(ctx, name, false, s.renderNote)
	if err := errors.Join(err, hintFor(name, err)); err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") {
			fmt.Fprintln(s.err, "cocker: render: "+line)
		}
		return exitError(exitTrouble)
	}
	status := 0
	for _, r := range results {
		if !r.Changed {
			continue
		}
		status = 1
		diff := template.Diff(name+":"+r.Target, "filled in", r.Old, r.New)
		if diff == nil {
			diff = fmt.Appendf(nil, "%s:%s: owner or mode differ, or it is missing\n", name, r.Target)
		}
		if isTerminal(s.out) {
			diff = harmless(diff)
		}
		if _, err := s.out.Write(diff); err != nil {
			return err
		}
	}
	if status != 0 {
		return exitError(status)
	}
	return nil
}

func (s *streams) renderNote(text string) { fmt.Fprintln(s.err, "cocker: render: "+text) }

// harmless shows what could steer a terminal as C writes it: part of the text is the
// container's.
func harmless(text []byte) []byte {
	var out bytes.Buffer
	for _, r := range string(text) {
		if r == '\n' || r == '\t' || r != utf8.RuneError && unicode.IsPrint(r) {
			out.WriteRune(r)
		} else {
			quoted := strconv.QuoteRune(r)
			out.WriteString(quoted[1 : len(quoted)-1])
		}
	}
	return out.Bytes()
}
