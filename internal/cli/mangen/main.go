// Command mangen writes the manual pages of cocker's commands, from the texts
// that --help shows, into the directory it is given: make man.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"github.com/spf13/pflag"

	"github.com/cocker/cocker/internal/cli"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: mangen DIRECTORY")
		os.Exit(2)
	}
	if err := write(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "mangen:", err)
		os.Exit(1)
	}
}

// write makes one page for each command. The same texts give the same bytes, so
// that a test can tell whether the pages are up to date.
func write(dir string) error {
	root := cli.Command("", os.Stdin, os.Stdout, os.Stderr)
	root.DisableAutoGenTag = true
	prepare(root)
	date := time.Date(2026, time.November, 1, 0, 0, 0, 0, time.UTC)
	header := &doc.GenManHeader{Section: "1", Source: "cocker", Manual: "User Commands", Date: &date}
	if err := doc.GenManTree(root, header, dir); err != nil {
		return err
	}
	pages, err := filepath.Glob(filepath.Join(dir, "cocker*.1"))
	for _, page := range pages {
		err = errors.Join(err, polish(page))
	}
	return err
}

// prepare makes the texts ready for markdown, which the pages go through, and
// puts what the help calls the value of a flag where the library would show the
// flag's default.
func prepare(c *cobra.Command) {
	c.Long = strings.NewReplacer("<", `\<`, "*", `\*`).Replace(c.Long)
	c.InitDefaultHelpFlag()
	c.Flags().VisitAll(func(f *pflag.Flag) {
		name, usage := pflag.UnquoteUsage(f)
		if name == strings.ToLower(name) {
			name = strings.ToUpper(name) // the library's own words, "string" or "strings"
		}
		f.DefValue, f.Usage = name, usage
	})
	for _, sub := range c.Commands() {
		prepare(sub)
	}
}

// polish takes from a page what the library writes around the values of flags:
// --name="NAME" becomes --name=NAME, and --rm[=] a mere --rm.
func polish(page string) error {
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	quoted := regexp.MustCompile(`(?m)^(\\fB-.*)="(.*)"$`)
	empty := regexp.MustCompile(`(?m)^(\\fB-.*)\[=\]$`)
	text = empty.ReplaceAll(quoted.ReplaceAll(text, []byte("$1=$2")), []byte("$1"))
	return os.WriteFile(page, text, 0o644)
}
