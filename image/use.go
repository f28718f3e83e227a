package image

import (
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// The last use of an image is the time of modification of its manifest's blob: it
// needs no file of its own, outlives reboots, and goes with the image. A pull, an
// import or a commit sets it by making the blob.

// MarkUsed dates the last use of an image now; digest is its [Image.Digest].
func (s *Store) MarkUsed(digest string) error {
	hex, err := digestHex(digest)
	if err != nil {
		return err
	}
	path := s.blob(hex)
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, path, nil, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &os.PathError{Op: "utimensat", Path: path, Err: err}
	}
	return nil
}

// lastUse is zero for an image whose manifest is not here. An index that other tools
// have copied in has a manifest for this machine in it, which is what is run.
func (s *Store) lastUse(d Descriptor) (used time.Time) {
	digests := []string{d.Digest}
	if _, md, err := s.manifest(d); err == nil {
		digests = append(digests, md.Digest)
	}
	for _, digest := range digests {
		hex, err := digestHex(digest)
		if err != nil {
			continue
		}
		if info, err := os.Lstat(s.blob(hex)); err == nil && info.ModTime().After(used) {
			used = info.ModTime()
		}
	}
	return used
}

// Uses is what must stay, however old it is.
type Uses struct {
	References []string // as the files of containers name images
	Digests    []string // of images that run, or that writable layers stand on
	Layers     []string // directories that running containers stand on
	Unknown    error    // why some of the images without a name may be in use too; nil: none is
}

// keeps says whether an image is among those in use. A reference keeps the one image
// that a container would start with.
func (u Uses) keeps(s *Store, idx *index, d Descriptor) bool {
	if d.unclaimed() && u.Unknown != nil {
		return true
	}
	for _, ref := range u.References {
		if found, err := idx.find(ref); err == nil && found.Digest == d.Digest && found.name() == d.name() {
			return true
		}
	}
	_, md, err := s.manifest(d)
	for _, digest := range u.Digests {
		if d.hasDigest(digest) || err == nil && md.Digest == digest {
			return true
		}
	}
	return false
}

// stands says whether a container runs on one of the layers.
func (u Uses) stands(s *Store, layers map[string]bool) bool {
	for _, dir := range u.Layers {
		if filepath.Dir(dir) == s.unpacked() && layers[filepath.Base(dir)] {
			return true
		}
	}
	return false
}
