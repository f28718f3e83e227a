package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Rewrite is one file of a container with another text.
type Rewrite struct {
	File     string // absolute path
	Old, New string // Old is "" for a file that does not exist yet
}

// Rewriter says where changes are written to.
type Rewriter struct {
	Location Location
	// DropIn is the file for keys that are set in a file which must stay as it is, such
	// as a package's. It need not exist.
	DropIn string
	Fixed  func(file string) bool
}

// Rewrite gives the texts that make the container the wanted one, and the keys that
// change. A key is changed in the file that sets it now, the last one that does; a new
// one goes to the container's own file. The texts together mean exactly what is wanted,
// or there is an error.
func (r *Rewriter) Rewrite(wanted *Container) (files []Rewrite, keys []string, err error) {
	_, sources, err := r.Location.sources()
	if err != nil {
		return nil, nil, err
	}
	old, _, err := build(r.Location, sources, nil)
	if err != nil {
		return nil, nil, err
	}
	changes, err := difference(old, wanted)
	if err != nil {
		return nil, nil, err
	}
	texts := newTexts(r, sources)
	for _, c := range changes {
		keys = append(keys, c.String())
		if err := texts.change(c, wanted); err != nil {
			return nil, nil, err
		}
	}
	return texts.rewrites(), keys, texts.verify(wanted)
}

// With is the container with one key set as a person writes it: VALUE is TOML, or the
// bare text of a string or of an array's strings, with commas. An empty VALUE is the
// default. A key that only one table has need not be written with it.
func (c *Container) With(key, value string) (*Container, error) {
	x := indexer{text: key}
	path := x.key()
	if x.pos < len(key) || slices.Contains(path, "") {
		return nil, fmt.Errorf("%q is no key; write it as network.ports", key)
	}
	if len(path) == 1 && !topLevel(path[0]) {
		if table := newBuilder(Location{Name: c.Name}).home(path[0]); table != "" {
			path = []string{table, path[0]}
		}
	}
	text, err := Encode(c)
	if err != nil {
		return nil, err
	}
	var first error
	for _, v := range meanings(value) {
		change := Change{Table: path[:len(path)-1], Key: path[len(path)-1], Value: v}
		edited, err := Edit(string(text), change)
		if err == nil {
			var changed *Container
			if changed, err = Parse(c.Name, "", edited); err == nil {
				return changed, nil
			}
		}
		first = cmp.Or(first, err)
	}
	return nil, first
}

func topLevel(key string) bool {
	return slices.ContainsFunc(schema[:], func(k keySpec) bool { return k.table == "" && k.key == key })
}

// Keys are all keys that With takes, but those of tables whose keys anybody names.
func Keys() (keys []string) {
	for _, k := range schema {
		switch {
		case k.key == anyKey || k.key == "mount" || k.key == "template":
		case k.table == "":
			keys = append(keys, k.key)
		default:
			keys = append(keys, k.table+"."+k.key)
		}
	}
	return keys
}

// meanings are what a text may stand for, most likely first.
func meanings(value string) (all []any) {
	if value == "" {
		return []any{nil}
	}
	if _, err := decode("v = " + value); err == nil && !strings.Contains(value, "\n") {
		all = append(all, TOML(value))
	}
	return append(all, value, strings.Split(value, ","))
}

// difference gives the changes that make one container the other.
func difference(old, wanted *Container) ([]Change, error) {
	oldEntries, _, err := encoded(old)
	if err != nil {
		return nil, err
	}
	newEntries, text, err := encoded(wanted)
	if err != nil {
		return nil, err
	}
	var changes []Change
	for _, e := range oldEntries {
		if _, isTable := e.value.(map[string]any); !isTable && find(newEntries, e.table, e.slot) == nil {
			changes = append(changes, e.change(nil, text))
		}
	}
	for _, e := range newEntries {
		before := find(oldEntries, e.table, e.slot)
		if _, isTable := e.value.(map[string]any); !isTable && (before == nil || !reflect.DeepEqual(before.value, e.value)) {
			changes = append(changes, e.change(e.value, text))
		}
	}
	return changes, nil
}

func encoded(c *Container) ([]*entry, string, error) {
	text, err := Encode(c)
	if err != nil {
		return nil, "", err
	}
	s := &source{file: "", text: string(text)}
	entries, err := s.entries()
	return entries, s.text, err
}

// change sets the key of e to a value, or removes it if that is nil. What is no simple
// value is taken as text has it.
func (e *entry) change(value any, text string) Change {
	path := names(e.path())
	c := Change{Table: path[:len(path)-1], Key: path[len(path)-1]}
	switch v := value.(type) {
	case nil, string, int64, bool:
		c.Value = v
	case []any:
		c.Value = simpleList(v)
	case []map[string]any:
		c.Add = tablesOf(text, c)
	}
	if c.Value == nil && value != nil && c.Add == nil {
		p := findPlaces(text)
		for _, pair := range p.pairs {
			if slices.Equal(names(pair.path), path) {
				c.Value = TOML(text[pair.value.start:pair.value.end])
			}
		}
	}
	return c
}

// simpleList is nil if there is anything but strings.
func simpleList(list []any) any {
	texts := make([]string, len(list))
	for i, v := range list {
		s, ok := v.(string)
		if !ok {
			return nil
		}
		texts[i] = s
	}
	return texts
}

