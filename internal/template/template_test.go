package template

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestExpand(t *testing.T) {
	values := Values{"PORT": []byte("8080"), "a.b-c_1": []byte("x"), "EMPTY": nil, "NESTED": []byte("${PORT}$${PORT}")}
	for text, want := range map[string]string{
		"":                               "",
		"no key":                         "no key",
		"${PORT}":                        "8080",
		"listen ${PORT};\n":              "listen 8080;\n",
		"${PORT}${PORT}":                 "80808080",
		"${a.b-c_1}|${EMPTY}|":           "x||",
		"$${PORT} $$ $$${PORT}":          "${PORT} $$ $${PORT}",
		"${NESTED}":                      "${PORT}$${PORT}",
		"$PORT $(PORT) {PORT} ${PORT":    "$PORT $(PORT) {PORT} ${PORT",
		"${PORT:-1} ${} ${1} ${ PORT }":  "${PORT:-1} ${} ${1} ${ PORT }",
		"${${PORT}}":                     "${8080}",
		"\x00\xff${PORT}\r\n":            "\x00\xff8080\r\n",
		"$host ${#a[@]} ${x/y} ${PORT}$": "$host ${#a[@]} ${x/y} 8080$",
	} {
		got, err := Expand("f", []byte(text), values)
		if err != nil || string(got) != want {
			t.Errorf("%q: got %q, %v; want %q", text, got, err, want)
		}
	}
}

func TestExpandListsAllMissingKeys(t *testing.T) {
	_, err := Expand("/a.tpl", []byte("${A}\n\n${B} ${C}\n$${D} ${E-F}"), Values{"B": nil})
	const want = "/a.tpl:1: there is no value for ${A}\n/a.tpl:3: there is no value for ${C}\n/a.tpl:4: there is no value for ${E-F}"
	if err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %v", err, want)
	}
}

func TestExpandIsBounded(t *testing.T) {
	values := Values{"A": bytes.Repeat([]byte("x"), MaxSize)}
	for _, text := range [][]byte{bytes.Repeat([]byte("${A}"), MaxSize/4), bytes.Repeat([]byte("x"), MaxSize+1)} {
		if _, err := Expand("f", text, values); !errors.Is(err, ErrTooLarge) {
			t.Errorf("got %v", err)
		}
	}
	if got, err := Expand("f", []byte("${A}"), values); err != nil || len(got) != MaxSize {
		t.Errorf("exactly the limit: %d bytes, %v", len(got), err)
	}
}

func TestExpandTellsOnlySomeOfManyMissingKeys(t *testing.T) {
	_, err := Expand("/a.tpl", bytes.Repeat([]byte("${A}\n"), 1000), nil)
	lines := strings.Split(fmt.Sprint(err), "\n")
	if len(lines) != maxMissing+1 || lines[maxMissing] != "/a.tpl: and there are 900 more" {
		t.Errorf("%d lines, the last is %q", len(lines), lines[len(lines)-1])
	}
	long := "${" + strings.Repeat("A", 256) + "}"
	if got, err := Expand("f", []byte(long), nil); err != nil || string(got) != long {
		t.Errorf("a name that is too long for a key: %.20q, %v", got, err)
	}
}

func TestParseMap(t *testing.T) {
	text := "# a comment\n\n${PORT} 8080\n HOST\tdb.example.com  \nEMPTY\nTWO a  b # c\r\n${U} \xff${PORT}"
	values, err := ParseMap("m", []byte(text))
	want := map[string]string{"PORT": "8080", "HOST": "db.example.com", "EMPTY": "", "TWO": "a  b # c", "U": "\xff${PORT}"}
	if err != nil || len(values) != len(want) {
		t.Fatalf("got %q, %v", values, err)
	}
	for key, value := range want {
		if string(values[key]) != value {
			t.Errorf("%s: %q, want %q", key, values[key], value)
		}
	}
}

func TestParseMapTellsEveryBadLine(t *testing.T) {
	_, err := ParseMap("/m", []byte("A 1\n$B 2\n${C 3\nA 4\ncocker.name x\n${A} 5\nD \x00\n=\n"))
	lines := strings.Split(fmt.Sprint(err), "\n")
	for i, start := range []string{"/m:2: ", "/m:3: ", "/m:4: ", "/m:5: ", "/m:6: ", "/m:7: ", "/m:8: "} {
		if i >= len(lines) || !strings.HasPrefix(lines[i], start) {
			t.Fatalf("got\n%v\nwant line %d to begin with %s", err, i, start)
		}
	}
}

// patch(1) makes of the old text and the diff the new text, whatever these are.
func TestDiffIsWhatPatchTakes(t *testing.T) {
	if _, err := exec.LookPath("patch"); err != nil {
		t.Skip("needs patch(1)")
	}
	for i := range 200 {
		random := rand.New(rand.NewPCG(1, uint64(i)))
		from, to := randomText(random), randomText(random)
		patched := applied(t, from, Diff("a", "b", from, to))
		if !bytes.Equal(patched, to) {
			t.Fatalf("%d: %q to %q:\n%s\ngave %q", i, from, to, Diff("a", "b", from, to), patched)
		}
	}
	long := bytes.Repeat([]byte("a\nb\nc\n"), 3*maxEdits)
	other := bytes.Repeat([]byte("x\ny\n"), 3*maxEdits)
	if got := applied(t, long, Diff("a", "b", long, other)); !bytes.Equal(got, other) {
		t.Error("a long diff is wrong")
	}
}

func randomText(random *rand.Rand) []byte {
	var text []byte
	for range random.IntN(40) {
		text = append(text, fmt.Sprintf("%d\n", random.IntN(5))...)
	}
	if len(text) > 0 && random.IntN(4) == 0 {
		text = text[:len(text)-1]
	}
	return text
}

func applied(t *testing.T, from, diff []byte) []byte {
	t.Helper()
	if diff == nil {
		return from
	}
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, from, 0o600); err != nil {
		t.Fatal(err)
	}
	patch := exec.Command("patch", "--quiet", "--fuzz=0", "--unified", "--posix", file)
	patch.Stdin = bytes.NewReader(diff)
	if out, err := patch.CombinedOutput(); err != nil {
		t.Fatalf("patch: %v\n%s\n%s", err, out, diff)
	}
	got, err := os.ReadFile(file)
	if err != nil && !os.IsNotExist(err) { // --posix off would remove an empty one
		t.Fatal(err)
	}
	return got
}

// A small change is shown as diff(1) -u shows it.
func TestDiffIsMinimal(t *testing.T) {
	from := "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n12\n13\n14\n15\n16\n17\n"
	to := strings.Replace(strings.Replace(from, "2\n", "two\n", 1), "17\n", "17", 1)
	const want = "--- a\n+++ b\n@@ -1,5 +1,5 @@\n 1\n-2\n+two\n 3\n 4\n 5\n@@ -14,4 +14,4 @@\n 14\n 15\n 16\n-17\n+17\n\\ No newline at end of file\n"
	if got := Diff("a", "b", []byte(from), []byte(to)); string(got) != want {
		t.Errorf("got\n%s", got)
	}
	if Diff("a", "b", []byte(from), []byte(from)) != nil {
		t.Error("equal texts have a diff")
	}
}
