package launch

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cocker/cocker/image"
)

// baseFile, in a container's data directory, names the images that its writable layer
// was last used on: one line for each, the lowest first, "DIGEST NAME". An upper layer
// is of no use without the layers below it, and a tag may have moved on.
const baseFile = "images"

func basePath(container string) string { return filepath.Join(writable(container), baseFile) }

// Base returns the digests of the images that the writable layer of a container stands
// on, lowest first; fs.ErrNotExist says that it has none yet, ErrNoBase that it has one
// of which nobody knows.
func Base(container string) (digests []string, err error) {
	upper := filepath.Join(writable(container), "upper")
	if _, err := os.Lstat(upper); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(basePath(container))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for line := range strings.Lines(string(text)) {
		digest, _, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if image.CheckDigest(digest) != nil {
			return nil, fmt.Errorf("%s: %w", basePath(container), ErrNoBase)
		}
		digests = append(digests, digest)
	}
	if len(digests) > 0 {
		return digests, nil
	}
	if _, err := os.Lstat(upper); err != nil {
		return nil, err // removed meanwhile
	}
	return nil, fmt.Errorf("container %s: %w", container, ErrNoBase)
}

// ErrNoBase is part of an error that says that it is not known what a writable layer
// stands on.
var ErrNoBase = errors.New("nobody has written down on which images its writable layer stands; the next start does")

// recordBase writes down what the writable layer is used on from now on, if that is
// not what it says already. The caller holds the container's lock, and the store.
func recordBase(container string, images []*image.Image) error {
	var text strings.Builder
	for _, i := range images {
		fmt.Fprintf(&text, "%s %s\n", i.Digest, i.Reference)
	}
	old, err := os.ReadFile(basePath(container))
	if err == nil && string(old) == text.String() {
		return nil
	}
	if err := replaceBase(basePath(container), text.String(), err == nil); err == nil {
		return nil
	}
	// A full disk should not keep a container from starting: no record is safe too.
	if err := ignoreMissing(os.Remove(basePath(container))); err != nil {
		return fmt.Errorf("write down the images of %s: %w", container, err)
	}
	return nil
}

// replaceBase syncs only what replaces another record: the first one of a container
// is missing or empty after a power cut, which Base tells, while a wrong one would let
// the layers go that are in use.
func replaceBase(path, text string, sync bool) error {
	temporary := path + ".new"
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err == nil && sync {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	return os.Rename(temporary, path)
}
