package config

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestEdit(t *testing.T) {
	network := []string{"network"}
	tests := []struct {
		name, text string
		change     Change
		want       string
	}{
		{"a value in its place", "# c\nimage = 'a'   # why\n\nuser = \"b\"\n", Change{Key: "image", Value: "x"}, "# c\nimage = 'x'   # why\n\nuser = \"b\"\n"},
		{"a literal string cannot hold everything", "user = 'a'\n", Change{Key: "user", Value: "it's"}, "user = \"it's\"\n"},
		{"a number", "[network]\nx = 1 # c\n", Change{network, "x", uint64(22), nil, nil}, "[network]\nx = 22 # c\n"},
		{"the other spelling", "images = ['a', 'b']\n", Change{Key: "image", Value: "c"}, "image = 'c'\n"},
		{"a directive's own spelling", "[service]\nmemoryswapmax = '1'\n", Change{[]string{"service"}, "MemorySwapMax", "2", nil, nil}, "[service]\nmemoryswapmax = '2'\n"},
		{"a key at the top", "image = 'a' # c\n# d\n[network]\n", Change{Key: "user", Value: "u"}, "image = 'a' # c\nuser = \"u\"\n# d\n[network]\n"},
		{"the first key at the top", "# file\n\n# of network\n[network]\n", Change{Key: "user", Value: "u"}, "# file\n\nuser = \"u\"\n\n# of network\n[network]\n"},
		{"below a header", "[network]\n  mode = 'host' # c\n\n[install]\n", Change{network, "address", "1", nil, nil}, "[network]\n  mode = 'host' # c\n  address = \"1\"\n\n[install]\n"},
		{"below an empty header", "[network] # c\n[install]\n", Change{network, "address", "1", nil, nil}, "[network] # c\naddress = \"1\"\n[install]\n"},
		{"a new table", "image = 'a'", Change{network, "mode", "host", nil, nil}, "image = 'a'\n\n[network]\nmode = \"host\"\n"},
		{"a new table in an empty file", "", Change{network, "mode", "host", nil, nil}, "[network]\nmode = \"host\"\n"},
		{"dotted keys", "network.mode = 'bridge' # c\nuser = 'a'\n", Change{network, "address", "1", nil, nil}, "network.mode = 'bridge' # c\nnetwork.address = \"1\"\nuser = 'a'\n"},
		{"a dotted key's value", "network . mode = 'bridge' # c\n", Change{network, "mode", "host", nil, nil}, "network . mode = 'host' # c\n"},
		{"an inline table", "network = { mode = 'bridge' } # c\n", Change{network, "address", "1", nil, nil}, "network = { mode = 'bridge', address = \"1\" } # c\n"},
		{"an empty inline table", "network = {}\n", Change{network, "address", "1", nil, nil}, "network = { address = \"1\" }\n"},
		{"out of an inline table", "network = { a = 1, b = 2, c = 3 }\n", Change{Table: network, Key: "a"}, "network = { b = 2, c = 3 }\n"},
		{"the last of an inline table", "network = { a = 1, b = 2 }\n", Change{Table: network, Key: "b"}, "network = { a = 1 }\n"},
		{"the only one of an inline table", "network = { a = 1 }\n", Change{Table: network, Key: "a"}, "network = {}\n"},
		{"a key away", "# a\nuser = 'x' # goes\n# b\nimage = 'y'\n", Change{Key: "user"}, "# a\n# b\nimage = 'y'\n"},
		{"a key away that is not there", "image = 'y'\n", Change{Key: "user"}, "image = 'y'\n"},
		{"carriage returns", "image = 'y'\r\n", Change{Key: "user", Value: "u"}, "image = 'y'\r\nuser = \"u\"\r\n"},
		{"a quoted key", "[environment]\n\"a b\" = '1'\n", Change{[]string{"environment"}, "a b", "2", nil, nil}, "[environment]\n\"a b\" = '2'\n"},
		{"a new quoted key", "[environment]\n", Change{[]string{"environment"}, "a=b", "2", nil, nil}, "[environment]\n\"a=b\" = \"2\"\n"},
		{"a table in a table", "[process.web]\ncommand = ['a']\n\n[process.db]\ncommand = ['b']\n", Change{[]string{"process", "web"}, "user", "u", nil, nil}, "[process.web]\ncommand = ['a']\nuser = \"u\"\n\n[process.db]\ncommand = ['b']\n"},
		{"a long string", "description = '''\n[network]\n# no comment\n''' # c\n", Change{Key: "description", Value: "d"}, "description = 'd' # c\n"},
		{"a table more", "image = 'a'\n[[mount]]\ntarget = '/a' # c\n", Change{Key: "mount", Add: []string{"[[mount]]\ntarget = \"/b\"\n"}}, "image = 'a'\n[[mount]]\ntarget = '/a' # c\n\n[[mount]]\ntarget = \"/b\"\n"},
		{"a table less", "[[mount]]\ntarget = '/a'\n\n# of b\n[[mount]]\ntarget = '/b'\n\n# end\n", Change{Key: "mount", Drop: []int{0}}, "# of b\n[[mount]]\ntarget = '/b'\n\n# end\n"},
	}
	for _, tt := range tests {
		got, err := Edit(tt.text, tt.change)
		if err != nil || got != tt.want {
			t.Errorf("%s: %v: got\n%s\nwant\n%s", tt.name, err, got, tt.want)
		}
	}
}

