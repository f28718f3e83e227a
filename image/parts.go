package image

import (
	"maps"
	"slices"
)

// parts are things on disk, by the hex digits of their digests.
type parts struct {
	layers map[string]bool // unpacked layers, by diff id
	blobs  map[string]bool
}

func newParts() parts {
	return parts{layers: map[string]bool{}, blobs: map[string]bool{}}
}

func setOf(list []string) map[string]bool {
	set := map[string]bool{}
	for _, s := range list {
		set[s] = true
	}
	return set
}

func (p parts) subtract(other parts) {
	maps.DeleteFunc(p.layers, func(hex string, _ bool) bool { return other.layers[hex] })
	maps.DeleteFunc(p.blobs, func(hex string, _ bool) bool { return other.blobs[hex] })
}

func (p parts) journal() journal {
	return journal{Layers: slices.Sorted(maps.Keys(p.layers)), Blobs: slices.Sorted(maps.Keys(p.blobs))}
}

// partsOf returns everything that any of the images needs, for every platform.
// What a damaged or absent document would name is unknown, hence not in it: such
// an image cannot be started anyway, and most indexes name platforms that were
// never fetched.
func (s *Store) partsOf(images []Descriptor) parts {
	p := newParts()
	for _, d := range images {
		s.addParts(p, d, maxNesting)
	}
	return p
}

func (s *Store) addParts(p parts, d Descriptor, depth int) {
	if !addDigest(p.blobs, d.Digest) || depth == 0 {
		return
	}
	if d.MediaType == MediaTypeIndex || d.MediaType == mediaTypeDockerList {
		var nested index
		if s.readDocument(d, &nested) == nil {
			for _, n := range nested.Manifests {
				s.addParts(p, n, depth-1)
			}
		}
		return
	}
	var m Manifest
	if s.readDocument(d, &m) != nil {
		return
	}
	addDigest(p.blobs, m.Config.Digest)
	for _, l := range m.Layers {
		addDigest(p.blobs, l.Digest)
	}
	var file ConfigFile
	if s.readDocument(m.Config, &file) == nil {
		for _, id := range file.RootFS.DiffIDs {
			addDigest(p.layers, id)
		}
	}
}

func addDigest(set map[string]bool, digest string) bool {
	hex, err := digestHex(digest)
	if err == nil {
		set[hex] = true
	}
	return err == nil
}
