package units

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ErrUnsafe says that a value can't be written as one line of a unit file.
var ErrUnsafe = errors.New("value does not fit into one line of a unit file")

// Line is one KEY=VALUE. The value is in unit syntax already.
type Line struct {
	Key, Value string
}

// Section is a [NAME] and its lines, in order.
type Section struct {
	Name  string
	Lines []Line
}

// File is a unit file or a drop-in.
type File struct {
	Header   string // one line of comment at the top, without the "#"
	Sections []Section
}

// Add appends a line to a section; the section is made at its first line.
func (f *File) Add(section, key, value string) {
	for i := range f.Sections {
		if f.Sections[i].Name == section {
			f.Sections[i].Lines = append(f.Sections[i].Lines, Line{key, value})
			return
		}
	}
	f.Sections = append(f.Sections, Section{section, []Line{{key, value}}})
}

// Section gives the lines of a section, nil if it has none.
func (f File) Section(name string) []Line {
	for _, s := range f.Sections {
		if s.Name == name {
			return s.Lines
		}
	}
	return nil
}

// Bytes gives the text; the same File always gives the same bytes. The error is
// ErrUnsafe if a value would not stay within its line.
func (f File) Bytes() ([]byte, error) {
	var b bytes.Buffer
	if err := checkValue("comment", f.Header); err != nil {
		return nil, err
	}
	if f.Header != "" {
		fmt.Fprintf(&b, "# %s\n", f.Header)
	}
	for i, s := range f.Sections {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString("[" + s.Name + "]\n")
		for _, l := range s.Lines {
			if err := errors.Join(checkKey(l.Key), checkValue(l.Key, l.Value)); err != nil {
				return nil, err
			}
			b.WriteString(l.Key + "=" + l.Value + "\n")
		}
	}
	return b.Bytes(), nil
}

// checkKey takes what systemd's directives are made of.
func checkKey(key string) error {
	letters := func(r rune) bool { return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' }
	if key == "" || strings.ContainsFunc(key, func(r rune) bool { return !letters(r) }) {
		return fmt.Errorf("%w: %q is no name of a directive", ErrUnsafe, key)
	}
	return nil
}

// checkValue refuses what would end the line, change the next one, or not come
// back from systemd's parser: control characters (read_line() ends a line at \n,
// \r and NUL), invalid UTF-8, a last backslash (systemd.syntax(7): it joins the
// next line), and a length near systemd's limit of 1 MiB for a line.
func checkValue(key, value string) error {
	reason := ""
	switch {
	case strings.ContainsFunc(value, unicode.IsControl):
		reason = "it holds a control character"
	case !utf8.ValidString(value):
		reason = "it is not valid UTF-8"
	case strings.HasSuffix(value, `\`):
		reason = "it ends with a backslash"
	case len(value) > 512<<10:
		reason = "it is longer than 512 KiB"
	}
	if reason != "" {
		return fmt.Errorf("%w: %s: %s", ErrUnsafe, key, reason)
	}
	return nil
}
