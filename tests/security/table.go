package main

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// The table in the page is between these lines.
const (
	tableBegin = "<!-- table: make compare-security -->\n"
	tableEnd   = "<!-- end of the table -->\n"
)

// table writes one row for each try, with the engines as columns. A row whose results are
// all the same is there, too: what nobody allows is worth knowing.
func table(columns []column, now time.Time) string {
	var b strings.Builder
	b.WriteString(tableBegin)
	fmt.Fprintf(&b, "Made on %s. ", now.UTC().Format(time.DateOnly))
	for _, c := range columns {
		fmt.Fprintf(&b, "%s: %s, %s. ", c.name, c.version, c.about)
		if c.failed != "" {
			fmt.Fprintf(&b, "**%s did not run here.** ", c.name)
		}
	}
	b.WriteString("\n\n| what is tried or asked |")
	for _, c := range columns {
		fmt.Fprintf(&b, " %s |", c.name)
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(columns)) + "\n")
	for _, name := range names(columns) {
		fmt.Fprintf(&b, "| %s |", name)
		for _, c := range columns {
			fmt.Fprintf(&b, " %s |", c.cell(name))
		}
		b.WriteString("\n")
	}
	b.WriteString(tableEnd)
	return b.String()
}

// names are those of the first report that there is.
func names(columns []column) (all []string) {
	for _, c := range columns {
		for _, a := range c.report {
			all = append(all, a.Name)
		}
		if all != nil {
			break
		}
	}
	return all
}

func (c column) cell(name string) string {
	if c.failed != "" {
		return "not run"
	}
	for _, a := range c.report {
		if a.Name == name {
			return a.cell()
		}
	}
	return ""
}

func (a attempt) cell() string {
	switch a.Result {
	case "allowed":
		return "**allowed**"
	case "refused", "absent":
		return a.Result
	case "":
		return "-"
	}
	return escape(a.Result)
}

// escape keeps what a container says from being markup.
func escape(text string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ", "<", "&lt;", "*", `\*`, "`", "'").Replace(text)
}

// replaceTable puts the table into a page that has one.
func replaceTable(page, text string) error {
	old, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	before, rest, found := strings.Cut(string(old), tableBegin)
	_, after, ended := strings.Cut(rest, tableEnd)
	if !found || !ended {
		return fmt.Errorf("%s has no table between %q and %q", page, tableBegin, tableEnd)
	}
	return os.WriteFile(page, []byte(before+text+after), 0o644)
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return line
}
