package config

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"unicode/utf8"

	"github.com/BurntSushi/toml"
)

// maxFile is the size limit of a file in bytes. It keeps a mistake (a log or a
// tar under a .toml name) from being read into memory by a generator at boot.
const maxFile = 1 << 20

// source is one TOML text and, once asked for, the lines of its keys.
type source struct {
	file  string
	text  string
	lines map[string]int

	readable bool // by everybody
}

// entry is one key of the schema's depth: a top-level key, or a key of one of
// the tables. A [[mount]] array is one entry.
type entry struct {
	table string   // "" for a top-level key
	inner []string // the tables between table and key: of [process.NAME.environment] two
	key   string   // as written
	slot  string   // what another source replaces: the key without its spelling
	value any
	src   *source
}

// path gives the keys of e and then rest, which may hold indices of arrays.
func (e *entry) path(rest ...any) []any {
	path := make([]any, 0, 4+len(rest))
	if e.table != "" {
		path = append(path, e.table)
	}
	for _, name := range e.inner {
		path = append(path, name)
	}
	return append(append(path, e.key), rest...)
}

// problem is a Problem at the line of e or of something inside its value.
func (e *entry) problem(rest []any, format string, args ...any) *Problem {
	path := e.path(rest...)
	return &Problem{File: e.src.file, Line: e.src.line(path), Key: showPath(path), Text: fmt.Sprintf(format, args...)}
}

// readFile reads a regular file within the size limit. It makes the system calls
// itself: package os needs two more, and a boot with 1000 files waits for them.
func readFile(path string) (*source, error) {
	// Without O_NONBLOCK a FIFO under a .toml name would stop the boot.
	fd, err := retry(func() (int, error) {
		return syscall.Open(path, syscall.O_RDONLY|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	})
	if err != nil {
		return nil, &Problem{File: path, Text: "open: " + err.Error()}
	}
	defer func() { _ = syscall.Close(fd) }()
	var info syscall.Stat_t
	if err := syscall.Fstat(fd, &info); err != nil {
		return nil, &Problem{File: path, Text: "stat: " + err.Error()}
	}
	switch {
	case info.Mode&syscall.S_IFMT != syscall.S_IFREG:
		return nil, &Problem{File: path, Text: "not a regular file"}
	case info.Size > maxFile:
		return nil, &Problem{File: path, Text: fmt.Sprintf("the file has %d bytes; a container file may have %d", info.Size, maxFile)}
	}
	text, err := readText(fd, int(info.Size))
	if err != nil {
		return nil, &Problem{File: path, Text: "read: " + err.Error()}
	}
	return &source{file: path, text: text, readable: info.Mode&syscall.S_IROTH != 0}, nil
}

// readText reads up to size bytes; a file that grows meanwhile is cut, one that
// shrinks ends early.
func readText(fd, size int) (string, error) {
	text := make([]byte, size)
	n := 0
	for n < size {
		got, err := retry(func() (int, error) { return syscall.Read(fd, text[n:]) })
		if err != nil {
			return "", err
		}
		if got == 0 {
			break
		}
		n += got
	}
	return string(text[:n]), nil
}

// retry repeats a system call that a signal has interrupted.
func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if err != syscall.EINTR { //nolint:errorlint // an Errno as it comes
			return n, err
		}
	}
}

// fileProblem drops the path from the error, as the problem names it already.
func fileProblem(path string, err error) *Problem {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return &Problem{File: path, Text: fmt.Sprintf("%s: %v", pe.Op, pe.Err)}
	}
	return &Problem{File: path, Text: err.Error()}
}

// entries parses the text. The order is that of the file.
func (s *source) entries() ([]*entry, error) {
	if p := s.badUTF8(); p != nil {
		return nil, p
	}
	// The tables as the parser has made them: into anything else package toml would copy
	// them by reflection, and into an Unmarshaler it would note of each key that it is known.
	var doc any
	md, err := toml.Decode(s.text, &doc)
	if err != nil {
		return nil, s.syntaxProblem(err)
	}
	tables, _ := doc.(map[string]any)
	return s.collect(tables, md.Keys())
}

func (s *source) badUTF8() *Problem {
	if utf8.ValidString(s.text) {
		return nil
	}
	line := 1
	for i, r := range s.text {
		if r == '\n' {
			line++
		}
		if _, size := utf8.DecodeRuneInString(s.text[i:]); r == utf8.RuneError && size == 1 {
			break
		}
	}
	return &Problem{File: s.file, Line: line, Text: "invalid UTF-8; save the file as UTF-8"}
}

func (s *source) syntaxProblem(err error) *Problem {
	var pe toml.ParseError
	if !errors.As(err, &pe) {
		return &Problem{File: s.file, Text: err.Error()}
	}
	text := strings.ReplaceAll(pe.Message, "\n", " ")
	return &Problem{File: s.file, Line: s.syntaxLine(pe.Position), Text: "not valid TOML: " + text}
}

