package linux

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

// RemoveTree removes the directory at path with everything in it. Unlike
// os.RemoveAll it needs the same few descriptors and short paths however deep the
// tree is, so that a container cannot make its own removal fail: directories are
// moved up beside each other before they are emptied. A path that does not exist
// is no error. Nobody else may write to the tree meanwhile.
func RemoveTree(path string) error {
	names, err := entries(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	const prefix = ".remove-"
	next := 0
	for _, name := range names { // what an earlier removal that was killed has moved up
		if n, err := strconv.Atoi(trimPrefix(name, prefix)); err == nil && n >= next {
			next = n + 1
		}
	}
	for len(names) > 0 {
		for _, name := range names {
			if err := flatten(path, name, prefix, &next); err != nil {
				return err
			}
		}
		if names, err = entries(path); err != nil {
			return err
		}
	}
	return os.Remove(path)
}

func trimPrefix(name, prefix string) string {
	if len(name) < len(prefix) || name[:len(prefix)] != prefix {
		return ""
	}
	return name[len(prefix):]
}

// flatten removes the entry name of the directory root; the directories in it
// become entries of root.
func flatten(root, name, prefix string, next *int) error {
	path := filepath.Join(root, name)
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return os.Remove(path)
	}
	children, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	for _, child := range children {
		from := filepath.Join(path, child.Name())
		if !child.IsDir() {
			err = os.Remove(from)
		} else {
			err = os.Rename(from, filepath.Join(root, prefix+strconv.Itoa(*next)))
			*next++
		}
		if err != nil {
			return err
		}
	}
	return os.Remove(path)
}

func entries(path string) ([]string, error) {
	directory, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer directory.Close()
	names, err := directory.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("read %q: %w", path, err)
	}
	return names, nil
}
