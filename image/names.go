package image

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cocker/cocker/image/internal/durable"
)

// names is the directory of the markers.
func (s *Store) names() string { return filepath.Join(s.root, "names") }

// marker is the file of a name: "+" is in no reference.
func marker(name string) string { return strings.ReplaceAll(name, "/", "+") }

// markers are those that an index wants. A name may be longer than a file's may be
// (NAME_MAX, 255 bytes); that has none.
func (idx *index) markers() map[string]bool {
	wanted := map[string]bool{}
	for _, d := range idx.Manifests {
		repository, _, pinned := splitStored(d.name())
		for _, name := range []string{d.name(), repository} {
			if m := marker(name); m != "" && len(m) <= 255 && (name == d.name() || !pinned) {
				wanted[m] = true
			}
		}
	}
	return wanted
}

// unmark removes the markers of names that an index has not. The sync keeps the order
// of the two on the disk, too.
func (s *Store) unmark(idx *index) error {
	entries, err := os.ReadDir(s.names())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read the markers of images: %w", err)
	}
	wanted, removed := idx.markers(), false
	for _, e := range entries {
		if wanted[e.Name()] {
			continue
		}
		if err := os.Remove(filepath.Join(s.names(), e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove the marker of an image: %w", err)
		}
		removed = true
	}
	if !removed {
		return nil
	}
	return durable.SyncDir(s.names())
}

// mark makes the markers that an index wants. That one is missing harms nothing, so it
// is no error: the image is there.
func (s *Store) mark(idx *index) {
	if err := os.MkdirAll(s.names(), 0o700); err != nil {
		return
	}
	for name := range idx.markers() {
		f, err := os.OpenFile(filepath.Join(s.names(), name), os.O_WRONLY|os.O_CREATE, 0o600)
		if err == nil {
			_ = f.Close()
		}
	}
}

// Mark mends the markers: empty files below names/ that say which images there are
// to systemd, whose ConditionPathExists= is asked without any process. There is one for
// each name, and one for its repository, which a reference without a tag means.
//
// A marker never says too much: what is to lose its marker loses it before the index
// is replaced, what is new gets it after that. So after a power cut or kill -9 between
// the two steps, and in a store of an older version, there may be too few; the next change
// of the store mends that, and whoever has looked into the index for want of a marker
// and found the image calls Mark. A store that does not exist has none.
func (s *Store) Mark() error {
	if _, err := os.Lstat(s.OCI()); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	lock, err := s.lockExclusive()
	if err != nil {
		return err
	}
	defer lock.Release()
	idx, err := s.readIndex()
	if err != nil {
		return err
	}
	if err := s.unmark(idx); err != nil {
		return err
	}
	s.mark(idx)
	return nil
}
