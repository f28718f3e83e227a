package scope

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/cocker/cocker/units"
)

// splitWords splits the value of a directive as systemd.syntax(7) "Quoting"
// says: words are separated by white space, may be quoted by '"' or "'", and
// have C-style escapes.
func splitWords(value string) ([]string, error) {
	var words []string
	for rest := strings.TrimLeft(value, whiteSpace); rest != ""; rest = strings.TrimLeft(rest, whiteSpace) {
		word, tail, err := nextWord(rest)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", value, err)
		}
		words, rest = append(words, word), tail
	}
	return words, nil
}

const whiteSpace = " \t\n\r"

// nextWord cuts one word off s, which starts with no white space.
func nextWord(s string) (word, rest string, err error) {
	var b strings.Builder
	quote := byte(0)
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '\\':
			char, used, err := unescape(s[i+1:])
			if err != nil {
				return "", "", err
			}
			b.WriteString(char)
			i += used
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			b.WriteByte(c)
		case c == '"' || c == '\'':
			quote = c
		case strings.IndexByte(whiteSpace, c) >= 0:
			return b.String(), s[i:], nil
		default:
			b.WriteByte(c)
		}
	}
	if quote != 0 {
		return "", "", fmt.Errorf("unbalanced quote %c", quote)
	}
	return b.String(), "", nil
}

// unescape decodes what follows a backslash and says how many bytes it took.
func unescape(s string) (char string, used int, err error) {
	if s == "" {
		return "", 0, fmt.Errorf("it ends in a backslash")
	}
	if i := strings.IndexByte(`abfnrtv\"'s`, s[0]); i >= 0 {
		return "\a\b\f\n\r\t\v\\\"' "[i : i+1], 1, nil
	}
	widths := map[byte]int{'x': 2, 'u': 4, 'U': 8}
	width, base, skip := 3, 8, 0
	if w, ok := widths[s[0]]; ok {
		width, base, skip = w, 16, 1
	}
	if len(s) < skip+width {
		return "", 0, fmt.Errorf("unknown escape \\%s", s)
	}
	n, err := strconv.ParseUint(s[skip:skip+width], base, 32)
	if err != nil || n == 0 {
		return "", 0, fmt.Errorf("unknown escape \\%s", s[:skip+width])
	}
	if s[0] == 'u' || s[0] == 'U' {
		return string(rune(n)), skip + width, nil
	}
	if n > 0xff {
		return "", 0, fmt.Errorf("unknown escape \\%s", s[:skip+width])
	}
	return string([]byte{byte(n)}), skip + width, nil
}

// expand replaces the specifiers of systemd.unit(5) that are known before the
// unit exists. systemd expands none in properties set over D-Bus.
func expand(unit, value string) (string, error) {
	if !strings.Contains(value, "%") {
		return value, nil
	}
	var b strings.Builder
	for i := 0; i < len(value); i++ {
		if value[i] != '%' {
			b.WriteByte(value[i])
			continue
		}
		i++
		text, ok := "", false
		if i < len(value) {
			text, ok = specifier(unit, value[i])
		}
		if !ok {
			return "", fmt.Errorf("%q: specifier %%%s cannot be used in a transient unit; write %%%% for a percent sign",
				value, value[i:min(i+1, len(value))])
		}
		b.WriteString(text)
	}
	return b.String(), nil
}

// specifier is the text for one letter. Those of a template, %i and %I, stand
// for the container, as in the container's own unit cocker@NAME.service.
func specifier(unit string, letter byte) (string, bool) {
	name, isContainer := units.ContainerOf(unit)
	switch letter {
	case '%':
		return "%", true
	case 'n':
		return unit, true
	case 'N', 'p':
		return unit[:max(strings.LastIndexByte(unit, '.'), 0)], true
	case 'i', 'I':
		return name, isContainer
	}
	text, ok := systemDirectories()[letter]
	return text, ok
}

// systemDirectories are the specifiers that are constants for systemd as PID 1.
func systemDirectories() map[byte]string {
	return map[byte]string{'t': "/run", 'S': "/var/lib", 'C': "/var/cache", 'L': "/var/log", 'E': "/etc",
		'T': "/tmp", 'V': "/var/tmp", 'h': "/root", 'u': "root", 'U': "0", 'g': "root", 'G': "0", 's': "/bin/sh"}
}
