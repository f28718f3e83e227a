package image

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Remove takes an image's name away, then deletes the blobs and layers that no
// other image needs. A name without a tag will do if there is only one; a digest
// means the image under all of its names. ErrInUse, and nothing changed, if that
// would delete a layer directory that inUse returns: an overlay must not lose a
// lower directory while it is mounted. inUse is called while the store is locked,
// so no container can come between; nil means that none is in use.
func (s *Store) Remove(ref string, inUse func() ([]string, error)) error {
	trash, err := s.unlink(ref, inUse)
	if trash != nil {
		err = errors.Join(err, trash.remove())
	}
	if err != nil {
		return fmt.Errorf("remove image %q: %w", ref, err)
	}
	return nil
}

// unlink does all of Remove but the deletion of the layers' content.
func (s *Store) unlink(ref string, inUse func() ([]string, error)) (*area, error) {
	idx, err := s.readIndex() // a store that does not exist has no file to lock
	if err != nil {
		return nil, err
	}
	if len(idx.Manifests) == 0 {
		return nil, ErrNotFound
	}
	lock, err := s.lockExclusive()
	if err != nil {
		return nil, err
	}
	defer lock.Release()
	if idx, err = s.readIndex(); err != nil {
		return nil, err
	}
	removed, err := idx.take(ref)
	if err != nil {
		return nil, err
	}
	gone := s.partsOf(removed)
	gone.subtract(s.partsOf(idx.Manifests))
	if err := s.checkUnused(gone, inUse); err != nil {
		return nil, err
	}
	return s.drop(idx, gone)
}

// drop writes the index first: from there on nothing finds what is then deleted.
// The journal lets the next Begin finish a removal that was cut short.
func (s *Store) drop(idx *index, gone parts) (*area, error) {
	trash, err := s.newArea()
	if err != nil {
		return nil, err
	}
	if err := trash.writeJournal(gone.journal()); err != nil {
		return trash, err
	}
	if err := s.writeIndex(idx); err != nil {
		return trash, err
	}
	return trash, trash.discard(gone)
}

// take cuts the images that a reference means for removal out of the index.
func (idx *index) take(text string) ([]Descriptor, error) {
	names := func(d Descriptor) bool { return d.name() == text && text != "" }
	if !slices.ContainsFunc(idx.Manifests, names) {
		ref, err := ParseReference(text)
		if err != nil {
			return nil, err
		}
		found := idx.matches(ref)
		if len(found) == 0 {
			return nil, ErrNotFound
		}
		if len(found) > 1 && ref.Digest == "" {
			return nil, fmt.Errorf("%w: %s", ErrAmbiguous, strings.Join(namesOf(found), ", "))
		}
		names = ref.matches
	}
	var taken []Descriptor
	idx.Manifests = slices.DeleteFunc(idx.Manifests, func(d Descriptor) bool {
		if names(d) {
			taken = append(taken, d)
		}
		return names(d)
	})
	return taken, nil
}

func namesOf(images []Descriptor) []string {
	var names []string
	for _, d := range images {
		names = append(names, d.name())
	}
	return names
}

func (s *Store) checkUnused(gone parts, inUse func() ([]string, error)) error {
	if inUse == nil || len(gone.layers) == 0 {
		return nil
	}
	dirs, err := inUse()
	if err != nil {
		return fmt.Errorf("find the layers in use: %w", err)
	}
	for hex := range gone.layers {
		if slices.Contains(dirs, s.layer(hex)) {
			return fmt.Errorf("%w: layer %s%s", ErrInUse, digestPrefix, hex)
		}
	}
	return nil
}
