// Package template owns what a template of a container is: which text in it is
// replaced, the files of values (maps), and the unified diff of what would change. It
// reads and writes no files, and may import config.
package template

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/cocker/cocker/config"
)

// MaxSize bounds a template, a map and what is made of them: all are held in memory, and
// a template of 1 MiB could become one of many GiB.
const MaxSize = 1 << 20

// ErrTooLarge says that a template or what becomes of it is more than MaxSize.
var ErrTooLarge = fmt.Errorf("it has more than %d bytes", MaxSize)

// Values are what the keys of templates stand for.
type Values map[string][]byte

// Missing is a key without a value.
type Missing struct {
	File string
	Line int
	Key  string
}

// Error is one line.
func (m *Missing) Error() string {
	return fmt.Sprintf("%s:%d: there is no value for ${%s}", m.File, m.Line, m.Key)
}

// maxMissing is how many keys without a value are told: a template may be an image's, and
// the journal shall not take 200000 lines because of it.
const maxMissing = 100

// Expand replaces every ${KEY} by its value, once: what is in a value stays as it is.
// $${KEY} becomes ${KEY}. Everything else stays, such as $KEY, $(KEY) and ${KEY:-x}. The
// error joins a Missing for each key without a value; file is the template's name in it.
func Expand(file string, text []byte, values Values) ([]byte, error) {
	if len(text) > MaxSize {
		return nil, fmt.Errorf("%s: %w", file, ErrTooLarge)
	}
	var (
		out  bytes.Buffer
		errs []error
		line = 1
		more int
	)
	for len(text) > 0 {
		before, key, after, found := next(text)
		line += bytes.Count(before, []byte("\n"))
		out.Write(before)
		text = after
		if !found {
			break
		}
		value, known := values[key]
		switch {
		case bytes.HasSuffix(before, []byte("$")):
			out.WriteString("{" + key + "}") // the first "$" is the one that stays
		case known:
			out.Write(value)
		case len(errs) < maxMissing:
			errs = append(errs, &Missing{file, line, key})
		default:
			more++
		}
		if out.Len() > MaxSize {
			return nil, fmt.Errorf("%s: filled in, %w", file, ErrTooLarge)
		}
	}
	if more > 0 {
		errs = append(errs, fmt.Errorf("%s: and there are %d more", file, more))
	}
	return out.Bytes(), errors.Join(errs...)
}

// next finds the first ${KEY}.
func next(text []byte) (before []byte, key string, after []byte, found bool) {
	for from := 0; ; {
		i := bytes.Index(text[from:], []byte("${"))
		if i < 0 {
			return text, "", nil, false
		}
		start := from + i
		end := start + 2
		for end < len(text) && inKey(text[end]) {
			end++
		}
		if end < len(text) && text[end] == '}' {
			if name, ok := config.TemplateKey(string(text[start+2 : end])); ok {
				return text[:start], name, text[end+1:], true
			}
		}
		from = start + 2
	}
}

func inKey(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c == '_' || c == '.' || c == '-'
}

// ParseMap reads a file of values, each a line "KEY VALUE" with KEY as NAME or ${NAME}. The
// value is the rest of the line without the blanks around it, and may be empty. Empty
// lines and those that begin with "#" are comments. The error joins one for each bad line.
func ParseMap(file string, text []byte) (Values, error) {
	values := Values{}
	var errs []error
	number := 0
	for line := range bytes.Lines(text) {
		number++
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		written, value := cutBlank(line)
		key, ok := config.TemplateKey(written)
		_, again := values[key]
		problem := ""
		switch {
		case !ok:
			problem = fmt.Sprintf(`%q is no key; a line is "KEY VALUE", with KEY as NAME or ${NAME}`, written)
		case strings.HasPrefix(key, config.OwnKeys):
			problem = fmt.Sprintf("the keys that begin with %q are cocker's own; use another", config.OwnKeys)
		case again:
			problem = fmt.Sprintf("%q has a value in an earlier line; keep one of them", key)
		case bytes.IndexByte(value, 0) >= 0:
			problem = "the value holds a NUL character"
		}
		if problem != "" {
			errs = append(errs, &config.Problem{File: file, Line: number, Text: problem})
			continue
		}
		values[key] = value
	}
	return values, errors.Join(errs...)
}

func cutBlank(line []byte) (key string, value []byte) {
	i := bytes.IndexAny(line, " \t")
	if i < 0 {
		return string(line), nil
	}
	return string(line[:i]), bytes.TrimSpace(line[i:])
}
