package config

import (
	"errors"
)

// Load reads, merges and checks the container of a name, and that its networks are
// there and have its addresses. The error joins every problem, each with file and
// line; it is ErrNotFound if there is no file.
func Load(dirs []string, name string) (*Container, error) {
	l, err := Find(dirs, name)
	if err != nil {
		return nil, err
	}
	c, entries, err := l.read()
	if err == nil {
		err = newNetworks(dirs).checkJoins(c, entries)
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

// Parse checks a text as if it were the file of a container.
func Parse(name, file, text string) (*Container, error) {
	c, _, err := build(Location{Name: name, File: file}, []*source{{file: file, text: text}}, nil)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// Read reads and checks the container. With an error, the container holds what
// was right in its file: the generator can still say where a bad container
// comes from and who wants it.
func (l Location) Read() (*Container, error) {
	c, _, err := l.read()
	return c, err
}

func (l Location) read() (*Container, []*entry, error) {
	paths, sources, err := l.sources()
	c, entries, err := build(l, sources, err)
	c.Sources = paths
	return c, entries, err
}

// sources reads the file and its drop-ins; those that can be read are returned with
// an error, too.
func (l Location) sources() (paths []string, sources []*source, err error) {
	paths, err = l.files()
	unread := []error{err}
	for _, path := range paths {
		s, err := readFile(path)
		if err != nil {
			unread = append(unread, err)
			continue
		}
		sources = append(sources, s)
	}
	return paths, sources, errors.Join(unread...)
}

// build merges the sources and fills in a container, never nil. A source that
// was not read or is no TOML may hold what seems to be missing, so only without
// such an error is the container checked as a whole.
func build(l Location, sources []*source, unread error) (*Container, []*entry, error) {
	var (
		b    = newBuilder(l)
		errs = []error{unread}
	)
	for _, s := range sources {
		b.c.Sources = append(b.c.Sources, s.file)
	}
	entries, err := mergeAll(sources)
	errs = append(errs, err)
	for _, e := range entries {
		b.set(e)
	}
	if err := errors.Join(errs...); err != nil {
		return b.c, entries, errors.Join(err, b.joined())
	}
	b.checkWhole(entries)
	return b.c, entries, b.joined()
}

// mergeAll parses the sources; a later one replaces what an earlier one says.
func mergeAll(sources []*source) (entries []*entry, err error) {
	var errs []error
	for _, s := range sources {
		list, err := s.entries()
		errs = append(errs, err)
		entries = merge(entries, list)
	}
	return entries, errors.Join(errs...)
}
