package linux

import "testing"

// FuzzProcessStat: a program names itself as it likes, and its name is in this line.
func FuzzProcessStat(f *testing.F) {
	const tail = " S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21"
	f.Add("sh")
	f.Add("a) S 1 2 3 (")
	f.Add(") Z 1\n")
	f.Fuzz(func(t *testing.T, name string) {
		if start, err := parseProcessStart("42 (" + name + ")" + tail); err != nil || start != 4711 {
			t.Errorf("%q: %d, %v", name, start, err)
		}
		_, _ = parseProcessStart(name)
		parseExiting(name)
	})
}
