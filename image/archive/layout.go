package archive

import (
	"fmt"
	"runtime"
	"slices"
	"strings"

	"github.com/cocker/cocker/image"
	"github.com/cocker/cocker/image/manifest"
)

// annotationContainerd is where containerd and docker write the whole name of an
// image; what the specification has for it is only the tag then.
const annotationContainerd = "io.containerd.image.name"

// layout is the OCI image layout in an archive.
type layout struct {
	files
	saved []savedImage // the same images as "docker save" names them
}

func findInLayout(from files, saved []savedImage) ([]*found, error) {
	data, err := readDocument(from, "index.json")
	if err != nil {
		return nil, err
	}
	index, err := manifest.Parse(data, image.MediaTypeIndex)
	if err != nil {
		return nil, fmt.Errorf("index.json: %w", err)
	}
	l := &layout{from, saved}
	var all []*found
	place := map[string]int{} // by digest: an image with several names is there as often
	for _, same := range byName(index.Manifests) {
		d, err := forHost(same)
		if err != nil {
			return nil, fmt.Errorf("index.json: %w", err)
		}
		at, ok := place[d.Digest]
		if !ok {
			at = len(all)
			place[d.Digest] = at
			all = append(all, &found{digest: d.Digest, load: func() (*content, error) { return l.load(d) }})
		}
		l.name(all[at], d)
	}
	return all, nil
}

// byName puts those together that have one name: they are for several platforms.
func byName(all []image.Descriptor) (groups [][]image.Descriptor) {
	place := map[string]int{}
	for _, d := range all {
		name := d.Annotations[annotationContainerd] + " " + d.Name()
		i, ok := place[name]
		if !ok || name == " " {
			i, place[name] = len(groups), len(groups)
			groups = append(groups, nil)
		}
		groups[i] = append(groups[i], d)
	}
	return groups
}

// name adds what an entry of the index calls an image.
func (l *layout) name(f *found, d image.Descriptor) {
	name := d.Name()
	if whole := d.Annotations[annotationContainerd]; whole != "" {
		name = l.familiar(whole)
	}
	switch {
	case name == "":
	case strings.ContainsAny(name, ":/"):
		f.names = append(f.names, name)
	default:
		f.words = append(f.words, name)
	}
}

// familiar is what "docker save" itself calls an image: web:1 for docker.io/library/web:1.
func (l *layout) familiar(whole string) string {
	short := strings.TrimPrefix(strings.TrimPrefix(whole, "docker.io/"), "library/")
	for _, i := range l.saved {
		if slices.Contains(i.RepoTags, short) {
			return short
		}
	}
	return whole
}

// forHost returns the first image for this machine, or the only one.
func forHost(all []image.Descriptor) (image.Descriptor, error) {
	if len(all) == 1 {
		return all[0], nil
	}
	var others []string
	for _, d := range all {
		p := d.Platform
		if p == nil || p.OS == "linux" && p.Architecture == runtime.GOARCH {
			return d, nil
		}
		if p.OS != "unknown" { // attestations
			others = append(others, p.OS+"/"+p.Architecture)
		}
	}
	return image.Descriptor{}, fmt.Errorf("it has no image for linux/%s, only for %s", runtime.GOARCH, strings.Join(others, ", "))
}

// load follows indexes to a manifest.
func (l *layout) load(d image.Descriptor) (*content, error) {
	c := &content{}
	for range manifest.MaxNesting {
		data, err := readBlob(l, d.Digest)
		if err != nil {
			return nil, err
		}
		document, err := manifest.Parse(data, d.MediaType)
		if err != nil {
			return nil, err
		}
		c.digests = append(c.digests, document.Digest)
		if !document.IsIndex() {
			return c, l.loadManifest(c, document)
		}
		if d, err = forHost(document.Manifests); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("more than %d indexes within each other", manifest.MaxNesting)
}

func (l *layout) loadManifest(c *content, m *manifest.Document) error {
	if err := m.Check(); err != nil {
		return err
	}
	config, err := readBlob(l, m.Config.Digest)
	if err != nil {
		return fmt.Errorf("its configuration: %w", err)
	}
	if err := c.setConfig(config, len(m.Layers)); err != nil {
		return err
	}
	if c.manifest, err = m.Stored(); err != nil {
		return err
	}
	for i, blob := range m.Layers {
		c.layers = append(c.layers, layer{blobPath(blob.Digest), blob, c.file.RootFS.DiffIDs[i]})
	}
	return nil
}
