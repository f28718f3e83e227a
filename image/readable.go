package image

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// checkReadable tells of an image some of whose parts nobody knows, because the
// document that names them is damaged or missing. What seems to be needed by no image
// may be one of them.
func (s *Store) checkReadable(images []Descriptor) error {
	for _, d := range images {
		if err := s.readable(d, maxNesting, true); err != nil {
			return fmt.Errorf("image %s is damaged, so nobody knows what it needs (see \"cocker system check\"): %w", titleOf(d), err)
		}
	}
	return nil
}

// readable walks as addParts does. Of an index, manifests may be missing: those for
// other machines seldom are here.
func (s *Store) readable(d Descriptor, depth int, needed bool) error {
	if !needed && !s.hasBlob(d) || depth == 0 {
		return nil
	}
	if d.MediaType == MediaTypeIndex || d.MediaType == mediaTypeDockerList {
		var nested index
		if err := s.readDocument(d, &nested); err != nil {
			return err
		}
		var errs []error
		for _, n := range nested.Manifests {
			errs = append(errs, s.readable(n, depth-1, false))
		}
		return errors.Join(errs...)
	}
	var m Manifest
	if err := s.readDocument(d, &m); err != nil {
		return err
	}
	return s.readDocument(m.Config, &ConfigFile{})
}

func (s *Store) hasBlob(d Descriptor) bool {
	hex, err := digestHex(d.Digest)
	if err != nil {
		return false
	}
	_, err = os.Lstat(s.blob(hex))
	return !errors.Is(err, fs.ErrNotExist)
}

// titleOf is what people call an image.
func titleOf(d Descriptor) string {
	if d.name() != "" {
		return d.name()
	}
	return d.Digest
}
