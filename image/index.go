package image

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/cocker/cocker/image/internal/durable"
)

// readIndex reads index.json; a store without one is empty.
func (s *Store) readIndex() (*index, error) {
	idx := &index{SchemaVersion: 2, MediaType: MediaTypeIndex}
	data, err := os.ReadFile(s.index())
	if errors.Is(err, fs.ErrNotExist) {
		return idx, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read image index: %w", err)
	}
	if err := json.Unmarshal(data, idx); err != nil {
		return nil, fmt.Errorf("read image index %s: %w", s.index(), err)
	}
	return idx, nil
}

// writeIndex replaces index.json durably, and the markers around it: see
// [Store.Mark]. The caller holds the exclusive lock.
func (s *Store) writeIndex(idx *index) error {
	if idx.Manifests == nil {
		idx.Manifests = []Descriptor{} // the specification wants an array, not null
	}
	data, err := json.MarshalIndent(idx, "", "  ")
	if err != nil {
		return fmt.Errorf("encode image index: %w", err)
	}
	if err := s.unmark(idx); err != nil {
		return err
	}
	if err := durable.WriteFile(s.index(), append(data, '\n')); err != nil {
		return err
	}
	s.mark(idx)
	return nil
}

// find returns the one image that a reference means: the exact name; else the
// digest; else, for a name without a tag, the tag latest or the highest version.
func (idx *index) find(text string) (Descriptor, error) {
	if i := slices.IndexFunc(idx.Manifests, func(d Descriptor) bool { return d.name() == text }); i >= 0 && text != "" {
		return idx.Manifests[i], nil
	}
	ref, err := ParseReference(text)
	if err != nil {
		return Descriptor{}, err
	}
	found := idx.matches(ref)
	if len(found) == 0 {
		return Descriptor{}, fmt.Errorf("image %q: %w", text, ErrNotFound)
	}
	return slices.MaxFunc(found, compareImages), nil
}

// matches returns the images of a reference in the order of the index: more than
// one if it has no tag, or a digest that has several names.
func (idx *index) matches(ref Reference) []Descriptor {
	var found []Descriptor
	for _, d := range idx.Manifests {
		if ref.matches(d) {
			found = append(found, d)
		}
	}
	return found
}

// matches ignores the tag beside a digest, as other tools do: the digest decides.
// What is stored under a digest is found by that only: a digest is no version.
func (r Reference) matches(d Descriptor) bool {
	name, tag, pinned := splitStored(d.name())
	if r.Digest != "" {
		return d.hasDigest(r.Digest) && (r.Name == "" || r.Name == name)
	}
	return r.Name == name && !pinned && (r.Tag == "" || r.Tag == tag)
}

// splitStored takes a stored name apart: NAME:TAG, or NAME@DIGEST, which is pinned.
func splitStored(text string) (name, tag string, pinned bool) {
	place, rest := cutPlace(text)
	if place != "" {
		place += "/"
	}
	if name, _, pinned = strings.Cut(rest, "@"); pinned {
		return place + name, "", true
	}
	name, tag, _ = cutTag(rest)
	return place + name, tag, false
}

func compareImages(a, b Descriptor) int {
	_, tagA, _ := splitStored(a.name())
	_, tagB, _ := splitStored(b.name())
	return comparePreference(tagA, tagB)
}

// comparePreference orders tags by which one no tag means: the highest version,
// unless there is the tag latest.
func comparePreference(tagA, tagB string) int {
	if tagA == latest || tagB == latest {
		return boolRank(tagA == latest) - boolRank(tagB == latest)
	}
	return CompareTags(tagA, tagB)
}

const latest = "latest"

// PreferredTag returns the one of some tags that a name without a tag means; "" if
// there is none.
func PreferredTag(tags []string) string {
	if len(tags) == 0 {
		return ""
	}
	return slices.MaxFunc(tags, comparePreference)
}

// StoredName is FullName for an image from elsewhere, which can be asked for by its
// digest: then it is stored under NAME@DIGEST, and a tag beside the digest is dropped.
func StoredName(text string) (string, error) {
	ref, err := ParseReference(text)
	if err != nil || ref.Digest == "" {
		return FullName(text)
	}
	if ref.Name == "" {
		return "", badReference(text, errors.New("a digest alone does not say where the image is"))
	}
	return Reference{Name: ref.Name, Digest: ref.Digest}.String(), nil
}

// FullName returns the name under which an image is stored: the tag latest is
// added where there is none. A digest is no name to store under.
func FullName(text string) (string, error) {
	ref, err := ParseReference(text)
	if err != nil {
		return "", err
	}
	if ref.Digest != "" {
		return "", badReference(text, errors.New("an image is stored under a name and a tag, without a digest"))
	}
	if ref.Tag == "" {
		return strings.Join([]string{ref.Name, latest}, ":"), nil
	}
	return text, nil
}