func TestEditArray(t *testing.T) {
	const long = "ports = [\n  '80:80', # web\n  # the database\n  '54:54'  # db\n]\n"
	tests := []struct {
		name, text string
		value      []string
		want       string
	}{
		{"one more", "ports = ['80:80']\n", []string{"80:80", "81:81"}, "ports = ['80:80', '81:81']\n"},
		{"one more in front", "ports = [ \"80:80\" ]\n", []string{"81:81", "80:80"}, "ports = [ \"81:81\", \"80:80\" ]\n"},
		{"one less", "ports = ['a', 'b', 'c']\n", []string{"a", "c"}, "ports = ['a', 'c']\n"},
		{"the first less", "ports = ['a', 'b', 'c']\n", []string{"b", "c"}, "ports = ['b', 'c']\n"},
		{"the last less", "ports = ['a', 'b', 'c']\n", []string{"a", "b"}, "ports = ['a', 'b']\n"},
		{"all but one", "ports = ['a', 'b', 'c', 'd']\n", []string{"b"}, "ports = ['b']\n"},
		{"none", "ports = ['a', 'b'] # c\n", []string{}, "ports = [] # c\n"},
		{"from none", "ports = [ ] # c\n", []string{"a"}, "ports = [\"a\"] # c\n"},
		{"another", "ports = ['a', 'b']\n", []string{"a", "c"}, "ports = ['a', 'c']\n"},
		{"long: one more", long, []string{"80:80", "54:54", "1:1"}, "ports = [\n  '80:80', # web\n  # the database\n  '54:54',  # db\n  '1:1'\n]\n"},
		{"long: one between", long, []string{"80:80", "1:1", "54:54"}, "ports = [\n  '80:80', # web\n  '1:1',\n  # the database\n  '54:54'  # db\n]\n"},
		{"long: the first less", long, []string{"54:54"}, "ports = [\n  # the database\n  '54:54'  # db\n]\n"},
		{"long: the last less", long, []string{"80:80"}, "ports = [\n  '80:80', # web\n  # the database\n]\n"},
		{"long: another", long, []string{"80:80", "5:5"}, "ports = [\n  '80:80', # web\n  # the database\n  '5:5'  # db\n]\n"},
		{"long: in front", long, []string{"9:9", "80:80", "54:54"}, "ports = [\n  '9:9',\n  '80:80', # web\n  # the database\n  '54:54'  # db\n]\n"},
		{"two on a line", "ports = [\n 'a', 'b',\n 'c',\n]\n", []string{"a", "b", "c", "d"}, "ports = [\n 'a', 'b',\n 'c',\n 'd',\n]\n"},
		{"comma in front", "ports = [ 'a'\n , 'b' ]\n", []string{"b"}, "ports = [ \n  'b' ]\n"},
		{"brackets and hashes in strings", "ports = ['a]', \"#b\"] # c\n", []string{"#b", "a]"}, "ports = [\"#b\", \"a]\"] # c\n"},
	}
	for _, tt := range tests {
		got, err := Edit(tt.text, Change{Key: "ports", Value: tt.value})
		if err != nil || got != tt.want {
			t.Errorf("%s: %v: got\n%s\nwant\n%s", tt.name, err, got, tt.want)
		}
	}
}

