package image

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"github.com/cocker/cocker/internal/linux"
)

// PrunePolicy says which images go beside those that have no name any more. What is
// in use never goes.
type PrunePolicy struct {
	Named  bool      // those that have one too
	Before time.Time // of these: only what was not used since; zero: all
	Keep   int       // of these: not the highest versions of each repository, so many
	DryRun bool      // only say what would go
}

// Pruned is what went, or would go.
type Pruned struct {
	Images []Summary
	Freed  int64 // bytes of the disk
}

// Prune removes images that are not in use, with the blobs and layers that nothing
// else needs. uses is called while the store is locked, so that no container can
// start in between. An image that is damaged ends it before anything is removed:
// nobody knows which parts that image needs.
func (s *Store) Prune(policy PrunePolicy, uses func() (Uses, error)) (p Pruned, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("remove unused images: %w", err)
		}
	}()
	if idx, err := s.readIndex(); err != nil || len(idx.Manifests) == 0 {
		return p, err // a store that does not exist has no file to lock
	}
	if policy.DryRun {
		return p, s.read(func(idx *index) error {
			gone, err := s.choose(idx, policy, uses, &p)
			if err == nil {
				p.Freed, err = s.sizeOf(gone, s.unpacked())
			}
			return err
		})
	}
	trash, gone, err := s.prune(policy, uses, &p)
	if trash == nil {
		return p, err
	}
	// The layers' content is measured and deleted without the lock.
	layers, sizeErr := s.sizeOf(parts{layers: gone.layers}, trash.layers())
	p.Freed += layers
	return p, errors.Join(err, sizeErr, trash.remove())
}

// prune does all that needs the lock; the layers are in the trash after it.
func (s *Store) prune(policy PrunePolicy, uses func() (Uses, error), p *Pruned) (*area, parts, error) {
	lock, err := s.lockExclusive()
	if err != nil {
		return nil, parts{}, err
	}
	defer lock.Release()
	idx, err := s.readIndex()
	if err != nil {
		return nil, parts{}, err
	}
	gone, err := s.choose(idx, policy, uses, p)
	if err != nil || len(p.Images) == 0 {
		return nil, parts{}, err
	}
	if p.Freed, err = s.sizeOf(parts{blobs: gone.blobs}, ""); err != nil {
		return nil, parts{}, err
	}
	trash, err := s.drop(idx, gone)
	return trash, gone, err
}

// choose takes what goes out of the index and returns the parts that nothing else
// needs.
func (s *Store) choose(idx *index, policy PrunePolicy, uses func() (Uses, error), p *Pruned) (parts, error) {
	if err := s.checkReadable(idx.Manifests); err != nil {
		return parts{}, err
	}
	used, err := uses()
	if err != nil {
		return parts{}, fmt.Errorf("find the images in use: %w", err)
	}
	highest := highestVersions(idx.Manifests, policy.Keep)
	going := func(d Descriptor) bool { return !used.keeps(s, idx, d) && policy.wants(d, s.lastUse(d), highest) }
	var images, stay []Descriptor
	for _, d := range idx.Manifests {
		if going(d) {
			images = append(images, d)
		} else {
			stay = append(stay, d)
		}
	}
	gone := s.partsNotIn(images, stay)
	// What runs counts by its layers too. Its image may stay for a part of one only.
	for i := 0; i < len(images); {
		if !used.stands(s, intersection(s.partsOf(images[i:i+1]).layers, gone.layers)) {
			i++
			continue
		}
		stay, images = append(stay, images[i]), slices.Delete(images, i, i+1)
		gone, i = s.partsNotIn(images, stay), 0
	}
	slices.SortFunc(images, compareNames)
	for _, d := range images {
		p.Images = append(p.Images, s.summarize(d))
	}
	idx.Manifests = stay
	return gone, nil
}

// baseGrace is how long a base may be without its container, which "cocker checkout" gives
// its file last.
const baseGrace = 10 * time.Minute

func (policy PrunePolicy) wants(d Descriptor, used time.Time, highest map[string]bool) bool {
	switch {
	case d.name() == "":
		return true
	case d.unclaimed() && time.Since(used) > baseGrace:
		return true
	case !policy.Named || highest[d.name()]:
		return false
	}
	return policy.Before.IsZero() || used.Before(policy.Before)
}

// highestVersions are the names of the highest versions of each repository. What is
// stored under a digest is no version.
func highestVersions(images []Descriptor, count int) map[string]bool {
	byRepository := map[string][]Descriptor{}
	for _, d := range images {
		if name, _, pinned := splitStored(d.name()); name != "" && !pinned {
			byRepository[name] = append(byRepository[name], d)
		}
	}
	highest := map[string]bool{}
	for _, versions := range byRepository {
		slices.SortFunc(versions, func(a, b Descriptor) int { return compareImages(b, a) })
		for _, d := range versions[:min(count, len(versions))] {
			highest[d.name()] = true
		}
	}
	return highest
}

func (s *Store) partsNotIn(images, others []Descriptor) parts {
	p := s.partsOf(images)
	p.subtract(s.partsOf(others))
	return p
}

func intersection(a, b map[string]bool) map[string]bool {
	both := maps.Clone(a)
	maps.DeleteFunc(both, func(hex string, _ bool) bool { return !b[hex] })
	return both
}

// sizeOf is the space that parts take on the disk; layers is where the layers are.
func (s *Store) sizeOf(p parts, layers string) (int64, error) {
	var trees []string
	for hex := range p.blobs {
		trees = append(trees, s.blob(hex))
	}
	for hex := range p.layers {
		trees = append(trees, filepath.Join(layers, hex))
	}
	return linux.DiskUsage(trees...)
}
