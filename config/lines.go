package config

import (
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
)

// The TOML package gives positions of errors only, so the lines of good keys
// are found by a second, simple scan. It runs only when there is something to
// report, and only over text that the TOML package has accepted.

// line is the line of the key or array element at path; if that is not in the
// text (it never should be), the line of what is around it.
func (s *source) line(path []any) int {
	if s.lines == nil {
		x := indexer{text: s.text, line: 1, lines: map[string]int{}, tables: map[string]int{}}
		x.document()
		s.lines = x.lines
	}
	for n := len(path); n > 0; n-- {
		if line, ok := s.lines[joinPath(path[:n])]; ok {
			return line
		}
	}
	return 1
}

// joinPath makes a map key of a path: strings and indices can't be mistaken for
// each other, and a quoted TOML key may hold any character.
func joinPath(path []any) string {
	var b strings.Builder
	for _, p := range path {
		switch p := p.(type) {
		case int:
			b.WriteString("[" + strconv.Itoa(p) + "]")
		case string:
			b.WriteString(strconv.Quote(p))
		}
	}
	return b.String()
}

// showPath writes a path as a user would: network.ports[1].
func showPath(path []any) string {
	var b strings.Builder
	for i, p := range path {
		switch p := p.(type) {
		case int:
			b.WriteString("[" + strconv.Itoa(p) + "]")
		case string:
			if i > 0 {
				b.WriteByte('.')
			}
			b.WriteString(toml.Key{p}.String())
		}
	}
	return b.String()
}

// indexer scans valid TOML and notes the line where each key and each element
// of an array begins.
type indexer struct {
	text string
	pos  int
	line int

	lastPart int // where the last part of the latest key begins

	lines  map[string]int
	tables map[string]int // arrays of tables: how many so far
	places *places        // nil: not asked for
}

func (x *indexer) document() {
	var prefix []any
	for x.blank(); x.pos < len(x.text); x.blank() {
		if x.text[x.pos] == '[' {
			prefix = x.header()
		} else {
			x.keyValue(prefix)
		}
	}
}

// header reads [a.b] or [[a.b]] and gives the path of the table it opens.
func (x *indexer) header() []any {
	line, start := x.line, x.pos
	isArray := strings.HasPrefix(x.text[x.pos:], "[[")
	for x.peek() == '[' {
		x.next()
	}
	var path []any
	for _, part := range x.key() {
		path = append(x.intoArray(path), part)
		x.note(path, line)
	}
	for x.spaces(); x.peek() == ']'; {
		x.next()
	}
	if isArray {
		x.tables[joinPath(path)]++
	}
	path = x.intoArray(path)
	x.note(path, line)
	x.places.heading(path, start, x.pos)
	return path
}

// intoArray adds the index of the latest element if path is an array of tables.
func (x *indexer) intoArray(path []any) []any {
	if n := x.tables[joinPath(path)]; n > 0 {
		return append(path, n-1)
	}
	return path
}

func (x *indexer) keyValue(prefix []any) {
	path := append([]any(nil), prefix...)
	line, start := x.line, x.pos
	for _, part := range x.key() {
		path = append(path, part)
		x.note(path, line)
	}
	place := x.places.begin(path, start, x.lastPart, x.pos)
	x.spaces()
	x.next() // "="
	x.spaces()
	value := x.pos
	x.value(path)
	x.places.end(place, value, x.pos)
}

// note keeps the first line of a path: that of its own header or key, or else
// of the first dotted key that implies it.
func (x *indexer) note(path []any, line int) {
	if id := joinPath(path); x.lines[id] == 0 {
		x.lines[id] = line
	}
}

// key reads a key with its dots.
func (x *indexer) key() []string {
	var parts []string
	for {
		x.spaces()
		x.lastPart = x.pos
		parts = append(parts, x.keyPart())
		x.spaces()
		if x.peek() != '.' {
			return parts
		}
		x.next()
	}
}

func (x *indexer) keyPart() string {
	start := x.pos
	switch x.peek() {
	case '"':
		x.quoted()
		return unquoteKey(x.text[start:x.pos])
	case '\'':
		x.quoted()
		return strings.Trim(x.text[start:x.pos], "'")
	}
	x.until(" \t\n.=]")
	return x.text[start:x.pos]
}

// unquoteKey lets the TOML package undo the escapes: \e and \x41 are not Go's.
func unquoteKey(quoted string) string {
	var v struct{ K string }
	if _, err := toml.Decode("K = "+quoted, &v); err != nil {
		return quoted
	}
	return v.K
}

func (x *indexer) value(path []any) {
	switch x.peek() {
	case '[':
		x.next()
		for i := 0; x.more(']'); i++ {
			element := append(path[:len(path):len(path)], i)
			x.note(element, x.line)
			start := x.pos
			x.value(element)
			x.places.element(path, start, x.pos)
		}
	case '{':
		x.next()
		for x.more('}') {
			x.keyValue(path)
		}
	case '"', '\'':
		x.quoted()
	default:
		x.until(",]}#\n")
	}
}

// more skips to the next element of an array or inline table; false when end
// was next and is read too.
func (x *indexer) more(end byte) bool {
	for x.blank(); x.peek() == ','; x.blank() {
		x.next()
	}
	if x.pos < len(x.text) && x.peek() != end {
		return true
	}
	x.next()
	return false
}

// quoted skips any of TOML's four kinds of strings.
func (x *indexer) quoted() {
	quote := x.text[x.pos]
	long := strings.Repeat(string(quote), 3)
	if !strings.HasPrefix(x.text[x.pos:], long) {
		x.next()
		x.closing(quote, string(quote))
		return
	}
	x.skip(3)
	x.closing(quote, long)
	for x.peek() == quote { // up to two quotes may stand before the closing three
		x.next()
	}
}

func (x *indexer) closing(quote byte, end string) {
	for x.pos < len(x.text) && !strings.HasPrefix(x.text[x.pos:], end) {
		if quote == '"' && x.text[x.pos] == '\\' {
			x.next()
		}
		x.next()
	}
	x.skip(len(end))
}

// blank skips space, newlines and comments.
func (x *indexer) blank() {
	for x.pos < len(x.text) {
		switch x.text[x.pos] {
		case ' ', '\t', '\r', '\n':
			x.next()
		case '#':
			x.until("\n")
		default:
			if !strings.HasPrefix(x.text[x.pos:], "\ufeff") {
				return
			}
			x.skip(len("\ufeff"))
		}
	}
}

func (x *indexer) spaces() {
	for c := x.peek(); c == ' ' || c == '\t'; c = x.peek() {
		x.next()
	}
}

func (x *indexer) until(stop string) {
	for x.pos < len(x.text) && strings.IndexByte(stop, x.text[x.pos]) < 0 {
		x.next()
	}
}

// peek is 0 at the end.
func (x *indexer) peek() byte {
	if x.pos >= len(x.text) {
		return 0
	}
	return x.text[x.pos]
}

func (x *indexer) next() {
	if x.peek() == '\n' {
		x.line++
	}
	x.pos++
}

func (x *indexer) skip(n int) {
	for range n {
		x.next()
	}
}
