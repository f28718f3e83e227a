package archive

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/cocker/cocker/image"
	"github.com/cocker/cocker/image/importer"
)

// savedList is manifest.json. An image with several names is in it once.
type savedList struct {
	images []savedImage
}

func (s *savedList) add(i savedImage, reference string) {
	at := slices.IndexFunc(s.images, func(o savedImage) bool { return o.Config == i.Config && slices.Equal(o.Layers, i.Layers) })
	if at < 0 {
		at = len(s.images)
		s.images = append(s.images, i)
	}
	if isDockerTag(reference) && !slices.Contains(s.images[at].RepoTags, reference) {
		s.images[at].RepoTags = append(s.images[at].RepoTags, reference)
	}
}

// isDockerTag says whether a name is one for docker too.
func isDockerTag(reference string) bool {
	r, err := image.ParseReference(reference)
	return err == nil && r.Tag != "" && r.Digest == "" && !strings.Contains(reference, "://")
}

// saved writes an archive as "docker save" did before version 25, and podman does.
func (e *exporter) saved(all []*image.Content) error {
	list := &savedList{}
	for _, c := range all {
		ids, err := diffIDs(c)
		if err != nil {
			return err
		}
		i := savedImage{Config: hexOf(image.DigestOf(c.Config)) + ".json"}
		for _, id := range ids {
			i.Layers = append(i.Layers, hexOf(id)+".tar")
		}
		list.add(i, c.Reference)
		if err := e.bytes(i.Config, c.Config); err != nil {
			return err
		}
		for n, l := range c.Layers {
			if err := e.plain(i.Layers[n], l, ids[n]); err != nil {
				return fmt.Errorf("layer %s: %w", l.Digest, err)
			}
		}
	}
	return e.document(savedName, list.images)
}

func diffIDs(c *image.Content) ([]string, error) {
	var file image.ConfigFile
	if err := json.Unmarshal(c.Config, &file); err != nil {
		return nil, fmt.Errorf("image %s: %w", c.Reference, err)
	}
	if len(file.RootFS.DiffIDs) != len(c.Layers) {
		return nil, fmt.Errorf("image %s: %w", c.Reference, image.ErrIncomplete)
	}
	for _, id := range file.RootFS.DiffIDs {
		if err := image.CheckDigest(id); err != nil {
			return nil, err
		}
	}
	return file.RootFS.DiffIDs, nil
}

func hexOf(digest string) string { return strings.TrimPrefix(digest, "sha256:") }

// plain writes a layer uncompressed. A tar has a file's size before it: so the layer
// is decompressed twice, which takes neither memory nor disk.
func (e *exporter) plain(name string, l image.Blob, diffID string) error {
	if e.written[name] {
		return nil
	}
	first, err := decompress(l)
	if err != nil {
		return err
	}
	size, err := io.CopyBuffer(io.Discard, &canceled{first, e}, make([]byte, 256<<10))
	if err != nil {
		return err
	}
	second, err := decompress(l)
	if err != nil {
		return err
	}
	return e.file(name, size, second, diffID)
}

func decompress(l image.Blob) (io.Reader, error) {
	return importer.Decompress(io.NewSectionReader(l.File, 0, l.Size))
}

// canceled ends with the export.
type canceled struct {
	io.Reader

	to *exporter
}

func (r *canceled) Read(p []byte) (int, error) {
	if err := r.to.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}
