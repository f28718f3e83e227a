package image

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
)

// Layers lists the layers that are here with blob and unpacked. Only pairs that a
// manifest and its configuration name are in it: that a blob unpacks to a layer is
// known of them alone, and an image from elsewhere could claim any two.
func (s *Store) Layers() (map[Layer]bool, error) {
	all := map[Layer]bool{}
	err := s.read(func(idx *index) error {
		for _, d := range idx.Manifests {
			for _, l := range s.pairs(d) {
				if s.hasLayer(l.pair()) {
					all[l.pair()] = true
				}
			}
		}
		return nil
	})
	return all, err
}

// namedLayer is a layer as a manifest and its configuration name it together.
type namedLayer struct {
	blob   Descriptor
	diffID string
}

func (l namedLayer) pair() Layer { return Layer{l.blob.Digest, l.diffID} }

// pairs are the layers of an image; none of one that is damaged, or for another
// machine: it has nothing to offer.
func (s *Store) pairs(d Descriptor) (layers []namedLayer) {
	img, err := s.load(d)
	if err != nil {
		return nil
	}
	for i, blob := range img.Blobs {
		layers = append(layers, namedLayer{blob, img.DiffIDs[i]})
	}
	return layers
}

func (s *Store) hasLayer(l Layer) bool {
	blob, err1 := digestHex(l.Blob)
	diff, err2 := digestHex(l.DiffID)
	if err1 != nil || err2 != nil {
		return false
	}
	_, err1 = os.Lstat(s.blob(blob))
	_, err2 = os.Lstat(s.layer(diff))
	return err1 == nil && err2 == nil
}

// Has says whether the image of a name is the one with a digest, and whole: to be
// pushed and saved, not only to be run.
func (s *Store) Has(name, digest string) (has bool, err error) {
	err = s.read(func(idx *index) error {
		for _, d := range idx.Manifests {
			if d.name() == name && d.hasDigest(digest) {
				has = s.summarize(d).Problem == nil && !slices.ContainsFunc(s.pairs(d), func(l namedLayer) bool { return !s.hasLayer(l.pair()) })
			}
		}
		return nil
	})
	return has, err
}

// Content is an image's blobs, opened: what is removed meanwhile stays readable.
type Content struct {
	Reference string
	Manifest  Descriptor
	Raw       []byte // the manifest as it is stored
	Config    []byte
	Layers    []Blob // lowest first
}

// Blob is one of an image's blobs.
type Blob struct {
	Descriptor

	File *os.File
}

// Open opens all of an image. Close ends it.
func (s *Store) Open(ref string) (*Content, error) {
	c := &Content{}
	err := s.readImage(ref, func(d Descriptor) error {
		c.Reference = d.name()
		return s.open(c, d)
	})
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (s *Store) open(c *Content, d Descriptor) (err error) {
	m, md, err := s.manifest(d)
	if err != nil {
		return err
	}
	c.Manifest = md
	if c.Raw, err = s.readBlob(md); err != nil {
		return err
	}
	if c.Config, err = s.readBlob(m.Config); err != nil {
		return err
	}
	for _, l := range m.Layers {
		hex, err := digestHex(l.Digest)
		if err != nil {
			return err
		}
		f, err := os.Open(s.blob(hex))
		if err != nil {
			return fmt.Errorf("layer %s: %w: %w", l.Digest, ErrIncomplete, err)
		}
		c.Layers = append(c.Layers, Blob{l, f})
	}
	return nil
}

// Close closes the blobs.
func (c *Content) Close() error {
	var errs []error
	for _, l := range c.Layers {
		errs = append(errs, l.File.Close())
	}
	return errors.Join(errs...)
}

// Step is one line of how an image came to be.
type Step struct {
	History

	Layer string // digest of the layer's blob; "": the step made none
	Size  int64  // of the blob
}

// History tells how an image came to be, the first step first. Layers that the
// configuration says nothing of come last.
func (s *Store) History(ref string) ([]Step, error) {
	c, err := s.Open(ref)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	var file ConfigFile
	if err := json.Unmarshal(c.Config, &file); err != nil {
		return nil, fmt.Errorf("image %q: %w", ref, err)
	}
	var steps []Step
	layers := c.Layers
	for _, h := range file.History {
		step := Step{History: h}
		if !h.EmptyLayer && len(layers) > 0 {
			step.Layer, step.Size, layers = layers[0].Digest, layers[0].Size, layers[1:]
		}
		steps = append(steps, step)
	}
	for _, l := range layers {
		steps = append(steps, Step{Layer: l.Digest, Size: l.Size})
	}
	return steps, nil
}
