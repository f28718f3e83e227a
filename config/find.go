package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	containersDir = "containers"
	networksDir   = "networks"

	extension    = ".toml"
	dropInSuffix = extension + ".d"
	// masked is what a link points to that hides a file of a later directory,
	// as for systemd's own configuration files.
	masked = "/dev/null"
)

// Location says where the text of one container is, or of one network.
type Location struct {
	Name       string
	File       string   // absolute path
	DropInDirs []string // those of NAME.toml.d that may exist, first one wins
}

// Find locates the container of a name. The error is ErrNotFound if no
// directory has its file.
func Find(dirs []string, name string) (Location, error) {
	if err := ValidName(name); err != nil {
		return Location{}, err
	}
	l := locate(dirs, containersDir, name)
	if l.File == "" || isMasked(l.File) {
		return Location{}, notFound(ErrNotFound, dirs, containersDir, l)
	}
	return l, nil
}

// locate finds the file of a name, which may be masked.
func locate(dirs []string, subdirectory, name string) Location {
	l := Location{Name: name}
	for _, dir := range dirs {
		file := filepath.Join(dir, subdirectory, name+extension)
		l.DropInDirs = append(l.DropInDirs, file+".d")
		if _, err := os.Lstat(file); err == nil && l.File == "" {
			l.File = file
		}
	}
	return l
}

// notFound says with kind, ErrNotFound, why there is no file.
func notFound(kind error, dirs []string, subdirectory string, l Location) error {
	if l.File != "" {
		return fmt.Errorf("%w as %q: %s is a link to %s, which hides it", kind, l.Name, l.File, masked)
	}
	searched := make([]string, len(dirs))
	for i, dir := range dirs {
		searched[i] = filepath.Join(dir, subdirectory)
	}
	return fmt.Errorf("%w as %q: no %s in %s", kind, l.Name, l.Name+extension, strings.Join(searched, ", "))
}

func isMasked(file string) bool {
	target, err := os.Readlink(file)
	return err == nil && target == masked
}

// Scan locates every container file, sorted by name; the names are not checked.
// A directory that does not exist is empty; another that can't be read is an
// error, and what the others have is still returned.
func Scan(dirs []string) ([]Location, error) {
	files, dropIns, err := scan(dirs, containersDir)
	return locations(files, dropIns), err
}

// scan gives the file of each name, "" for a masked one, and the directories of
// drop-ins.
func scan(dirs []string, subdirectory string) (files map[string]string, dropIns map[string][]string, err error) {
	files, dropIns = map[string]string{}, map[string][]string{}
	var errs []error
	for _, dir := range dirs {
		dir = filepath.Join(dir, subdirectory)
		list, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fileProblem(dir, err))
		}
		for _, e := range list {
			path := dir + "/" + e.Name()
			if name, ok := strings.CutSuffix(e.Name(), dropInSuffix); ok {
				dropIns[name] = append(dropIns[name], path)
			} else if name, ok := strings.CutSuffix(e.Name(), extension); ok && !known(files, name) {
				files[name] = unmasked(path, e)
			}
		}
	}
	return files, dropIns, errors.Join(errs...)
}

func known(files map[string]string, name string) bool {
	_, ok := files[name]
	return ok
}

// unmasked gives "" for a link that hides the file.
func unmasked(path string, e fs.DirEntry) string {
	if e.Type()&fs.ModeSymlink != 0 && isMasked(path) {
		return ""
	}
	return path
}

func locations(files map[string]string, dropIns map[string][]string) []Location {
	all := make([]Location, 0, len(files))
	for name, file := range files {
		if file != "" {
			all = append(all, Location{Name: name, File: file, DropInDirs: dropIns[name]})
		}
	}
	slices.SortFunc(all, func(a, b Location) int { return compareName(a, b.Name) })
	return all
}

func compareName(l Location, name string) int { return strings.Compare(l.Name, name) }

// List gives the sorted names of all containers that have a file, good or bad.
func List(dirs []string) ([]string, error) {
	all, err := Scan(dirs)
	names := make([]string, len(all))
	for i, l := range all {
		names[i] = l.Name
	}
	return names, err
}

// files gives the paths to read: the file, then the drop-ins in the order of
// their names. Of drop-ins with the same name the first directory's counts.
func (l Location) files() ([]string, error) {
	var (
		first = map[string]string{}
		names []string
		errs  []error
	)
	for _, dir := range l.DropInDirs {
		list, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fileProblem(dir, err))
		}
		for _, e := range list {
			if name := e.Name(); strings.HasSuffix(name, extension) && !known(first, name) {
				first[name] = unmasked(dir+"/"+name, e)
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	var paths []string
	if l.File != "" {
		paths = append(paths, l.File)
	}
	for _, name := range names {
		if first[name] != "" {
			paths = append(paths, first[name])
		}
	}
	return paths, errors.Join(errs...)
}
