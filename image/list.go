package image

import (
	"os"
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
	Own       int64     // of these, what no other image needs
	Created   time.Time // zero: the image does not say
	Used      time.Time // when a container was last started on it, or it came here
	Problem   error     // why the image cannot be run; nil: it can
}

// List returns every image of the store, by name in the order of versions, the
// nameless ones first. An image that is damaged is in it, with its Problem.
func (s *Store) List() (list []Summary, err error) {
	err = s.read(func(idx *index) error {
		slices.SortFunc(idx.Manifests, compareNames)
		users := s.countUsers(idx.Manifests)
		for _, d := range idx.Manifests {
			sum := s.summarize(d)
			sum.Own = s.ownSize(d, users)
			list = append(list, sum)
		}
		return nil
	})
	return list, err
}

// countUsers tells for each blob how many images need it. An image with several
// names is one image.
func (s *Store) countUsers(images []Descriptor) map[string]int {
	users, seen := map[string]int{}, map[string]bool{}
	for _, d := range images {
		if seen[d.Digest] {
			continue
		}
		seen[d.Digest] = true
		for hex := range s.partsOf([]Descriptor{d}).blobs {
			users[hex]++
		}
	}
	return users
}

// ownSize is the size of the blobs that only one image needs.
func (s *Store) ownSize(d Descriptor, users map[string]int) (size int64) {
	for hex := range s.partsOf([]Descriptor{d}).blobs {
		if info, err := os.Lstat(s.blob(hex)); err == nil && users[hex] == 1 {
			size += info.Size()
		}
	}
	return size
}

func (s *Store) summarize(d Descriptor) Summary {
	sum := Summary{Reference: d.name(), Digest: d.Digest, Used: s.lastUse(d)}
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
	nameA, tagA, _ := splitStored(a.name())
	nameB, tagB, _ := splitStored(b.name())
	if c := strings.Compare(nameA, nameB); c != 0 {
		return c
	}
	if c := CompareTags(tagA, tagB); c != 0 {
		return c
	}
	return strings.Compare(a.Digest, b.Digest)
}
