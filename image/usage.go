package image

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/cocker/cocker/internal/linux"
)

// Space is what some things take on the disk, in bytes.
type Space struct {
	Count       int
	Size        int64
	Shared      int64 // of this, what several images need
	Reclaimable int64 // what a clean-up of everything that is not in use would free
}

// Usage is what a store takes on the disk.
type Usage struct {
	Images  Space // their blobs, compressed; the count is that of the images
	Layers  Space // unpacked
	Staging Space // of pulls and imports; those of processes that died are reclaimable
	Damaged Space // blobs that a repair has put aside
}

// Usage measures the store.
func (s *Store) Usage(uses func() (Uses, error)) (u Usage, err error) {
	if !exists(s.OCI()) {
		return u, nil
	}
	u.Staging, err = s.staging()
	if err != nil {
		return u, err
	}
	err = s.read(func(idx *index) error { return s.measure(idx, uses, &u) })
	if err != nil {
		return u, fmt.Errorf("measure the image store: %w", err)
	}
	names, err := namesIn(s.Quarantine())
	size, sizeErr := linux.DiskUsage(s.Quarantine())
	if len(names) > 0 {
		u.Damaged = Space{Count: len(names), Size: size, Reclaimable: size}
	}
	return u, errors.Join(err, sizeErr)
}

func (s *Store) measure(idx *index, uses func() (Uses, error), u *Usage) error {
	used, err := uses()
	if err != nil {
		return err
	}
	users := map[string]int{} // of blobs and layers; an image with several names is one
	seen := map[string]bool{}
	var needed []Descriptor
	for _, d := range idx.Manifests {
		if used.keeps(s, idx, d) || used.stands(s, s.partsOf([]Descriptor{d}).layers) {
			needed = append(needed, d)
		}
		if seen[d.Digest] {
			continue
		}
		seen[d.Digest] = true
		p := s.partsOf([]Descriptor{d})
		for _, set := range []map[string]bool{p.layers, p.blobs} {
			for hex := range set {
				users[hex]++
			}
		}
	}
	all, err := s.present()
	if err != nil {
		return err
	}
	stay := s.partsOf(needed)
	if u.Layers, err = spaceOf(all.layers, s.layer, users, stay.layers); err != nil {
		return err
	}
	u.Images, err = spaceOf(all.blobs, s.blob, users, stay.blobs)
	u.Images.Count = len(seen)
	return err
}

func spaceOf(set map[string]bool, path func(string) string, users map[string]int, stay map[string]bool) (Space, error) {
	space := Space{Count: len(set)}
	for hex := range set {
		size, err := linux.DiskUsage(path(hex))
		if err != nil {
			return space, err
		}
		space.Size += size
		if users[hex] > 1 {
			space.Shared += size
		}
		if !stay[hex] {
			space.Reclaimable += size
		}
	}
	return space, nil
}

func (s *Store) staging() (space Space, err error) {
	areas, err := filepath.Glob(filepath.Join(s.OCI(), stagingPrefix+"*"))
	if err != nil {
		return space, err
	}
	layers, err := filepath.Glob(filepath.Join(s.layers(), stagingPrefix+"*"))
	if err != nil {
		return space, err
	}
	space.Count = len(areas)
	if space.Size, err = linux.DiskUsage(append(areas, layers...)...); err != nil {
		return space, err
	}
	space.Reclaimable, err = s.Recover(true)
	return space, err
}
