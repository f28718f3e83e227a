// Package idrange gives each container a range of 65536 ids of its own, unique
// on the host and the same at every start. It imports internal/linux only.
//
// A range is taken by making the link DIR/BASE -> NAME: symlink(2) either makes
// it or fails because it is there, so no lock is needed and none can be left
// behind. The file RECORD of the container remembers the base. Files on the disk
// hold unshifted ids, so a container could change its range without harm.
package idrange

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cocker/cocker/internal/linux"
)

// The pool lies above the ids that systemd-nspawn picks from (up to 0x6FFFFFFF)
// and that /etc/login.defs gives to subordinate users (up to 600100000), and
// below the foreign ids (from 0x7FFE0000): systemd's UIDS-GIDS.md, unused. What an
// administrator has given to users in spite of that is left out, see subordinate.
const (
	first = 0x70000000
	end   = 0x7FFE0000
	count = (end - first) / linux.IDRangeSize
)

// Acquire returns the base of the container's range and takes one if it has none
// yet. dir holds the links; record is the container's own file.
func Acquire(dir, record, container string) (base uint32, err error) {
	if base, ok := recorded(dir, record, container); ok {
		return base, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return 0, fmt.Errorf("id range of %s: %w", container, err)
	}
	base, err = take(dir, container)
	if err != nil {
		return 0, err
	}
	return base, write(record, base)
}

// Release gives the container's range back. That it has none is no error. Without
// a record, lost in a power cut, the links tell.
func Release(dir, record, container string) error {
	if base, ok := recorded(dir, record, container); ok {
		return remove(link(dir, base))
	}
	links, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, entry := range links {
		path := filepath.Join(dir, entry.Name())
		if holder, readErr := os.Readlink(path); readErr == nil && holder == container {
			err = errors.Join(err, remove(path))
		}
	}
	return err
}

func remove(path string) error {
	err := os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// recorded returns the range of the record, if the link confirms it.
func recorded(dir, record, container string) (uint32, bool) {
	data, err := os.ReadFile(record)
	if err != nil {
		return 0, false
	}
	base, err := strconv.ParseUint(strings.TrimSpace(string(data)), 10, 32)
	if err != nil {
		return 0, false
	}
	holder, err := os.Readlink(link(dir, uint32(base)))
	return uint32(base), err == nil && holder == container
}

// take probes from a place that the name decides, so that a record that was lost
// leads to the same range again.
func take(dir, container string) (uint32, error) {
	hash := fnv.New32a()
	hash.Write([]byte(container))
	start := hash.Sum32() % count
	others := subordinate(subordinateFiles[:])
	for i := range uint32(count) {
		base := first + (start+i)%count*linux.IDRangeSize
		if overlaps(others, uint64(base)) {
			continue
		}
		err := os.Symlink(container, link(dir, base))
		if err == nil {
			return base, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return 0, fmt.Errorf("id range of %s: %w", container, err)
		}
		if holder, err := os.Readlink(link(dir, base)); err == nil && holder == container {
			return base, nil
		}
	}
	return 0, fmt.Errorf("id range of %s: all %d ranges are taken; remove containers that are not needed (cocker rm)", container, count)
}

func write(record string, base uint32) error {
	temporary := record + ".new"
	content := strconv.FormatUint(uint64(base), 10) + "\n"
	if err := os.WriteFile(temporary, []byte(content), 0o644); err != nil {
		return fmt.Errorf("record id range: %w", err)
	}
	if err := os.Rename(temporary, record); err != nil {
		return fmt.Errorf("record id range: %w", err)
	}
	return nil
}

func link(dir string, base uint32) string {
	return filepath.Join(dir, strconv.FormatUint(uint64(base), 10))
}
