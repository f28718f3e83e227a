package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cocker/cocker/image"
)

// Format is a way to write images.
type Format string

// The formats.
const (
	OCIArchive    Format = "oci-archive"    // the tar of a layout; "docker load" reads it too
	DockerArchive Format = "docker-archive" // as "docker save" wrote it before version 25, with uncompressed layers
	OCIDir        Format = "oci-dir"        // a layout in a directory
	Tar           Format = "tar"            // the files of one image, without what it says about itself
	Dir           Format = "dir"            // the same in a directory
)

// Formats lists them, the default first.
func Formats() []Format { return []Format{OCIArchive, DockerArchive, OCIDir, Tar, Dir} }

// InDirectory says whether a format is a directory, and not a file.
func (f Format) InDirectory() bool { return f == OCIDir || f == Dir }

// Export writes images as one archive. The same images give the same bytes. After an
// error what was written is of no use.
func Export(ctx context.Context, store *image.Store, refs []string, w io.Writer, format Format, progress func(bytes int64)) error {
	if format == Tar {
		return exportTree(ctx, store, refs, w, progress)
	}
	out := &tarSink{tar: tar.NewWriter(w)}
	if err := export(ctx, store, refs, out, format, progress); err != nil {
		return err
	}
	return out.tar.Close()
}

// sink is where the files of an archive go.
type sink interface {
	add(name string, size int64, content io.Reader) error
}

type tarSink struct {
	tar *tar.Writer
}

func (s *tarSink) add(name string, size int64, content io.Reader) error {
	hdr := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644, ModTime: time.Unix(0, 0)}
	if err := s.tar.WriteHeader(hdr); err != nil {
		return err
	}
	_, err := io.CopyBuffer(onlyWriter{s.tar}, content, make([]byte, 256<<10))
	return err
}

// onlyWriter hides ReadFrom, which would copy in small pieces.
type onlyWriter struct{ io.Writer }

// exporter writes the files of an archive, each of them once.
type exporter struct {
	ctx      context.Context
	out      sink
	written  map[string]bool
	n        int64
	progress func(int64)
}

func export(ctx context.Context, store *image.Store, refs []string, out sink, format Format, progress func(int64)) (err error) {
	var all []*image.Content
	defer func() {
		for _, c := range all {
			err = errors.Join(err, c.Close())
		}
	}()
	for _, ref := range refs {
		c, err := store.Open(ref)
		if err != nil {
			return err
		}
		all = append(all, c)
	}
	e := &exporter{ctx: ctx, out: out, written: map[string]bool{}, progress: progress}
	if format == DockerArchive {
		err = e.saved(all)
	} else {
		err = e.layout(all, format)
	}
	if cause := context.Cause(ctx); cause != nil && err != nil {
		return cause
	}
	return err
}

// document writes a small file that is in memory.
func (e *exporter) document(name string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return e.bytes(name, data)
}

func (e *exporter) bytes(name string, data []byte) error {
	return e.file(name, int64(len(data)), bytes.NewReader(data), "")
}

// file writes a file, and checks that it has the digest that is known of it.
func (e *exporter) file(name string, size int64, content io.Reader, digest string) error {
	if e.written[name] {
		return nil
	}
	e.written[name] = true
	sum := sha256.New()
	if err := e.out.add(name, size, io.TeeReader(&exported{content, e}, sum)); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if got := "sha256:" + hex.EncodeToString(sum.Sum(nil)); digest != "" && got != digest {
		return fmt.Errorf("%s is damaged in the store: %w", digest, compare(got, digest))
	}
	return nil
}

// exported tells how much has been written.
type exported struct {
	io.Reader

	to *exporter
}

func (r *exported) Read(p []byte) (int, error) {
	if err := r.to.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := r.Reader.Read(p)
	r.to.n += int64(n)
	if r.to.progress != nil {
		r.to.progress(r.to.n)
	}
	return n, err
}

// layout writes an OCI image layout. manifest.json makes one in a tar readable for
// "docker load" of all versions: it takes compressed layers, wherever they are.
func (e *exporter) layout(all []*image.Content, format Format) error {
	if err := e.bytes("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)); err != nil {
		return err
	}
	index := layoutIndex{SchemaVersion: 2, MediaType: image.MediaTypeIndex}
	saved := &savedList{}
	for _, c := range all {
		m, err := manifestOf(c)
		if err != nil {
			return err
		}
		index.Manifests = append(index.Manifests, describe(c))
		i := savedImage{Config: blobPath(m.Config.Digest)}
		for _, l := range m.Layers {
			i.Layers = append(i.Layers, blobPath(l.Digest))
		}
		saved.add(i, c.Reference)
	}
	if err := e.document("index.json", index); err != nil {
		return err
	}
	if format == OCIArchive {
		if err := e.document(savedName, saved.images); err != nil {
			return err
		}
	}
	for _, c := range all {
		if err := e.blobs(c); err != nil {
			return err
		}
	}
	return nil
}

type layoutIndex struct {
	SchemaVersion int                `json:"schemaVersion"`
	MediaType     string             `json:"mediaType"`
	Manifests     []image.Descriptor `json:"manifests"`
}

func manifestOf(c *image.Content) (m image.Manifest, err error) {
	if err := json.Unmarshal(c.Raw, &m); err != nil {
		return m, fmt.Errorf("image %s: %w", c.Reference, err)
	}
	return m, nil
}

// describe is an image's entry in index.json.
func describe(c *image.Content) image.Descriptor {
	d := image.Descriptor{MediaType: c.Manifest.MediaType, Digest: c.Manifest.Digest, Size: c.Manifest.Size, Platform: c.Manifest.Platform}
	if c.Reference != "" {
		d = d.Named(c.Reference)
	}
	return d
}

func (e *exporter) blobs(c *image.Content) error {
	if err := e.bytes(blobPath(c.Manifest.Digest), c.Raw); err != nil {
		return err
	}
	if err := e.bytes(blobPath(image.DigestOf(c.Config)), c.Config); err != nil {
		return err
	}
	for _, l := range c.Layers {
		if err := e.file(blobPath(l.Digest), l.Size, io.NewSectionReader(l.File, 0, l.Size), l.Digest); err != nil {
			return err
		}
	}
	return nil
}
