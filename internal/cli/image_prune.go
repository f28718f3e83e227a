package cli

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cocker/cocker/image"
	"github.com/cocker/cocker/internal/paths"
)

func imagePruneCommand(s *streams) *cobra.Command {
	var (
		policy      image.PrunePolicy
		unused      age
		all, asJSON bool
	)
	command := &cobra.Command{
		Use:   "prune",
		Short: "Remove images that are not in use",
		Long: `Prune removes images that have lost their name to a newer one, and what
"cocker checkout" has stored for a container that is gone. With one of the first
three options it removes images that have a name too. What the options allow to
go is what all of them allow. It never removes an image that the file of a
container names, that a container runs on, or that something a container wrote
stands on.

An image was last used when a container was last started on it, or when it
came here: by a pull, an import, a commit or a tag. Layers and blobs that
another image needs stay.

cocker-prune.timer does this once a week, with --older-than=168h --keep=1, if it
is turned on: "systemctl enable --now cocker-prune.timer". Other options are for
the variable PRUNE_OPTIONS: "systemctl edit cocker-prune.service", and in it
"[Service]" and "Environment=PRUNE_OPTIONS=--older-than=720h".`,
		Example: `  cocker image prune --older-than 168h --keep 3
  cocker image prune --all --dry-run`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, _ []string) error {
			aged := c.Flags().Changed("older-than")
			switch {
			case all && aged:
				return errors.New("--all means images of whatever age: leave out --all, or --older-than")
			case policy.Keep < 0:
				return fmt.Errorf("--keep %d: wanted 0 or more", policy.Keep)
			}
			policy.Named = all || aged || c.Flags().Changed("keep")
			if aged {
				policy.Before = time.Now().Add(-time.Duration(unused))
			}
			return pruneImages(s, policy, asJSON)
		},
	}
	flags := command.Flags()
	flags.Var(&unused, "older-than", "images that were not used for a `time`: \"168h\", \"7d\"")
	flags.IntVar(&policy.Keep, "keep", 0, "all but so many of the highest versions of each repository")
	flags.BoolVarP(&all, "all", "a", false, "all that are not in use")
	flags.BoolVarP(&policy.DryRun, "dry-run", "n", false, "only say what would be removed")
	flags.BoolVar(&asJSON, "json", false, "print it as JSON")
	return asRoot(command)
}

// age is a duration that also knows days and weeks.
type age time.Duration

func (a *age) String() string { return time.Duration(*a).String() }
func (a *age) Type() string   { return "time" }

func (a *age) Set(text string) error {
	days := 1
	number, found := strings.CutSuffix(text, "d")
	if !found {
		days = 7
		number, found = strings.CutSuffix(text, "w")
	}
	if n, err := strconv.ParseUint(number, 10, 16); found && err == nil {
		*a = age(time.Duration(n) * time.Duration(days) * 24 * time.Hour)
		return nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return errors.New(`wanted a time such as "90m", "168h", "7d" or "4w"`)
	}
	*a = age(d)
	return nil
}

// pruned is what "cocker image prune --json" prints.
type pruned struct {
	DryRun bool         `json:"dry_run"`
	Images []prunedItem `json:"images"`
	Freed  int64        `json:"freed"` // bytes of the disk
}

type prunedItem struct {
	Reference string    `json:"reference,omitempty"`
	Digest    string    `json:"digest"`
	LastUsed  time.Time `json:"last_used"`
}

func pruneImages(s *streams, policy image.PrunePolicy, asJSON bool) error {
	var unknown error
	p, err := image.Open(paths.State).Prune(policy, func() (image.Uses, error) {
		u, err := imagesInUse()
		unknown = u.Unknown
		return u, err
	})
	if err != nil {
		return err
	}
	if unknown != nil {
		fmt.Fprintf(s.err, "cocker: image prune: images without a name all stay: %v\n", unknown)
	}
	result := pruned{DryRun: policy.DryRun, Images: []prunedItem{}, Freed: p.Freed}
	for _, i := range p.Images {
		result.Images = append(result.Images, prunedItem{i.Reference, i.Digest, i.Used})
	}
	if asJSON {
		return printJSON(s.out, result)
	}
	return printPruned(s.out, result, time.Now())
}

func printPruned(w io.Writer, p pruned, now time.Time) error {
	if len(p.Images) == 0 {
		_, err := fmt.Fprintln(w, "no image to remove")
		return err
	}
	var rows [][]string
	for _, i := range p.Images {
		rows = append(rows, []string{i.Reference, shortDigest(i.Digest), ago(now, i.LastUsed) + " ago"})
	}
	if err := printTable(w, []string{"IMAGE", "DIGEST", "LAST USED"}, rows); err != nil {
		return err
	}
	text := "removed %s, which frees %s\n"
	if p.DryRun {
		text = "would remove %s, which would free %s\n"
	}
	_, err := fmt.Fprintf(w, text, countOf(len(p.Images), "image", "images"), byteSize(p.Freed))
	return err
}
