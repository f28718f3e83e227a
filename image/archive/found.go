package archive

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/cocker/cocker/image"
	"github.com/cocker/cocker/image/manifest"
)

// found is an image of an archive. What it is made of is read when it is needed: an
// archive may name thousands.
type found struct {
	names  []string // in full
	words  []string // where the archive has one word for it: a name or a tag
	digest string   // of its manifest or index, or of its configuration
	load   func() (*content, error)
}

// String is for messages.
func (f *found) String() string {
	if names := slices.Concat(f.names, f.words); len(names) > 0 {
		return strings.Join(names, ", ")
	}
	return f.digest
}

// content is what an image is made of.
type content struct {
	manifest []byte   // as it goes into the store; nil: it has to be made
	digests  []string // of the manifest and of indexes above it
	config   []byte
	file     image.ConfigFile
	layers   []layer // lowest first
}

type layer struct {
	path   string           // in the archive
	blob   image.Descriptor // without a digest: nothing but the diff id is known
	diffID string
}

// findImages tells which images an archive has.
func findImages(from files) ([]*found, error) {
	isLayout, err := has(from, "oci-layout")
	if err != nil {
		return nil, err
	}
	saved, err := readSaved(from)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if isLayout { // "docker save" from 25 on is both
		return findInLayout(from, saved)
	}
	if err != nil {
		return nil, errors.New("it has neither oci-layout nor manifest.json: it is cut short, or no archive of images")
	}
	return findSaved(from, saved), nil
}

func has(from files, name string) (bool, error) {
	f, err := from.open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, f.Close()
}

// setConfig takes an image's configuration, and checks what it says.
func (c *content) setConfig(data []byte, layers int) error {
	c.config = data
	if err := json.Unmarshal(data, &c.file); err != nil {
		return fmt.Errorf("its configuration: %w", err)
	}
	if c.file.OS != "" && c.file.OS != "linux" {
		return fmt.Errorf("it is for %s, not for Linux", c.file.OS)
	}
	if n := len(c.file.RootFS.DiffIDs); n != layers {
		return fmt.Errorf("%d layers in its manifest, %d in its configuration", layers, n)
	}
	for _, id := range c.file.RootFS.DiffIDs {
		if err := image.CheckDigest(id); err != nil {
			return err
		}
	}
	return manifest.CheckLayers(layers)
}

// readBlob reads a manifest or configuration, and compares its digest.
func readBlob(from files, digest string) ([]byte, error) {
	if err := image.CheckDigest(digest); err != nil {
		return nil, err
	}
	data, err := readDocument(from, blobPath(digest))
	if err != nil {
		return nil, err
	}
	return data, compare(image.DigestOf(data), digest)
}

// blobPath is for a digest that image.CheckDigest has seen.
func blobPath(digest string) string { return "blobs/" + strings.Replace(digest, ":", "/", 1) }

// errDigest says that something is not what it is named as.
var errDigest = errors.New("the content has another digest")

func compare(got, want string) error {
	if got != want {
		return fmt.Errorf("%w: %s instead of %s", errDigest, got, want)
	}
	return nil
}
