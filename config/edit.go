package config

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
)

// Change is one key of a file that gets another value.
type Change struct {
	Table []string // "network"; "process", "web"; nil: the top of the file
	Key   string
	Value any // a string, uint64, int64, bool, []string, TOML; nil: the key is removed

	// Of an array of tables, such as mount, some are removed, and the texts of others
	// are added.
	Drop []int
	Add  []string
}

// TOML is a value as it is written in a file.
type TOML string

// ErrNotEdited is part of an error that says that a text is written in a way that
// Edit does not know how to change.
var ErrNotEdited = errors.New("cannot be changed here; edit the file by hand")

// Edit gives the text with one key changed. All that is not about the key stays as it
// is, to the byte: comments, order, blank lines and quotes; of an array the elements
// that stay and the comments beside them. A comment goes with the key or element on
// whose line it stands. The result means what the text meant, with that one change, or
// there is an error.
func Edit(text string, c Change) (string, error) {
	before, err := decode(text)
	if err != nil {
		return "", fmt.Errorf("%s %w: %w", c, ErrNotEdited, err)
	}
	e := &editor{text: text, places: findPlaces(text), newline: newlineOf(text)}
	if err := e.change(&c); err != nil {
		return "", fmt.Errorf("%s %w: %w", c, ErrNotEdited, err)
	}
	edited, err := e.apply()
	if err != nil {
		return "", fmt.Errorf("%s %w: %w", c, ErrNotEdited, err)
	}
	after, err := decode(edited)
	if err != nil {
		return "", fmt.Errorf("%s %w: %w", c, ErrNotEdited, err)
	}
	if err := c.applyTo(before); err != nil {
		return "", fmt.Errorf("%s %w: %w", c, ErrNotEdited, err)
	}
	if !reflect.DeepEqual(withoutEmpty(before), withoutEmpty(after)) {
		return "", fmt.Errorf("%s %w", c, ErrNotEdited)
	}
	return edited, nil
}

// String is the key as a user knows it: network.ports.
func (c Change) String() string { return toml.Key(append(slices.Clone(c.Table), c.Key)).String() }

func decode(text string) (map[string]any, error) {
	var doc map[string]any
	_, err := toml.Decode(text, &doc)
	return doc, err
}

// applyTo makes the change to the meaning of a text.
func (c Change) applyTo(doc map[string]any) error {
	table := doc
	for _, name := range c.Table {
		inner, ok := table[name].(map[string]any)
		if table[name] != nil && !ok {
			return fmt.Errorf("%s is no table", name)
		}
		if !ok {
			inner = map[string]any{}
			table[name] = inner
		}
		table = inner
	}
	if c.ofTables() {
		return c.applyToTables(table)
	}
	for key := range table {
		if c.sets(key) {
			delete(table, key)
		}
	}
	if c.Value == nil {
		return nil
	}
	value, err := decode("v = " + render(c.Value, '"'))
	table[c.Key] = value["v"]
	return err
}

// element is the path of a table of the array.
func (c Change) element(i int) []any {
	var path []any
	for _, name := range c.Table {
		path = append(path, name)
	}
	return append(path, c.Key, i)
}

func (c Change) ofTables() bool { return c.Drop != nil || c.Add != nil }

func (c Change) applyToTables(table map[string]any) error {
	old, ok := table[c.Key].([]map[string]any)
	if table[c.Key] != nil && !ok {
		return fmt.Errorf("%s is no array of tables", c.Key)
	}
	var tables []map[string]any
	for i, t := range old {
		if !slices.Contains(c.Drop, i) {
			tables = append(tables, t)
		}
	}
	for _, text := range c.Add {
		doc, err := decode(text)
		if err != nil {
			return err
		}
		for _, name := range c.Table {
			doc, _ = doc[name].(map[string]any)
		}
		added, _ := doc[c.Key].([]map[string]any)
		tables = append(tables, added...)
	}
	table[c.Key] = tables
	if len(tables) == 0 {
		delete(table, c.Key)
	}
	return nil
}

// sets says whether a key of the table means the same as the change's.
func (c Change) sets(key string) bool {
	if len(c.Table) > 1 {
		return key == c.Key
	}
	table := ""
	if len(c.Table) == 1 {
		table = c.Table[0]
	}
	return slot(table, key) == slot(table, c.Key)
}

// withoutEmpty drops tables without keys: whether their header stands there says nothing.
func withoutEmpty(table map[string]any) map[string]any {
	for key, value := range table {
		if inner, ok := value.(map[string]any); ok && len(withoutEmpty(inner)) == 0 {
			delete(table, key)
		}
	}
	return table
}

// editor collects what is to be replaced in a text.
type editor struct {
	*places
	text    string
	newline string
	splices []splice
}

type splice struct {
	span
	text string
}

func newlineOf(text string) string {
	if strings.Contains(text, "\r\n") {
		return "\r\n"
	}
	return "\n"
}

