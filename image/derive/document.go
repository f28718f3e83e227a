package derive

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/cocker/cocker/image"
)

// document is an image's configuration with all that it holds: what cocker does not
// know, such as a Healthcheck, goes on into the new image.
type document struct {
	top    map[string]json.RawMessage
	config map[string]json.RawMessage // the member "config": how the image is run
}

func parse(data []byte) (document, error) {
	var d document
	if err := json.Unmarshal(data, &d.top); err != nil {
		return d, fmt.Errorf("read configuration: %w", err)
	}
	if d.top == nil {
		return d, fmt.Errorf("read configuration: it is %s", data)
	}
	if raw, ok := d.top["config"]; ok {
		if err := json.Unmarshal(raw, &d.config); err != nil {
			return d, fmt.Errorf("read configuration: %w", err)
		}
	}
	if d.config == nil {
		d.config = map[string]json.RawMessage{}
	}
	return d, nil
}

// get reads a member into a variable that stays as it is where there is none.
func get[T any](members map[string]json.RawMessage, key string, into *T) error {
	raw, ok := members[key]
	if !ok {
		return nil
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("read configuration: %s: %w", key, err)
	}
	return nil
}

func set(members map[string]json.RawMessage, key string, value any) error {
	raw, err := json.Marshal(value)
	if err == nil {
		members[key] = raw
	}
	return err
}

// inherit adds the variables of a lower image that this one does not set.
func (d document) inherit(lower document) error {
	var own, all []string
	if err := get(lower.config, "Env", &all); err != nil {
		return err
	}
	if err := get(d.config, "Env", &own); err != nil {
		return err
	}
	for _, variable := range own {
		name, value, _ := strings.Cut(variable, "=")
		all = setVariable(all, name, value)
	}
	if len(all) == 0 {
		return nil
	}
	return set(d.config, "Env", all)
}

func setVariable(all []string, name, value string) []string {
	for i, variable := range all {
		if old, _, _ := strings.Cut(variable, "="); old == name {
			all[i] = name + "=" + value
			return all
		}
	}
	return append(all, name+"="+value)
}

// encode puts the document together, with the layers and the history of an image.
func (d document) encode(layers []step, history []image.History, created time.Time, author string) ([]byte, error) {
	top := maps.Clone(d.top)
	rootfs := image.RootFS{Type: "layers", DiffIDs: []string{}}
	for _, l := range layers {
		rootfs.DiffIDs = append(rootfs.DiffIDs, l.diffID)
	}
	for key, value := range map[string]any{"created": created, "rootfs": rootfs, "history": history, "config": d.config} {
		if err := set(top, key, value); err != nil {
			return nil, err
		}
	}
	if author != "" {
		if err := set(top, "author", author); err != nil {
			return nil, err
		}
	}
	return json.Marshal(top) // the keys of a map are sorted
}

// addImage writes configuration and manifest of an image.
func addImage(tx *image.Transaction, config []byte, platform *image.Platform, layers []step) (image.Descriptor, error) {
	c, err := addBlob(tx, image.MediaTypeConfig, config)
	if err != nil {
		return image.Descriptor{}, err
	}
	blobs := []image.Descriptor{}
	for _, l := range layers {
		blobs = append(blobs, l.blob)
	}
	manifest, err := json.Marshal(image.Manifest{SchemaVersion: 2, MediaType: image.MediaTypeManifest, Config: c, Layers: blobs})
	if err != nil {
		return image.Descriptor{}, err
	}
	d, err := addBlob(tx, image.MediaTypeManifest, manifest)
	d.Platform = platform
	return d, err
}

func addBlob(tx *image.Transaction, mediaType string, data []byte) (image.Descriptor, error) {
	blob, err := tx.CreateBlob()
	if err != nil {
		return image.Descriptor{}, err
	}
	if _, err := blob.Write(data); err != nil {
		return image.Descriptor{}, fmt.Errorf("write %s: %w", mediaType, err)
	}
	return blob.Seal(mediaType)
}

// platform is that of the base: what is in it runs nowhere else.
func (d document) platform() (*image.Platform, error) {
	p := &image.Platform{}
	for key, into := range map[string]*string{"architecture": &p.Architecture, "os": &p.OS, "variant": &p.Variant} {
		if err := get(d.top, key, into); err != nil {
			return nil, err
		}
	}
	if p.Architecture == "" || p.OS == "" {
		return nil, nil
	}
	return p, nil
}
