package config

import "strings"

// places are where in a text its tables, keys and values stand, for who edits it. The
// indexer fills it; nil is for who wants lines only.
type places struct {
	text     string
	headings []heading
	pairs    []pair // in the order of the text; what is in an inline table comes after that table
	open     []int  // pairs whose values are being read
}

// span is a part of a text.
type span struct{ start, end int }

// heading is the header of a table; that of an array's table has an index in its path.
type heading struct {
	path []any
	span
}

// pair is a key with its value.
type pair struct {
	path     []any
	key      span // with the tables in front of dots
	last     int  // where the key's last part begins
	value    span
	elements []span // of an array
	inner    int    // how many keys with values it stands in; 0: it has a line of its own
	section  int    // the heading above it; -1: none
}

// findPlaces reads a text that the TOML package has accepted.
func findPlaces(text string) *places {
	p := &places{text: text}
	x := indexer{text: text, line: 1, lines: map[string]int{}, tables: map[string]int{}, places: p}
	x.document()
	return p
}

func (p *places) heading(path []any, start, end int) {
	if p != nil {
		p.headings = append(p.headings, heading{path, span{start, end}})
	}
}

func (p *places) begin(path []any, start, last, end int) int {
	if p == nil {
		return 0
	}
	p.pairs = append(p.pairs, pair{path: path, key: p.trimmed(start, end), last: last, inner: len(p.open), section: len(p.headings) - 1})
	p.open = append(p.open, len(p.pairs)-1)
	return len(p.pairs) - 1
}

func (p *places) end(place, start, end int) {
	if p == nil {
		return
	}
	p.pairs[place].value = p.trimmed(start, end)
	p.open = p.open[:len(p.open)-1]
}

// element notes one of the array that is the value of the innermost open key, not one
// of an array inside it.
func (p *places) element(path []any, start, end int) {
	if p == nil {
		return
	}
	if at := &p.pairs[p.open[len(p.open)-1]]; len(at.path) == len(path) {
		at.elements = append(at.elements, p.trimmed(start, end))
	}
}

// trimmed leaves out what the indexer reads on behind a number or a date.
func (p *places) trimmed(start, end int) span {
	return span{start, start + len(strings.TrimRight(p.text[start:end], " \t\r\n"))}
}