func (e *editor) replace(start, end int, text string) {
	e.splices = append(e.splices, splice{span{start, end}, text})
}

// apply makes the replacements. Two that only delete may overlap.
func (e *editor) apply() (string, error) {
	slices.SortStableFunc(e.splices, func(a, b splice) int { return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.end, b.end)) })
	var b strings.Builder
	done, deleted := 0, false
	for _, s := range e.splices {
		if s.start < done && (!deleted || s.text != "") {
			return "", errors.New("it stands too close to another one")
		}
		if s.start > done {
			b.WriteString(e.text[done:s.start])
		}
		b.WriteString(s.text)
		done, deleted = max(done, s.end), s.text == ""
	}
	return b.String() + e.text[done:], nil
}

// change finds the key, or the place for it. It sets c's key to what the file calls it.
func (e *editor) change(c *Change) error {
	if c.ofTables() {
		return e.changeTables(c)
	}
	at := e.find(c)
	switch {
	case at == nil && c.Value == nil:
		return nil
	case at == nil:
		return e.insert(c)
	case c.Value == nil:
		e.remove(at)
		return nil
	}
	if name, _ := at.path[len(at.path)-1].(string); len(c.Table) == 1 && name != c.Key {
		c.Key = name // a directive in another spelling
	} else if name != c.Key {
		e.replace(at.last, at.key.end, showKey(c.Key))
	}
	if list, ok := c.Value.([]string); ok && e.replaceElements(at, list) {
		return nil
	}
	style := strings.TrimLeft(e.text[at.value.start:at.value.end], "[ \t")
	e.replace(at.value.start, at.value.end, render(c.Value, style[0]))
	return nil
}

func (e *editor) find(c *Change) *pair {
	for i, p := range e.pairs {
		if table, key, ok := split(p.path); ok && slices.Equal(table, c.Table) && c.sets(key) {
			return &e.pairs[i]
		}
	}
	return nil
}

// split gives a path without indices as table and key.
func split(path []any) (table []string, key string, ok bool) {
	for _, part := range path {
		name, isName := part.(string)
		if !isName {
			return nil, "", false
		}
		table = append(table, name)
	}
	if len(table) == 0 {
		return nil, "", false
	}
	return table[:len(table)-1], table[len(table)-1], true
}

func names(path []any) []string {
	table, key, ok := split(path)
	if !ok {
		return nil
	}
	return append(table, key)
}

// remove takes a key away, with its line if it has one.
func (e *editor) remove(at *pair) {
	if at.inner == 0 {
		e.replace(e.lineStart(at.key.start), e.nextLine(at.value.end), "")
		return
	}
	// One of an inline table, which is on one line and ends without a comma (TOML 1.0).
	before := strings.TrimRight(e.text[:at.key.start], " \t")
	after := len(e.text) - len(strings.TrimLeft(e.text[at.value.end:], " \t"))
	switch {
	case strings.HasSuffix(before, ","):
		e.replace(len(before)-1, at.value.end, "")
	case strings.HasPrefix(e.text[after:], ","):
		after++
		e.replace(at.key.start, after+len(e.text[after:])-len(strings.TrimLeft(e.text[after:], " \t")), "")
	default:
		e.replace(len(before), after, "")
	}
}

// insert adds a key that is not there: to the inline table, beside other dotted keys of
// its table, below the table's header, or with a header at the end.
func (e *editor) insert(c *Change) error {
	line := showKey(c.Key) + " = " + render(c.Value, '"')
	if inline := e.inlineTable(c.Table); inline != nil {
		e.insertInline(inline, line)
		return nil
	}
	if beside := e.dotted(c.Table); beside != nil {
		e.insertLine(beside.value.end, beside.key.start, e.text[beside.key.start:beside.last]+line)
		return nil
	}
	section := slices.IndexFunc(e.headings, func(h heading) bool { return slices.Equal(names(h.path), c.Table) })
	switch {
	case len(c.Table) == 0:
		e.insertTop(line)
	case section < 0:
		e.appendText("[" + toml.Key(c.Table).String() + "]" + e.newline + line + e.newline)
	default:
		above, indent := e.headings[section].end, e.headings[section].start
		for _, p := range e.pairs {
			if p.section == section && p.inner == 0 {
				above, indent = p.value.end, p.key.start
			}
		}
		e.insertLine(above, indent, line)
	}
	return nil
}

func (e *editor) inlineTable(table []string) *pair {
	for i, p := range e.pairs {
		if slices.Equal(names(p.path), table) && e.text[p.value.start] == '{' {
			return &e.pairs[i]
		}
	}
	return nil
}

