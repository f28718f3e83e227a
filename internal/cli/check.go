package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/image"
	"github.com/cocker/cocker/internal/paths"
	"github.com/cocker/cocker/launch"
)

func checkCommand(s *streams) *cobra.Command {
	asJSON := false
	command := &cobra.Command{
		Use:   "check",
		Short: "Check the files of all containers and networks",
		Long: `Check reads the files of all containers and networks, with their drop-ins, and
/etc/cocker/registries.toml, and prints
every problem of every file, one on a line, with file and line. It needs no
systemd. Maps and templates on the host are read too, as far as the caller may;
templates in images are not: see "cocker render --dry-run". The exit status is 1 if there is a problem.

It warns of containers that run although their files are gone, of what
containers wrote whose files are gone, of limits of disk space that the file
system of /var/lib/cocker cannot keep, and, as root, of images that are not here
and that no start would pull; that is no problem of a file.`,
		Example:           "  cocker check && systemctl daemon-reload",
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(*cobra.Command, []string) error { return check(s, paths.ConfigDirs(), asJSON) },
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	return command
}

// withGood leaves out the containers of which a key names a file of the host that is missing
// or wrong.
func withGood(containers []*config.Container, key string, check func(*config.Container) error) (good []*config.Container, err error) {
	for _, c := range containers {
		wrong := check(c)
		if wrong == nil || errors.Is(wrong, fs.ErrPermission) {
			good = append(good, c)
			continue
		}
		for text := range strings.SplitSeq(wrong.Error(), "\n") {
			err = errors.Join(err, &config.Problem{File: c.Sources[0], Key: key, Text: text})
		}
	}
	return good, err
}

type checkProblem struct {
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"`
	Key  string `json:"key,omitempty"`
	Text string `json:"text"`
}

type checkResult struct {
	Good     []string       `json:"good"`
	Problems []checkProblem `json:"problems"`
	Warnings []checkWarning `json:"warnings"`
}

type checkWarning struct {
	Container string `json:"container"`
	Text      string `json:"text"`
}

func check(s *streams, dirs []string, asJSON bool) error {
	good, err := config.Check(dirs)
	good, wrong := withGood(good, "template", launch.CheckTemplates)
	good, wrongProfiles := withGood(good, "seccomp", launch.CheckSeccomp)
	_, bad := config.LoadRegistries(paths.Registries)
	err = errors.Join(err, wrong, wrongProfiles, bad)
	warnings := append(lostFiles(dirs), limitless(good)...)
	warnings = append(warnings, lostImages(good, image.Open(paths.State))...)
	if asJSON {
		if failure := printJSON(s.out, resultOf(good, err, warnings)); failure != nil {
			return failure
		}
	} else {
		printCheck(s, len(good), err, warnings)
	}
	if err != nil {
		return exitError(exitFailure)
	}
	return nil
}

func printCheck(s *streams, good int, err error, warnings []checkWarning) {
	for _, w := range warnings {
		fmt.Fprintf(s.err, "cocker: check: warning: %s: %s\n", w.Container, w.Text)
	}
	if err != nil {
		fmt.Fprintln(s.err, err)
		return
	}
	fmt.Fprintf(s.out, "%s\n", countOf(good, "container is fine", "containers are fine"))
}

func resultOf(good []*config.Container, err error, warnings []checkWarning) checkResult {
	result := checkResult{Good: []string{}, Problems: []checkProblem{}, Warnings: append([]checkWarning{}, warnings...)}
	for _, c := range good {
		result.Good = append(result.Good, c.Name)
	}
	for _, p := range config.Problems(err) {
		result.Problems = append(result.Problems, checkProblem{p.File, p.Line, p.Key, p.Text})
	}
	if err != nil && len(result.Problems) == 0 {
		result.Problems = append(result.Problems, checkProblem{Text: err.Error()})
	}
	return result
}

func countOf(n int, one, many string) string {
	switch n {
	case 0:
		return "no " + many[:strings.IndexByte(many, ' ')]
	case 1:
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
