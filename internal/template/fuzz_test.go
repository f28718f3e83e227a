package template

import (
	"bytes"
	"testing"
)

// FuzzMap: what is read is keys and values of the text, and written as lines it reads the
// same.
func FuzzMap(f *testing.F) {
	f.Add([]byte("# comment\nNAME value with blanks \n${PORT}\t8080\nEMPTY\n"))
	f.Add([]byte("cocker.name x\nA 1\nA 2\n$A x\n\r\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		values, err := ParseMap("map", text)
		if err != nil {
			return
		}
		var again []byte
		for key, value := range values {
			if bytes.ContainsAny(value, "\n") || !bytes.Contains(text, value) {
				t.Errorf("%s is %q", key, value)
			}
			again = append(append(append(append(again, key...), ' '), value...), '\n')
		}
		other, err := ParseMap("map", again)
		if err != nil || len(other) != len(values) {
			t.Errorf("%q reads as %q: %v", again, other, err)
		}
		for key, value := range values {
			if !bytes.Equal(other[key], value) {
				t.Errorf("%s is %q and then %q", key, value, other[key])
			}
		}
	})
}

// FuzzExpand: what has no key stays as it is, and what is in a value is not replaced.
func FuzzExpand(f *testing.F) {
	f.Add([]byte("a ${A} $${A} ${B} $A ${A:-x} ${"), []byte("${B}${A}"))
	f.Fuzz(func(t *testing.T, text, value []byte) {
		out, err := Expand("t", text, Values{"A": value})
		if !bytes.Contains(text, []byte("${")) && len(text) <= MaxSize && (err != nil || !bytes.Equal(out, text)) {
			t.Errorf("%q became %q, %v", text, out, err)
		}
		if len(out) > MaxSize+len(text) {
			t.Errorf("%d bytes of %d", len(out), len(text))
		}
		if _, _, _, found := next(value); err == nil && !found && !bytes.Contains(text, []byte("$${")) {
			if _, key, _, found := next(out); found && !bytes.ContainsAny(append(value, '$'), "{}$") {
				t.Errorf("%s is left in %q", key, out)
			}
		}
	})
}