func (e *editor) insertInline(at *pair, line string) {
	end := at.value.end - 1
	inside := strings.TrimRight(e.text[at.value.start+1:end], " \t")
	if strings.TrimSpace(inside) == "" {
		e.replace(at.value.start+1, end, " "+line+" ")
		return
	}
	last := at.value.start + 1 + len(inside)
	e.replace(last, last, ", "+line)
}

// dotted is the last of the keys that name the table before a dot.
func (e *editor) dotted(table []string) (last *pair) {
	for i, p := range e.pairs {
		above := 0
		if p.section >= 0 {
			above = len(e.headings[p.section].path)
		}
		if t, _, ok := split(p.path); ok && p.inner == 0 && above < len(table) && slices.Equal(t, table) {
			last = &e.pairs[i]
		}
	}
	return last
}

// insertTop adds a key in front of the first table.
func (e *editor) insertTop(line string) {
	above := -1
	for i, p := range e.pairs {
		if p.section < 0 && p.inner == 0 {
			above = i
		}
	}
	switch {
	case above >= 0:
		e.insertLine(e.pairs[above].value.end, e.pairs[above].key.start, line)
	case len(e.headings) == 0:
		e.appendText(line + e.newline)
	default:
		at := e.aboveComments(e.lineStart(e.headings[0].start))
		e.replace(at, at, line+e.newline+e.newline)
	}
}

// aboveComments is where the comment begins that ends at the line above at.
func (e *editor) aboveComments(at int) int {
	for at > 0 {
		above := e.lineStart(at - 1)
		if !strings.HasPrefix(strings.TrimLeft(e.text[above:at], " \t"), "#") {
			break
		}
		at = above
	}
	return at
}

// insertLine adds a line below the one with above, indented as that of indent.
func (e *editor) insertLine(above, indent int, line string) {
	start := e.lineStart(indent)
	line = e.text[start:indent] + line
	at := e.nextLine(above)
	if at == len(e.text) && !strings.HasSuffix(e.text, "\n") {
		e.replace(at, at, e.newline+line)
		return
	}
	e.replace(at, at, line+e.newline)
}

// appendText adds to the end, behind a blank line.
func (e *editor) appendText(text string) {
	switch {
	case e.text == "":
	case !strings.HasSuffix(e.text, "\n"):
		text = e.newline + e.newline + text
	case !strings.HasSuffix(e.text, "\n"+e.newline):
		text = e.newline + text
	}
	e.replace(len(e.text), len(e.text), text)
}

func (e *editor) lineStart(at int) int { return strings.LastIndexByte(e.text[:at], '\n') + 1 }

// lineEnd is where the line break at the end of the line begins.
func (e *editor) lineEnd(at int) int {
	rest, _, _ := strings.Cut(e.text[at:], "\n")
	return at + len(strings.TrimSuffix(rest, "\r"))
}

func (e *editor) nextLine(at int) int {
	if i := strings.IndexByte(e.text[at:], '\n'); i >= 0 {
		return at + i + 1
	}
	return len(e.text)
}

// changeTables drops and adds tables of an array. The header of one is its own line and
// all up to the next header is its own, save what is a comment on that.
func (e *editor) changeTables(c *Change) error {
	if e.find(c) != nil {
		return fmt.Errorf("%s is written as a value", c.Key)
	}
	for _, i := range c.Drop {
		first := slices.IndexFunc(e.headings, func(h heading) bool { return reflect.DeepEqual(h.path, c.element(i)) })
		if first < 0 {
			return fmt.Errorf("table %d of %s is not found", i+1, c.Key)
		}
		end := e.headings[first].end
		for _, p := range e.pairs {
			if p.section == first && p.inner == 0 {
				end = p.value.end
			}
		}
		end = e.nextLine(end)
		if blank := e.nextLine(end); strings.TrimSpace(e.text[end:blank]) == "" {
			end = blank
		}
		e.replace(e.lineStart(e.headings[first].start), end, "")
	}
	if len(c.Add) > 0 {
		e.appendText(strings.ReplaceAll(strings.Join(c.Add, "\n"), "\n", e.newline))
	}
	return nil
}

func showKey(key string) string { return toml.Key{key}.String() }

// render writes a value. Strings are quoted as those that they replace, if they can be:
// style is what those begin with.
func render(value any, style byte) string {
	switch v := value.(type) {
	case TOML:
		return string(v)
	case string:
		return renderText(v, style)
	case []string:
		quoted := make([]string, len(v))
		for i, s := range v {
			quoted[i] = renderText(s, style)
		}
		return "[" + strings.Join(quoted, ", ") + "]"
	case bool:
		return strconv.FormatBool(v)
	}
	return fmt.Sprint(value)
}

// renderText uses a literal string only for what one can hold: no quote of its kind and
// no control character.
func renderText(s string, style byte) string {
	if style != '\'' || strings.ContainsFunc(s, func(r rune) bool { return r == '\'' || r < ' ' || r == 0x7f }) {
		return quote(s)
	}
	return "'" + s + "'"
}