// syntaxLine is where the error is. The library counts the newline that should not
// be there, as in an unfinished "[table", to the lines before it.
func (s *source) syntaxLine(at toml.Position) int {
	if start := at.Start; 0 < start && start < len(s.text) && s.text[start] == '\n' {
		return 1 + strings.Count(s.text[:start], "\n")
	}
	return max(at.Line, 1)
}

// collect walks the keys in file order. It sees each entry several times, once
// for every key inside it.
func (s *source) collect(doc map[string]any, keys []toml.Key) ([]*entry, error) {
	var (
		store = make([]entry, 0, len(keys)) // one piece of memory for all
		all   = make([]*entry, 0, len(keys))
		seen  index
		errs  []error
	)
	for _, key := range keys {
		e, ok := s.entry(doc, key)
		if !ok {
			continue
		}
		switch old := seen.find(all, e.id()); {
		case old == nil:
			store = append(store, e)
			all = append(all, &store[len(store)-1])
		case old.key != e.key:
			errs = append(errs, e.problem(nil, "the file sets %q too, which means the same; keep one of them", old.key))
		}
	}
	return all, errors.Join(errs...)
}

// entry finds the entry that key belongs to; the header of a table has none.
func (s *source) entry(doc map[string]any, key toml.Key) (entry, bool) {
	table, isTable := doc[key[0]].(map[string]any)
	if !isTable || !knownTable(key[0]) {
		return entry{key: key[0], slot: slot("", key[0]), value: doc[key[0]], src: s}, true
	}
	if len(key) == 1 {
		return entry{}, false
	}
	if key[0] == "process" {
		return s.processEntry(table, key), true
	}
	if key[0] == "sysctls" {
		return s.sysctlEntry(table, key)
	}
	return entry{table: key[0], key: key[1], slot: slot(key[0], key[1]), value: table[key[1]], src: s}, true
}

// sysctlEntry finds the entry of a key in [sysctls]: net.core.somaxconn are three keys for
// TOML, and a drop-in is to replace that one alone.
func (s *source) sysctlEntry(table map[string]any, key toml.Key) (entry, bool) {
	for _, name := range key[1 : len(key)-1] {
		inner, isTable := table[name].(map[string]any)
		if !isTable { // inside a value that is no table: an array's
			return entry{}, false
		}
		table = inner
	}
	last := key[len(key)-1]
	if inner, isTable := table[last].(map[string]any); isTable && len(inner) > 0 {
		return entry{}, false
	}
	return entry{table: key[0], inner: key[1 : len(key)-1], key: last, slot: strings.Join(key[1:], "."), value: table[last], src: s}, true
}

// processEntry finds the entry of a key in a [process.NAME] table; the table itself and
// that of its environment are one, so that there is no table without.
func (s *source) processEntry(tables map[string]any, key toml.Key) entry {
	table, isTable := tables[key[1]].(map[string]any)
	if len(key) == 2 || !isTable {
		return entry{table: key[0], key: key[1], slot: key[1], value: tables[key[1]], src: s}
	}
	inner, last, value := key[1:2], key[2], table[key[2]]
	if variables, isTable := value.(map[string]any); isTable && last == environmentTable {
		if len(key) == 3 {
			return entry{table: key[0], key: key[1], slot: key[1], value: table, src: s}
		}
		inner, last, value = key[1:3], key[3], variables[key[3]]
	}
	return entry{table: key[0], inner: inner, key: last, slot: joinPath([]any{inner[0], len(inner), last}), value: value, src: s}
}

// slotID says what an entry sets.
type slotID struct{ table, slot string }

func (e *entry) id() slotID { return slotID{e.table, e.slot} }

// index finds an entry of a list that only grows. A usual file has so few entries
// that a map costs more than it saves; it is made for a large one.
type index struct {
	byID map[slotID]*entry
	done int // entries of the list that are in byID
}

func (x *index) find(list []*entry, id slotID) *entry {
	const few = 64
	if len(list) <= few {
		for _, e := range list {
			if e.slot == id.slot && e.table == id.table {
				return e
			}
		}
		return nil
	}
	if x.byID == nil {
		x.byID = make(map[slotID]*entry, cap(list))
	}
	for ; x.done < len(list); x.done++ {
		x.byID[list[x.done].id()] = list[x.done]
	}
	return x.byID[id]
}

// merge lets later replace what earlier has, in earlier's order. What is only
// in later comes after.
func merge(earlier, later []*entry) []*entry {
	if len(earlier) == 0 {
		return later
	}
	index := make(map[slotID]int, len(earlier))
	for i, e := range earlier {
		index[e.id()] = i
	}
	for _, e := range later {
		if i, ok := index[e.id()]; ok {
			earlier[i] = e
		} else {
			earlier = append(earlier, e)
		}
	}
	return earlier
}