func TestEditRefuses(t *testing.T) {
	for text, change := range map[string]Change{
		"network = 'x'\n":               {[]string{"network"}, "mode", "host", nil, nil},
		"image = \n":                    {Key: "image", Value: "x"},
		"mount = [{ target = '/a' }]\n": {Key: "mount", Drop: []int{0}},
		"[[mount]]\ntarget = '/a'\n":    {Key: "mount", Drop: []int{1}},
		"[[network]]\nmode = 'host'\n":  {[]string{"network"}, "mode", "none", nil, nil},
	} {
		if got, err := Edit(text, change); !errors.Is(err, ErrNotEdited) {
			t.Errorf("%q: got %q, %v", text, got, err)
		}
	}
}

// Random changes of random texts: what the text means changes as asked and in nothing
// else, and no comment is lost but those of what is removed.
func TestRandomEdits(t *testing.T) {
	refused := 0
	const rounds = 8_000
	for seed := range uint64(rounds) {
		r := rand.New(rand.NewPCG(seed, 6))
		w := &textWriter{rand: r}
		text := w.document()
		before, err := decode(text)
		if err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, text)
		}
		change := w.change()
		edited, err := Edit(text, change)
		if err != nil {
			refused++
			continue
		}
		after, err := decode(edited)
		if err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, edited)
		}
		setIn(before, change)
		if !reflect.DeepEqual(withoutEmpty(before), withoutEmpty(after)) {
			t.Fatalf("seed %d: %v = %q\n%s\nbecomes\n%s", seed, change, change.Value, text, edited)
		}
		for _, comment := range w.stay(change) {
			if !strings.Contains(edited, comment+"\n") {
				t.Fatalf("seed %d: %v = %q: %s is lost:\n%s\nbecomes\n%s", seed, change, change.Value, comment, text, edited)
			}
		}
	}
	if refused > rounds/1000 {
		t.Errorf("%d of %d changes are refused", refused, rounds)
	}
}

func setIn(doc map[string]any, c Change) {
	for _, name := range c.Table {
		if doc[name] == nil {
			doc[name] = map[string]any{}
		}
		doc = doc[name].(map[string]any)
	}
	switch v := c.Value.(type) {
	case nil:
		delete(doc, c.Key)
	case string:
		doc[c.Key] = v
	case []string:
		list := make([]any, len(v))
		for i := range v {
			list[i] = v[i]
		}
		doc[c.Key] = list
	}
}

// textWriter writes random TOML in which every comment is another one.
type textWriter struct {
	strings.Builder
	rand     *rand.Rand
	comments map[string][]string // by the key that they stand in or beside; "": they stand alone
	lists    map[string][]string
	n        int
}

var (
	editTables = []string{"", "network", "install", "environment"}
	editKeys   = []string{"a", "b", "c", "d"}
)

func (w *textWriter) document() string {
	w.comments, w.lists = map[string][]string{}, map[string][]string{}
	for i, table := range editTables {
		if i > 0 && w.chance(3) {
			continue
		}
		style := w.rand.IntN(3)
		switch {
		case i == 0:
		case style == 0:
			w.inline(table)
			continue
		case style == 1:
			w.margin("")
			w.WriteString("[" + table + "]")
			w.endLine("")
		}
		prefix := ""
		if i > 0 && style == 2 {
			prefix = table + "."
		}
		if prefix != "" && strings.Contains(w.String(), "\n[") {
			continue // it would be another table's
		}
		for _, key := range editKeys {
			if w.chance(2) {
				w.pair(table, prefix, key)
			}
		}
	}
	if w.chance(4) {
		return strings.TrimSuffix(w.String(), "\n") + "\n# end\n"
	}
	return w.String()
}

func (w *textWriter) inline(table string) {
	if strings.Contains(w.String(), "\n[") || strings.HasPrefix(w.String(), "[") {
		return
	}
	w.WriteString(table + " = {")
	for i, key := range editKeys[:w.rand.IntN(4)] {
		if i > 0 {
			w.WriteString(", ")
		}
		w.WriteString(key + " = " + w.text(w.word()))
	}
	w.WriteString("}")
	w.endLine("")
}

