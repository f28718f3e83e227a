package derive

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cocker/cocker/image"
)

// Base is what a writable layer stands on: one image, or several stacked ones whose
// layers count as one list, as at a container's start.
type Base struct {
	Dirs []string // unpacked layers, lowest first

	digests []string // of the manifests
	config  document
	layers  []step
	history []image.History // of the lowest layers, with the topmost image's last
}

// step is a layer as manifest and configuration have it.
type step struct {
	blob   image.Descriptor
	diffID string
}

// Load reads the images of a base, the lowest first.
func Load(store *image.Store, refs []string) (*Base, error) {
	if len(refs) == 0 {
		return nil, errors.New("no image to build on")
	}
	b := &Base{}
	for _, ref := range refs {
		if err := b.add(store, ref); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// add stacks an image. Its configuration is the one that counts, but for the
// environment, which all images add to; a layer that is there already stays where it
// is (package rootfs says why).
func (b *Base) add(store *image.Store, ref string) error {
	img, err := store.Resolve(ref)
	if err != nil {
		return err
	}
	content, err := store.Open(ref)
	if err != nil {
		return err
	}
	if err := content.Close(); err != nil { // only the documents are of interest
		return err
	}
	if content.Manifest.Digest != img.Digest {
		return fmt.Errorf("image %q: the name went to another image just now; try again", ref)
	}
	if err := b.stack(img, content.Config); err != nil {
		return fmt.Errorf("image %q: %w", ref, err)
	}
	return nil
}

func (b *Base) stack(img *image.Image, data []byte) error {
	config, err := parse(data)
	if err != nil {
		return err
	}
	if b.config.top != nil {
		if err := config.inherit(b.config); err != nil {
			return err
		}
	}
	var file image.ConfigFile
	if err := json.Unmarshal(data, &file); err != nil {
		return err
	}
	b.config, b.digests = config, append(b.digests, img.Digest)
	b.stackLayers(img, complete(file.History, len(img.DiffIDs)))
	return nil
}

// stackLayers adds the layers that are not there yet, each with its line of history.
func (b *Base) stackLayers(img *image.Image, history []image.History) {
	n := 0
	for _, h := range history {
		if h.EmptyLayer {
			b.history = append(b.history, h)
			continue
		}
		if !slices.Contains(b.Dirs, img.Layers[n]) {
			b.Dirs = append(b.Dirs, img.Layers[n])
			b.layers = append(b.layers, step{img.Blobs[n], img.DiffIDs[n]})
			b.history = append(b.history, h)
		}
		n++
	}
}

// complete gives a history one line for each layer: it may be missing, in whole or in
// part, but then all that is there must be about the lowest layers.
func complete(history []image.History, layers int) []image.History {
	var all []image.History
	for _, h := range history {
		if !h.EmptyLayer {
			if layers == 0 {
				continue
			}
			layers--
		}
		all = append(all, h)
	}
	for range layers {
		all = append(all, image.History{})
	}
	return all
}

// withoutTop takes the topmost layer off, and what the history says after it.
func (b *Base) withoutTop() (top string) {
	top = b.Dirs[len(b.Dirs)-1]
	b.Dirs = b.Dirs[:len(b.Dirs)-1]
	b.layers = b.layers[:len(b.layers)-1]
	for i, h := range slices.Backward(b.history) {
		if !h.EmptyLayer {
			b.history = b.history[:i]
			break
		}
	}
	return top
}

// Repository is the name of an image without tag and digest.
func repository(reference string) string {
	ref, err := image.ParseReference(reference)
	if err != nil {
		return ""
	}
	return strings.ToLower(ref.Name)
}
