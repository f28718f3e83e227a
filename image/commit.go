package image

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/cocker/cocker/image/internal/durable"
)

// Named is an image and one of its names. Its manifest is one of the sealed blobs.
type Named struct {
	Name     string // with a tag, or NAME@DIGEST
	Manifest Descriptor
}

// Commit adds the image whose manifest is one of the sealed blobs, under a name
// with a tag. An image that had the name loses it: it stays in the store without
// a name, because a container may be running on it, unless all of its layers
// belong to other images too.
//
// The order makes every moment safe for a power cut or kill -9:
//   - layers are synced (syncfs) and blobs are (fsync, in Seal) under staging names;
//   - the journal names what is about to appear;
//   - layers, then blobs, are renamed; the directories are synced, and the images read
//     once: one that could not be is refused;
//   - index.json is replaced: temporary file, fsync, rename, fsync of the directory.
//
// Before the last step the next Begin takes all of it back, after it nothing.
func (t *Transaction) Commit(name string, manifest Descriptor) (err error) {
	return t.CommitAll([]Named{{name, manifest}})
}

// CommitAll is Commit for several images or names: all of them or none.
func (t *Transaction) CommitAll(images []Named) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("add image %s to the store: %w", quotedNames(images), err)
		}
	}()
	for _, i := range images {
		if err := t.check(i.Name); err != nil {
			return err
		}
	}
	if err := t.area.sync(); err != nil {
		return err
	}
	lock, err := t.area.store.lockExclusive()
	if err != nil {
		return err
	}
	defer lock.Release()
	if err := t.checkKept(); err != nil {
		return err
	}
	if err := t.publish(images); err != nil {
		return errors.Join(err, t.area.takeBack())
	}
	return nil
}

func quotedNames(images []Named) string {
	var names []string
	for _, i := range images {
		names = append(names, strconv.Quote(i.Name))
	}
	return strings.Join(names, ", ")
}

func (t *Transaction) check(name string) error {
	if full, err := StoredName(name); err != nil || full != name {
		return errors.Join(err, badReference(name, errors.New("wanted NAME:TAG or NAME@DIGEST")))
	}
	for _, l := range t.layers {
		if l.hex == "" && !l.dropped {
			return errors.New("a layer is not sealed")
		}
	}
	for _, b := range t.blobs {
		if b.hex == "" && !b.dropped {
			return errors.New("a blob is not sealed")
		}
	}
	return nil
}

func (t *Transaction) publish(images []Named) error {
	s := t.area.store
	idx, err := s.readIndex()
	if err != nil {
		return err
	}
	if err := t.area.writeJournal(t.news(idx, images)); err != nil {
		return err
	}
	if err := t.rename(idx); err != nil {
		return err
	}
	for _, i := range images {
		if err := s.verify(i.Manifest); err != nil {
			return err
		}
	}
	var replaced []Descriptor
	for _, i := range images {
		replaced = append(replaced, idx.put(i.Name, i.Manifest)...)
	}
	replaced = slices.DeleteFunc(replaced, func(d Descriptor) bool {
		return slices.Contains(t.preserved, d.Digest) && !idx.names(d.Digest)
	})
	gone := s.forget(idx, replaced)
	if err := s.writeIndex(idx); err != nil {
		return err
	}
	return t.area.discard(gone)
}

// news lists the parts that the store lacks. A part that is there already may
// belong to an image, so a commit that fails must not take it back. The blobs of
// the images that lose the name may be of no use soon: see [Store.forget].
func (t *Transaction) news(idx *index, images []Named) journal {
	old := slices.DeleteFunc(slices.Clone(idx.Manifests), func(d Descriptor) bool {
		return !slices.ContainsFunc(images, func(i Named) bool { return d.name() == i.Name })
	})
	p := parts{layers: map[string]bool{}, blobs: t.area.store.partsOf(old).blobs}
	for _, l := range t.layers {
		if _, err := os.Lstat(t.area.store.layer(l.hex)); err != nil && !l.dropped {
			p.layers[l.hex] = true
		}
	}
	for _, b := range t.blobs {
		if _, err := os.Lstat(t.area.store.blob(b.hex)); err != nil && !b.dropped {
			p.blobs[b.hex] = true
		}
	}
	return p.journal()
}

