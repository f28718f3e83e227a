package image

import (
	"errors"
	"fmt"
	"slices"
)

// Tag gives an image one more name; one without a tag gets the tag latest. An image
// that had the name loses it, as in [Transaction.Commit].
func (s *Store) Tag(ref, name string) (full string, err error) {
	return s.rename(ref, name, false)
}

// Rename is Tag, and takes the name away by which the image was found.
func (s *Store) Rename(ref, name string) (full string, err error) {
	return s.rename(ref, name, true)
}

func (s *Store) rename(ref, name string, move bool) (full string, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("name image %q %q: %w", ref, name, err)
		}
	}()
	if full, err = FullName(name); err != nil {
		return "", err
	}
	if idx, err := s.readIndex(); err != nil || len(idx.Manifests) == 0 {
		return "", errors.Join(err, ErrNotFound) // a store that does not exist has no file to lock
	}
	lock, err := s.lockExclusive()
	if err != nil {
		return "", err
	}
	idx, err := s.readIndex()
	var trash *area
	if err == nil {
		trash, err = s.nameAnew(idx, ref, full, move)
	}
	lock.Release()
	if trash != nil {
		err = errors.Join(err, trash.remove())
	}
	return full, err
}

// nameAnew changes the index, and drops the blobs of an image that the name was
// taken from if nothing else needs them.
func (s *Store) nameAnew(idx *index, ref, name string, move bool) (*area, error) {
	d, err := idx.find(ref)
	if err != nil || d.name() == name {
		return nil, err
	}
	if move || d.name() == "" {
		idx.Manifests = slices.DeleteFunc(idx.Manifests, func(o Descriptor) bool { return o.Digest == d.Digest && o.name() == d.name() })
	}
	_ = s.MarkUsed(d.Digest) // somebody wants it; a disk that takes no time stops the rest too
	gone := s.forget(idx, idx.put(name, d))
	return s.drop(idx, gone)
}