func (w *textWriter) pair(table, prefix, key string) {
	id := table + "." + key
	w.margin("")
	w.WriteString(strings.Repeat(" ", w.rand.IntN(3)) + prefix + key + " = ")
	if w.chance(2) {
		w.WriteString(w.text(w.word()))
		w.endLine(id)
		return
	}
	w.WriteByte('[')
	for n := w.rand.IntN(4); n > 0; n-- {
		if w.chance(2) {
			w.endLine(id)
			w.margin(id)
		}
		word := w.word()
		w.lists[id] = append(w.lists[id], word)
		w.WriteString(w.text(word))
		if w.chance(6) {
			w.endLine(id)
		}
		if n > 1 || w.chance(3) {
			w.WriteString([]string{",", ", ", " , "}[w.rand.IntN(3)])
		}
	}
	if w.chance(2) {
		w.endLine(id)
	}
	w.WriteByte(']')
	w.endLine(id)
}

// margin is what may stand above a line.
func (w *textWriter) margin(id string) {
	if w.chance(4) {
		w.WriteString("\n")
	}
	if w.chance(3) {
		w.comment(id)
		w.WriteString("\n")
	}
}

func (w *textWriter) endLine(id string) {
	if w.chance(3) {
		w.WriteString(" ")
		w.comment(id)
	}
	w.WriteString("\n")
}

func (w *textWriter) comment(id string) {
	w.n++
	text := fmt.Sprintf("# %d 'of] \"%s", w.n, id)
	w.comments[id] = append(w.comments[id], text)
	w.WriteString(text)
}

func (w *textWriter) word() string {
	return []string{"80:80", "x", "#", "]", "'", "\"", "a,b", "\\", "}", "é", ""}[w.rand.IntN(11)]
}

func (w *textWriter) text(s string) string {
	if w.chance(2) || strings.Contains(s, "'") {
		return quote(s)
	}
	return "'" + s + "'"
}

func (w *textWriter) chance(n int) bool { return w.rand.IntN(n) == 0 }

func (w *textWriter) change() Change {
	c := Change{Key: editKeys[w.rand.IntN(len(editKeys))]}
	table := editTables[w.rand.IntN(len(editTables))]
	if table != "" {
		c.Table = []string{table}
	}
	list := slices.Clone(w.lists[table+"."+c.Key])
	switch w.rand.IntN(5) {
	case 0:
	case 1:
		c.Value = w.word()
	case 2:
		c.Value = append([]string{w.word()}, list...)
	case 3:
		c.Value = append(list, w.word(), w.word())
	default:
		list = slices.DeleteFunc(list, func(string) bool { return w.chance(3) })
		if len(list) > 0 && w.chance(2) {
			list[0] = w.word()
		}
		c.Value = slices.Concat([]string{}, list)
	}
	return c
}

// stay are the comments that a change has nothing to do with, and, if it adds to a list,
// all.
func (w *textWriter) stay(c Change) (comments []string) {
	own := strings.Join(append(slices.Clone(c.Table), c.Key), ".")
	if len(c.Table) == 0 {
		own = "." + c.Key
	}
	list, isList := c.Value.([]string)
	for _, id := range slices.Sorted(maps.Keys(w.comments)) {
		if id != own || isList && len(list) > len(w.lists[id]) && len(w.lists[id]) > 0 {
			comments = append(comments, w.comments[id]...)
		}
	}
	return comments
}

// Whatever the text is, Edit ends, and what it gives is TOML.
func FuzzEdit(f *testing.F) {
	for _, text := range []string{"", "image = 'a'\n", "[network]\nports = [\n'a', # c\n]\n", "network.ports = []\n", "network = {ports = ['a',]}", "[[network]]\n", "\ufeff[network]\r\nx=1"} {
		f.Add(text, "ports", "v")
	}
	f.Fuzz(func(t *testing.T, text, key, value string) {
		for _, c := range []Change{{[]string{"network"}, key, value, nil, nil}, {[]string{"network"}, key, []string{value, "a"}, nil, nil}, {Table: []string{"network"}, Key: key}, {Key: key, Value: value}, {Key: key, Add: []string{"[[" + showKey(key) + "]]\nx = 1\n"}}} {
			edited, err := Edit(text, c)
			if err == nil {
				_, err = decode(edited)
			} else if errors.Is(err, ErrNotEdited) {
				err = nil
			}
			if err != nil {
				t.Errorf("%v of %q: %v", c, text, err)
			}
		}
	})
}
