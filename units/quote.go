package units

import "strings"

// Literal makes a text that systemd expands specifiers in stand for itself:
// systemd.unit(5), "Specifiers", has %% for a percent sign.
func Literal(s string) string { return strings.ReplaceAll(s, "%", "%%") }

// Word makes a text one word of a directive that takes several, with specifiers
// expanded: systemd.syntax(7), "Quoting". It quotes only where it is needed.
func Word(s string) string {
	s = Literal(s)
	if s != "" && !strings.ContainsAny(s, " \t\"'\\;#") {
		return s
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}