// rename gives layers and blobs their final names. A layer that an image names is as
// good as ours; a directory that no image names is replaced, as nobody knows how it came
// there. A blob is replaced, which mends one that was damaged.
func (t *Transaction) rename(idx *index) error {
	s := t.area.store
	for _, l := range t.layers {
		if l.dropped {
			continue
		}
		err := os.Rename(l.path, s.layer(l.hex))
		if err == nil || isDir(s.layer(l.hex)) && s.partsOf(idx.Manifests).layers[l.hex] {
			continue
		}
		if !exists(s.layer(l.hex)) {
			return err
		}
		if err := exchange(l.path, s.layer(l.hex)); err != nil {
			return err
		}
	}
	if err := durable.SyncDir(s.unpacked()); err != nil {
		return err
	}
	for _, b := range t.blobs {
		if b.dropped {
			continue
		}
		if err := os.Rename(b.path, s.blob(b.hex)); err != nil {
			return err
		}
	}
	return durable.SyncDir(s.blobs())
}

const maxPlatform = 100

// verify refuses an image that could not be read when it is asked for: it would be one
// that is damaged, and others could not be pruned for its sake. A manifest from elsewhere
// may say what no manifest does, and of a layer that is here already any size.
func (s *Store) verify(d Descriptor) error {
	if p := d.Platform; p != nil && len(p.OS+p.Architecture+p.Variant) > maxPlatform { // it goes into the index
		return fmt.Errorf("its platform has more than %d letters", maxPlatform)
	}
	img, err := s.load(d)
	if err != nil {
		return err
	}
	if err := s.locate(img); err != nil {
		return err
	}
	m, _, err := s.manifest(d)
	if err != nil {
		return err
	}
	for _, part := range append([]Descriptor{m.Config}, m.Layers...) {
		hex, err := digestHex(part.Digest)
		if err != nil {
			return err
		}
		info, err := os.Lstat(s.blob(hex))
		if err != nil {
			return fmt.Errorf("blob %s: %w: %w", part.Digest, ErrIncomplete, err)
		}
		if info.Size() != part.Size {
			return fmt.Errorf("blob %s has %d bytes, and %d by the manifest", part.Digest, info.Size(), part.Size)
		}
	}
	return nil
}

// put names an image and returns those that had the name, still in the index
// but without it.
func (idx *index) put(name string, manifest Descriptor) (replaced []Descriptor) {
	idx.Manifests = slices.DeleteFunc(idx.Manifests, func(d Descriptor) bool {
		if d.name() != name {
			return false
		}
		d.Annotations = maps.Clone(d.Annotations)
		delete(d.Annotations, annotationName)
		replaced = append(replaced, d)
		return true
	})
	replaced = slices.DeleteFunc(replaced, func(d Descriptor) bool {
		return d.Digest == manifest.Digest || slices.ContainsFunc(idx.Manifests, func(o Descriptor) bool { return o.name() == "" && o.Digest == d.Digest })
	})
	idx.Manifests = append(append(idx.Manifests, replaced...), manifest.Named(name))
	return replaced
}

// names says whether an image has a name.
func (idx *index) names(digest string) bool {
	return slices.ContainsFunc(idx.Manifests, func(d Descriptor) bool { return d.Digest == digest && d.name() != "" })
}

// forget drops those of the nameless images that have no layer of their own, and
// returns the blobs that nothing needs any more.
func (s *Store) forget(idx *index, nameless []Descriptor) parts {
	gone := newParts()
	for _, old := range nameless {
		rest := slices.Clone(idx.Manifests)
		rest = slices.DeleteFunc(rest, func(d Descriptor) bool { return d.name() == "" && d.Digest == old.Digest })
		own := s.partsOf([]Descriptor{old})
		own.subtract(s.partsOf(rest))
		if len(own.layers) == 0 {
			idx.Manifests = rest
			maps.Copy(gone.blobs, own.blobs)
		}
	}
	return gone
}
