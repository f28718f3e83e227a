package units

import (
	_ "embed"
	"strings"
)

// Cleanup is the unit that frees what a container in the foreground held, once
// its scope is gone.
func Cleanup(name string) string { return "cocker-cleanup@" + name + serviceSuffix }

// Removal is the unit that removes a container of "cocker run --rm", once its
// own unit is gone.
func Removal(name string) string { return "cocker-remove@" + name + serviceSuffix }

//go:embed cocker@.service
var templateText string

// TemplateFile is cocker@.service. A transient unit has the same directives, so
// that both kinds of containers run under the same rules.
func TemplateFile() File { return parse(templateText) }

// parse reads a unit file of this package, which has neither continued lines nor
// lines outside of a section.
func parse(text string) File {
	var f File
	section := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		key, value, isLine := strings.Cut(line, "=")
		switch {
		case line == "" || line[0] == '#':
		case line[0] == '[':
			section = strings.Trim(line, "[]")
		case isLine:
			f.Add(section, key, value)
		}
	}
	return f
}
