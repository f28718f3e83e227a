package archive

import (
	"encoding/json"
	"fmt"
	"regexp"
	"sync"

	"github.com/cocker/cocker/image"
)

// savedImage is an image in the manifest.json of "docker save": the names of its
// parts in the archive.
type savedImage struct {
	Config   string
	RepoTags []string // null where there is none, as docker writes it
	Layers   []string // uncompressed tars; some tools write compressed ones
}

const savedName = "manifest.json"

func readSaved(from files) ([]savedImage, error) {
	data, err := readDocument(from, savedName)
	if err != nil {
		return nil, err
	}
	var all []savedImage
	if err := json.Unmarshal(data, &all); err != nil {
		return nil, fmt.Errorf("%s is not that of docker save: %w", savedName, err)
	}
	return all, nil
}

func findSaved(from files, saved []savedImage) []*found {
	var all []*found
	for _, i := range saved {
		all = append(all, &found{
			names: i.RepoTags, digest: digestIn(i.Config),
			load: func() (*content, error) { return loadSaved(from, i) },
		})
	}
	return all
}

func loadSaved(from files, i savedImage) (*content, error) {
	name, err := inside(i.Config)
	if err != nil {
		return nil, fmt.Errorf("configuration %q: %w", i.Config, err)
	}
	config, err := readDocument(from, name)
	if err != nil {
		return nil, fmt.Errorf("its configuration: %w", err)
	}
	if want := digestIn(i.Config); want != "" {
		if err := compare(image.DigestOf(config), want); err != nil {
			return nil, fmt.Errorf("its configuration %s: %w", name, err)
		}
	}
	c := &content{}
	if err := c.setConfig(config, len(i.Layers)); err != nil {
		return nil, err
	}
	for n, path := range i.Layers {
		if path, err = inside(path); err != nil {
			return nil, fmt.Errorf("layer %q: %w", i.Layers[n], err)
		}
		c.layers = append(c.layers, layer{path: path, diffID: c.file.RootFS.DiffIDs[n]})
	}
	return c, nil
}

// hexDigest is compiled at its first use, as are all expressions here: every cocker that
// starts would take as long.
var hexDigest = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?:^|[:/])([0-9a-f]{64})(?:\.json)?$`)
})

// digestIn is the digest that a configuration is named by: HEX.json, sha256:HEX or
// blobs/sha256/HEX; "" if it has another name.
func digestIn(name string) string {
	if m := hexDigest().FindStringSubmatch(name); m != nil {
		return "sha256:" + m[1]
	}
	return ""
}
