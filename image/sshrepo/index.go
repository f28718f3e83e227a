package sshrepo

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cocker/cocker/image"
)

const (
	maxIndex   = 4 << 20
	maxEntries = 10_000
	noIndex    = "none" // in the place of the digest of an index that is not there
)

// index is index.json of the other side. What is in it that cocker does not know stays
// as it is.
type index struct {
	digest  string // hex digits of what was read, or noIndex
	fields  map[string]json.RawMessage
	entries []entry
}

// entry is an image of it.
type entry struct {
	image.Descriptor

	raw json.RawMessage
}

func emptyIndex() *index {
	return &index{digest: noIndex, fields: map[string]json.RawMessage{
		"schemaVersion": json.RawMessage(`2`),
		"mediaType":     json.RawMessage(`"` + image.MediaTypeIndex + `"`),
	}}
}

func parseIndex(data []byte) (*index, error) {
	idx := &index{digest: strings.TrimPrefix(image.DigestOf(data), "sha256:")}
	var list struct {
		Manifests []json.RawMessage `json:"manifests"`
	}
	if err := errors.Join(json.Unmarshal(data, &idx.fields), json.Unmarshal(data, &list)); err != nil {
		return nil, fmt.Errorf("its index.json is none of an OCI image layout: %w", err)
	}
	if idx.fields == nil {
		return nil, errors.New("its index.json is none of an OCI image layout: it is null")
	}
	if n := len(list.Manifests); n > maxEntries {
		return nil, fmt.Errorf("its index.json has %d images; %d are possible", n, maxEntries)
	}
	for _, raw := range list.Manifests {
		e := entry{raw: raw}
		if err := json.Unmarshal(raw, &e.Descriptor); err != nil {
			return nil, fmt.Errorf("its index.json: %w", err)
		}
		idx.entries = append(idx.entries, e)
	}
	return idx, nil
}

// put gives a name to an image; another one that had it goes.
func (idx *index) put(name string, d image.Descriptor) {
	idx.entries = slices.DeleteFunc(idx.entries, func(e entry) bool { return e.Name() == name })
	idx.entries = append(idx.entries, entry{Descriptor: d.Named(name)})
}

// encode makes index.json of it again.
func (idx *index) encode() ([]byte, error) {
	list := make([]json.RawMessage, 0, len(idx.entries))
	for _, e := range idx.entries {
		if e.raw == nil {
			raw, err := json.Marshal(e.Descriptor)
			if err != nil {
				return nil, err
			}
			e.raw = raw
		}
		list = append(list, e.raw)
	}
	manifests, err := json.Marshal(list)
	if err != nil {
		return nil, err
	}
	idx.fields["manifests"] = manifests
	data, err := json.Marshal(idx.fields)
	if err == nil && (len(data) > maxIndex || len(list) > maxEntries) {
		err = fmt.Errorf("its index.json would be longer than %d bytes, or have more than %d images", maxIndex, maxEntries)
	}
	return append(data, '\n'), err
}

// named returns the images of a name by their tags. The last one that has a tag counts,
// as in other tools.
func (idx *index) named(name string) map[string]image.Descriptor {
	tags := map[string]image.Descriptor{}
	for _, e := range idx.entries {
		if ref, err := image.ParseReference(e.Name()); err == nil && ref.Name == name && ref.Tag != "" && ref.Digest == "" {
			tags[ref.Tag] = e.Descriptor
		}
	}
	return tags
}

// readIndex gets the index; one that is not there is empty.
func (c *connection) readIndex() (*index, error) {
	if err := c.ask("index"); err != nil {
		return nil, err
	}
	word, _, err := c.answer()
	switch {
	case err != nil:
		return nil, err
	case word == "none":
		return emptyIndex(), nil
	case word != "have":
		return nil, c.confused(word)
	}
	data, err := c.upToEnd(maxIndex)
	if err != nil {
		return nil, err
	}
	return parseIndex(data)
}
