package config

import (
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// maxLine is the longest text in bytes that goes into a line of a unit file.
// systemd refuses lines above 1 MiB (LONG_LINE_MAX).
const maxLine = 64 << 10

// The functions below give a value of the wanted type, or note a problem and
// give a zero value.

func (b *builder) text(e *entry, v any, rest ...any) (string, bool) {
	s, ok := v.(string)
	switch {
	case !ok:
		b.fail(e, rest, "must be a string, not %s", kind(v))
	case strings.ContainsRune(s, 0):
		b.fail(e, rest, "holds a NUL character; no program can be given that")
		ok = false
	}
	return s, ok
}

// plain is a string without control characters; it may become a line of a unit
// file or a path.
func (b *builder) plain(e *entry, v any, rest ...any) (string, bool) {
	s, ok := b.text(e, v, rest...)
	if !ok {
		return "", false
	}
	if problem := badLine(s); problem != "" {
		b.fail(e, rest, "%s", problem)
		return "", false
	}
	return s, true
}

// badLine says why s can't be a line of a unit file, or "".
func badLine(s string) string {
	if i := strings.IndexFunc(s, unicode.IsControl); i >= 0 {
		r, _ := utf8.DecodeRuneInString(s[i:])
		return fmt.Sprintf("holds the control character %s; write it as one line of plain text", strconv.QuoteRuneToASCII(r))
	}
	if len(s) > maxLine {
		return fmt.Sprintf("is longer than %d bytes", maxLine)
	}
	return ""
}

// line is text for a directive that systemd reads up to the end of the line.
func (b *builder) line(e *entry) string {
	s, ok := b.plain(e, e.value)
	s = strings.TrimSpace(s)
	if ok && continues(s) {
		b.fail(e, nil, "ends with a backslash, which would join the next line of the unit file; leave it out")
		return ""
	}
	return s
}

// continues says whether the next line would be read as part of this one:
// systemd.syntax(7). systemd lets a backslash before the last one escape it, but
// other readers of unit files do not.
func continues(s string) bool { return strings.HasSuffix(s, `\`) }

func (b *builder) boolean(e *entry) bool {
	v, ok := e.value.(bool)
	if !ok {
		b.fail(e, nil, "must be true or false, not %s", kind(e.value))
	}
	return v
}

// integer is a number from lowest to highest.
func (b *builder) integer(e *entry, lowest, highest int64) uint64 {
	n, ok := e.value.(int64)
	switch {
	case !ok:
		b.fail(e, nil, "must be a number from %d to %d, not %s", lowest, highest, kind(e.value))
		return 0
	case n < lowest || n > highest:
		b.fail(e, nil, "%d is out of range; use %d to %d", n, lowest, highest)
		return 0
	}
	return uint64(n) //nolint:gosec // not negative: checked above
}

// path is an absolute path without "." and "..", doubled or trailing slashes.
func (b *builder) path(e *entry, v any, rest ...any) string {
	s, ok := b.plain(e, v, rest...)
	switch {
	case !ok:
		return ""
	case !strings.HasPrefix(s, "/"):
		b.fail(e, rest, "%q must be an absolute path", s)
	case strings.Contains(s+"/", "/../"):
		b.fail(e, rest, `%q may not hold ".."`, s)
	case path.Clean(s) != s:
		b.fail(e, rest, "write %q as %q", s, path.Clean(s))
	case len(s) >= 4096: // PATH_MAX, with the final NUL
		b.fail(e, rest, "a path may have 4095 bytes, this has %d", len(s))
	default:
		return s
	}
	return ""
}

// array is an array; what says of what, for the error.
func (b *builder) array(e *entry, what string) []any {
	list, ok := e.value.([]any)
	if !ok {
		b.fail(e, nil, "must be an array of %s, [...], not %s", what, kind(e.value))
	}
	return list
}

// kind names the type of a TOML value with its article.
func kind(v any) string {
	switch v.(type) {
	case string:
		return "a string"
	case int64:
		return "an integer"
	case float64:
		return "a float"
	case bool:
		return "a boolean"
	case time.Time:
		return "a date or time"
	case []any, []map[string]any:
		return "an array"
	case map[string]any:
		return "a table"
	}
	return "something else"
}
