package image

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
)

// Image is one image, ready to run: every layer is unpacked.
type Image struct {
	Reference string       // the stored name, "base:1.0"; "" if it has none
	Digest    string       // of the manifest, "sha256:..."
	Layers    []string     // absolute directories of the unpacked layers, lowest first
	DiffIDs   []string     // of the same layers: digests of their uncompressed tars
	Blobs     []Descriptor // of the same layers
	Pulled    []string     // digests by which the registry it came from knows it, where they differ
	Platform  string       // "linux/amd64", "linux/arm/v7"; "" if it does not say
	Config    Config       // how the image wants to be run
	Size      int64        // bytes of all its blobs, compressed
	Created   time.Time    // zero: the image does not say
}

// Config is what an image says about running it.
type Config struct {
	Entrypoint   []string
	Command      []string // arguments of Entrypoint, or the whole command
	Environment  []string // "NAME=value"
	User         string   // "name", "id", "name:group", ...; "": root
	WorkDir      string   // "": /
	StopSignal   string   // "SIGTERM", "15"; "": SIGTERM
	ExposedPorts []string // "80/tcp", sorted
	Volumes      []string // absolute paths, sorted
	Labels       map[string]string
}

// Resolve finds an image by its name or digest and reads what a container needs
// from it. A name without a tag means the tag latest if there is one, else the
// highest version: 1.10 is above 1.9, and 1.2 above 1.2-rc1.
func (s *Store) Resolve(ref string) (img *Image, err error) {
	err = s.readImage(ref, func(d Descriptor) error {
		if img, err = s.load(d); err != nil {
			return err
		}
		return s.locate(img)
	})
	if err != nil {
		return nil, err
	}
	return img, nil
}

// load reads all of an image but the place of its layers.
func (s *Store) load(d Descriptor) (*Image, error) {
	m, md, err := s.manifest(d)
	if err != nil {
		return nil, err
	}
	var file ConfigFile
	if err := s.readDocument(m.Config, &file); err != nil {
		return nil, err
	}
	if len(file.RootFS.DiffIDs) != len(m.Layers) {
		return nil, fmt.Errorf("%d layers in the manifest, %d in the configuration", len(m.Layers), len(file.RootFS.DiffIDs))
	}
	img := &Image{
		Reference: d.name(),
		Digest:    md.Digest,
		DiffIDs:   file.RootFS.DiffIDs,
		Blobs:     m.Layers,
		Pulled:    strings.Fields(d.Annotations[annotationPulled]),
		Platform:  file.platform(),
		Config:    file.Config.simple(),
		Size:      md.Size + m.Config.Size,
	}
	for _, l := range m.Layers {
		img.Size += l.Size
	}
	if file.Created != nil {
		img.Created = *file.Created
	}
	return img, nil
}

func (f ConfigFile) platform() string {
	if f.OS == "" || f.Architecture == "" {
		return ""
	}
	return strings.TrimSuffix(f.OS+"/"+f.Architecture+"/"+f.Variant, "/")
}

// locate fills in the layers' directories and checks that each is there.
func (s *Store) locate(img *Image) error {
	for _, id := range img.DiffIDs {
		hex, err := digestHex(id)
		if err != nil {
			return err
		}
		dir := s.layer(hex)
		info, err := os.Lstat(dir)
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("layer %s is not unpacked: %w", id, ErrIncomplete)
		}
		if err != nil {
			return fmt.Errorf("layer %s: %w", id, err)
		}
		if !info.IsDir() {
			return fmt.Errorf("layer %s: %s is not a directory: %w", id, dir, ErrIncomplete)
		}
		img.Layers = append(img.Layers, dir)
	}
	return nil
}

func (c RunConfig) simple() Config {
	return Config{
		Entrypoint:   c.Entrypoint,
		Command:      c.Cmd,
		Environment:  c.Env,
		User:         c.User,
		WorkDir:      c.WorkingDir,
		StopSignal:   c.StopSignal,
		ExposedPorts: slices.Sorted(maps.Keys(c.ExposedPorts)),
		Volumes:      slices.Sorted(maps.Keys(c.Volumes)),
		Labels:       c.Labels,
	}
}