// tablesOf cuts the tables of an array out of a text without comments.
func tablesOf(text string, c Change) (tables []string) {
	p := findPlaces(text)
	for i, h := range p.headings {
		if !reflect.DeepEqual(h.path, c.element(len(tables))) {
			continue
		}
		end := len(text)
		if i+1 < len(p.headings) {
			end = p.headings[i+1].start
		}
		tables = append(tables, strings.TrimRight(text[h.start:end], "\n")+"\n")
	}
	return tables
}

// texts are the files of a container on their way to other texts.
type texts struct {
	*Rewriter
	before  []*source
	current []*source
}

func newTexts(r *Rewriter, sources []*source) *texts {
	t := &texts{Rewriter: r, before: sources}
	for _, s := range sources {
		t.current = append(t.current, &source{file: s.file, text: s.text})
	}
	return t
}

// change makes one change in the file that sets the key.
func (t *texts) change(c Change, wanted *Container) error {
	at, setter, err := t.setter(c)
	if err != nil {
		return err
	}
	removes := c.Value == nil && c.Add == nil
	if setter != nil && t.Fixed(at.file) {
		if _, isList := setter.value.([]any); isList && removes {
			c.Value = []string{} // hides the list below
		} else if removes {
			return fmt.Errorf("%s is set in %s, which belongs to a package, and a drop-in can only give it another value", c, at.file)
		}
		setter = nil
	}
	if t.Fixed(at.file) {
		at = t.dropIn()
	}
	if setter != nil {
		c = c.likeWritten(setter, wanted)
	}
	edited, err := Edit(at.text, c)
	if err != nil {
		return fmt.Errorf("%s: %w", at.file, err)
	}
	*at = source{file: at.file, text: edited}
	return nil
}

// setter finds the last source that sets a key; if none does, the container's file.
func (t *texts) setter(c Change) (at *source, by *entry, err error) {
	at = t.current[0]
	for _, s := range t.current {
		entries, err := s.entries()
		if err != nil {
			return nil, nil, err
		}
		for _, e := range entries {
			if table, key, ok := split(e.path()); ok && slices.Equal(table, c.Table) && c.sets(key) {
				at, by = s, e
			}
		}
	}
	return at, by, nil
}

func (t *texts) dropIn() *source {
	for _, s := range t.current {
		if s.file == t.DropIn {
			return s
		}
	}
	s := &source{file: t.DropIn}
	t.current = append(t.current, s)
	return s
}

// likeWritten keeps what the file has already of an array: the tables that stay, and the
// spelling of ports, a range of which means many.
func (c Change) likeWritten(setter *entry, wanted *Container) Change {
	switch old := setter.value.(type) {
	case []any:
		if _, ok := c.Value.([]string); ok && c.String() == "network.ports" {
			c.Value = spelledPorts(old, wanted.Network.Ports)
		}
	case []map[string]any:
		added := c.Add
		c.Add, c.Drop = nil, []int{}
		canonical := tablesOf(canonicalTables(setter), c)
		for i := range old {
			if i < len(canonical) && slices.Contains(added, canonical[i]) {
				added = without(added, canonical[i])
			} else {
				c.Drop = append(c.Drop, i)
			}
		}
		c.Add = added
	}
	return c
}

func without(list []string, value string) []string {
	i := slices.Index(list, value)
	return slices.Delete(slices.Clone(list), i, i+1)
}

// canonicalTables are the tables of an array as Encode writes them.
func canonicalTables(setter *entry) string {
	b := newBuilder(Location{Name: "x"})
	b.set(setter)
	text, err := Encode(b.c)
	if err != nil {
		return ""
	}
	return string(text)
}

// spelledPorts are the wanted ports in their order, those as the file spells them that an
// element of it means all of.
func spelledPorts(old []any, wanted []Port) (list []string) {
	var (
		elements = make([][]Port, len(old))
		others   []Port
	)
	for i, v := range old {
		s, _ := v.(string)
		elements[i], _ = parsePorts(s)
	}
	for len(wanted) > 0 {
		i := slices.IndexFunc(elements, func(e []Port) bool { return len(e) > 0 && len(e) <= len(wanted) && slices.Equal(e, wanted[:len(e)]) })
		if i < 0 {
			others, wanted = append(others, wanted[0]), wanted[1:]
			continue
		}
		list = append(list, FormatPorts(others)...)
		list = append(list, old[i].(string))
		others, wanted = nil, wanted[len(elements[i]):]
		elements[i] = nil
	}
	return append(list, FormatPorts(others)...)
}

func (t *texts) rewrites() (files []Rewrite) {
	for i, s := range t.current {
		r := Rewrite{File: s.file, New: s.text}
		if i < len(t.before) {
			r.Old = t.before[i].text
		}
		if r.Old != r.New {
			files = append(files, r)
		}
	}
	return files
}

// verify reads the texts as they will be read, and compares.
func (t *texts) verify(wanted *Container) error {
	ordered := slices.Clone(t.current)
	slices.SortStableFunc(ordered[1:], func(a, b *source) int { return cmp.Compare(base(a.file), base(b.file)) })
	fresh := make([]*source, len(ordered))
	for i, s := range ordered {
		fresh[i] = &source{file: s.file, text: s.text}
	}
	c, _, err := build(t.Location, fresh, nil)
	if err != nil {
		return err
	}
	got, gotErr := Encode(c)
	want, wantErr := Encode(wanted)
	if err := errors.Join(gotErr, wantErr); err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("%s and its drop-ins together would not mean what is asked for, as if one hides the other; edit them by hand", t.Location.File)
	}
	return nil
}

func base(file string) string { return file[strings.LastIndexByte(file, '/')+1:] }
