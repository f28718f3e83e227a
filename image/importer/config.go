package importer

import (
	"encoding/json"
	"fmt"
	"path"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/cocker/cocker/image"
)

// check refuses what no runtime could make sense of.
func (o Options) check() error {
	for _, e := range o.Environment {
		if i := strings.IndexByte(e, '='); i < 1 || strings.IndexByte(e, 0) >= 0 {
			return fmt.Errorf("environment %q: wanted NAME=value", e)
		}
	}
	if o.WorkDir != "" && !path.IsAbs(o.WorkDir) {
		return fmt.Errorf("working directory %q: wanted an absolute path", o.WorkDir)
	}
	for _, p := range o.ExposedPorts {
		if _, err := portKey(p); err != nil {
			return err
		}
	}
	return nil
}

// portKey completes "80" to "80/tcp", as image configurations have it.
func portKey(text string) (string, error) {
	number, protocol, found := strings.Cut(text, "/")
	if !found {
		protocol = "tcp"
	}
	n, err := strconv.ParseUint(number, 10, 16)
	if err != nil || n == 0 || (protocol != "tcp" && protocol != "udp" && protocol != "sctp") {
		return "", fmt.Errorf("port %q: wanted 1 to 65535, then nothing, /tcp, /udp or /sctp", text)
	}
	return strconv.FormatUint(n, 10) + "/" + protocol, nil
}

// created is the time that goes into the image. SOURCE_DATE_EPOCH, in seconds
// since 1970, is how reproducible builds fix it (reproducible-builds.org).
func (o Options) created(epoch string) (time.Time, error) {
	if !o.Created.IsZero() {
		return o.Created.UTC(), nil
	}
	if epoch == "" {
		return time.Now().UTC(), nil
	}
	seconds, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil || seconds < 0 {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH=%q: wanted seconds since 1970", epoch)
	}
	return time.Unix(seconds, 0).UTC(), nil
}

// addDocuments writes configuration and manifest, and returns what points to
// the latter.
func addDocuments(tx *image.Transaction, l Added, created time.Time, o Options) (image.Descriptor, error) {
	config, err := addJSON(tx, image.MediaTypeConfig, configFile(l, created, o))
	if err != nil {
		return image.Descriptor{}, err
	}
	d, err := addJSON(tx, image.MediaTypeManifest, image.Manifest{
		SchemaVersion: 2,
		MediaType:     image.MediaTypeManifest,
		Config:        config,
		Layers:        []image.Descriptor{l.Blob},
	})
	d.Platform = &image.Platform{Architecture: runtime.GOARCH, OS: "linux"}
	return d, err
}

func configFile(l Added, created time.Time, o Options) image.ConfigFile {
	var ports map[string]struct{}
	for _, p := range o.ExposedPorts {
		if ports == nil {
			ports = map[string]struct{}{}
		}
		key, _ := portKey(p) // check has seen it
		ports[key] = struct{}{}
	}
	return image.ConfigFile{
		Created:      &created,
		Architecture: runtime.GOARCH,
		OS:           "linux",
		Config: image.RunConfig{
			User: o.User, ExposedPorts: ports, Env: o.Environment, Entrypoint: o.Entrypoint, Cmd: o.Command,
			WorkingDir: o.WorkDir, Labels: o.Labels, StopSignal: o.StopSignal,
		},
		RootFS:  image.RootFS{Type: "layers", DiffIDs: []string{l.DiffID}},
		History: []image.History{{Created: &created, CreatedBy: "cocker image import"}},
	}
}

func addJSON(tx *image.Transaction, mediaType string, document any) (image.Descriptor, error) {
	data, err := json.Marshal(document)
	if err != nil {
		return image.Descriptor{}, err
	}
	blob, err := tx.CreateBlob()
	if err != nil {
		return image.Descriptor{}, err
	}
	if _, err := blob.Write(data); err != nil {
		return image.Descriptor{}, fmt.Errorf("write %s: %w", mediaType, err)
	}
	return blob.Seal(mediaType)
}
