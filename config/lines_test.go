package config

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/BurntSushi/toml"
)

// Each text has a marker comment at the end of the line that the path is on.
func TestLines(t *testing.T) {
	for _, c := range []struct {
		text string
		path []any
	}{
		{"a = 1\nb = 2 # here", []any{"b"}},
		{"\ufeff# x\r\n\r\na = 1 # here\r\n", []any{"a"}},
		{"a = \"\"\"\nb = 1\n\"\"\"\nb = 2 # here", []any{"b"}},
		{"a = '''\nb = 1\n''''\nb = 2 # here", []any{"b"}},
		{"a = \"\"\"x\\\"\"\"\"\nb = 2 # here", []any{"b"}},
		{"a = \"\"\"x\"\"\"\"\"\nb = 2 # here", []any{"b"}},
		{"a = \"[\\\"\"\nb = 2 # here", []any{"b"}},
		{"a = '\\'\nb = 2 # here", []any{"b"}},
		{"[t]\na = 1\n[t.u] # here\nx = 1", []any{"t", "u"}},
		{"[t]\na.b = 1 # here", []any{"t", "a", "b"}},
		{"t.a = 1\nt.b = 1 # here", []any{"t", "b"}},
		{"t.a = 1 # here\nt.b = 1", []any{"t"}},
		{"[t]\n\"a b\" = 1\n\"c\\u0064\" = 1 # here", []any{"t", "cd"}},
		{"['t']\n'a.b' = 1 # here", []any{"t", "a.b"}},
		{" [ t . \"u\" ] \n x = 1 # here", []any{"t", "u", "x"}},
		{"t = { a = 1, b = [ 1,\n 2 ], c = 3 } # here", []any{"t", "c"}},
		{"a = [\n1, # one\n# none\n[2,\n3], # here\n]", []any{"a", 1, 1}},
		{"a = [\"]\",\n'#',\n\"x\" # here\n,]", []any{"a", 2}},
		{"[[m]]\na = 1\n[[m]] # here\na = 1", []any{"m", 1}},
		{"[[m]]\na = 1\n[[m]]\na = 1 # here", []any{"m", 1, "a"}},
		{"[[m]]\n[m.s]\na = 1\n[[m]]\n[m.s]\na = 1 # here", []any{"m", 1, "s", "a"}},
		{"m = [{a=1},\n{a=2, b={c=1}}] # here", []any{"m", 1, "b", "c"}},
		{"d = 2020-01-01 10:00:00 # x\ne = 1 # here", []any{"e"}},
	} {
		at := strings.Index(c.text, "# here")
		want := strings.Count(c.text[:at], "\n") + 1
		if _, err := toml.Decode(c.text, new(map[string]any)); err != nil {
			t.Errorf("%q: %v", c.text, err)
			continue
		}
		s := source{text: c.text}
		if got := s.line(c.path); got != want {
			t.Errorf("%q: %s is on line %d, got %d", c.text, showPath(c.path), want, got)
		}
	}
}

func TestInvalidUTF8Line(t *testing.T) {
	for text, want := range map[string]int{"\xff": 1, "a\n\xff": 2, "\ufffd\n\n\xc3\n": 3, "\ufffd": 0, "é\n": 0} {
		s := source{text: text}
		p := s.badUTF8()
		if want == 0 && p != nil || want != 0 && (p == nil || p.Line != want) {
			t.Errorf("%q: got %v, want line %d", text, p, want)
		}
	}
}

// The scan for lines and the TOML package must agree on which keys there are.
func FuzzLines(f *testing.F) {
	for _, text := range []string{full, "a.b = [{c=1}]\n[[d.e]]\n[d.e.f]\nx='''\n'''", "\"a\\\"b\" = {x = {y = []}}", "[a]\n[a.b]\n[[a.c]]\n[[a.c]]\nz=1"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var doc map[string]any
		md, err := toml.Decode(text, &doc)
		if err != nil || !utf8.ValidString(text) {
			return
		}
		s := source{text: text}
		s.line(nil)
		known := map[string]bool{}
		for id := range s.lines {
			known[withoutIndices(id)] = true
		}
		for _, key := range md.Keys() {
			var path []any
			for _, k := range key {
				path = append(path, k)
			}
			if !known[joinPath(path)] {
				t.Errorf("%q: no line for %q, only %v", text, key, s.lines)
			}
		}
	})
}

// withoutIndices drops [0] after a quoted key.
func withoutIndices(id string) string {
	var b strings.Builder
	quoted, skip := false, false
	for i := 0; i < len(id); i++ {
		switch c := id[i]; {
		case quoted && c == '\\':
			b.WriteString(id[i : i+2])
			i++
			continue
		case c == '"':
			quoted = !quoted
		case !quoted && c == '[':
			skip = true
		}
		if !skip {
			b.WriteByte(id[i])
		}
		if !quoted && id[i] == ']' {
			skip = false
		}
	}
	return b.String()
}
