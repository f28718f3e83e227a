package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/internal/linux"
	"github.com/cocker/cocker/internal/quota"
)

// Info is what can be said of a volume from outside.
type Info struct {
	Name   string
	Data   string // the directory with its content
	Filled bool   // it has content
	Size   int64  // bytes on disk
	Limit  uint64 // bytes; 0: none
}

// Names returns the names of all volumes, sorted.
func (s *Store) Names() ([]string, error) {
	entries, err := os.ReadDir(s.dir())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && config.ValidVolume(e.Name()) == nil {
			names = append(names, e.Name())
		}
	}
	return names, err
}

// List returns what is to say of all volumes. One that cannot be read does not hide
// the others.
func (s *Store) List() ([]Info, error) {
	names, err := s.Names()
	var list []Info
	for _, name := range names {
		info, infoErr := s.Inspect(name)
		if errors.Is(infoErr, ErrNotFound) {
			continue // removed meanwhile
		}
		if err = errors.Join(err, infoErr); infoErr == nil {
			list = append(list, info)
		}
	}
	return list, err
}

// Inspect returns what is to say of a volume. Where the kernel does not count what it
// takes, all of it is looked at.
func (s *Store) Inspect(name string) (Info, error) {
	if err := config.ValidVolume(name); err != nil {
		return Info{}, err
	}
	_, err := os.Lstat(s.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return Info{}, fmt.Errorf("%w as %q; \"cocker volume ls\" lists them", ErrNotFound, name)
	}
	if err != nil {
		return Info{}, err
	}
	info := Info{Name: name, Data: s.dataOf(name)}
	if data, err := os.Lstat(info.Data); err == nil && data.IsDir() {
		info.Filled = true
	}
	if usage, ok := quota.Read(s.path(name)); ok {
		info.Size, info.Limit = int64(usage.Used), usage.Limit
		return info, nil
	}
	info.Size, err = linux.DiskUsage(info.Data)
	return info, err
}
