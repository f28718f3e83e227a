package image

import (
	"slices"
	"strings"
	"time"
)

// Summary is one line of a list of images.
type Summary struct {
	Reference string    // "" for an image whose name went to a newer one
	Digest    string    // of the manifest or index
	Layers    int       // number of layers
	Size      int64     // bytes of all its blobs, compressed
	Created   time.Time // zero: the image does not say
	Problem   error     // why the image cannot be run; nil: it can
}

// List returns every image of the store, by name in the order of versions, the
// nameless ones first. An image that is damaged is in it, with its Problem.
func (s *Store) List() ([]Summary, error) {
	lock, err := s.Hold()
	if err != nil {
		return nil, err
	}
	defer lock.Release()
	idx, err := s.readIndex()
	if err != nil {
		return nil, err
	}
	slices.SortFunc(idx.Manifests, compareNames)
	var list []Summary
	for _, d := range idx.Manifests {
		list = append(list, s.summarize(d))
	}
	return list, nil
}

func (s *Store) summarize(d Descriptor) Summary {
	sum := Summary{Reference: d.name(), Digest: d.Digest}
	img, err := s.load(d)
	if err != nil {
		sum.Problem = err
		return sum
	}
	sum.Problem = s.locate(img)
	sum.Layers, sum.Size, sum.Created = len(img.DiffIDs), img.Size, img.Created
	return sum
}

func compareNames(a, b Descriptor) int {
	nameA, tagA, _ := cutTag(a.name())
	nameB, tagB, _ := cutTag(b.name())
	if c := strings.Compare(nameA, nameB); c != 0 {
		return c
	}
	if c := compareTags(tagA, tagB); c != 0 {
		return c
	}
	return strings.Compare(a.Digest, b.Digest)
}
