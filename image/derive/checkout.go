package derive

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/image"
	"github.com/cocker/cocker/image/pack"
	"github.com/cocker/cocker/image/unpack"
)

// Opened is an image that is taken apart: its topmost layer, and what that stands on.
type Opened struct {
	base *Base
	name string // of the repository
	top  string // the directory of the topmost layer
}

// TakeApart reads an image. One without a name gets the other one.
func TakeApart(store *image.Store, ref, other string) (*Opened, error) {
	base, err := Load(store, []string{ref})
	if err != nil {
		return nil, err
	}
	if len(base.Dirs) == 0 {
		return nil, fmt.Errorf("image %q: it has no layer", ref)
	}
	img, err := store.Resolve(ref)
	if err != nil {
		return nil, err
	}
	o := &Opened{base: base, name: repository(img.Reference)}
	if o.name == "" {
		o.name = repository(other)
	}
	o.top = base.withoutTop()
	return o, nil
}

// AddBase adds the image without its topmost layer to the store, as NAME@DIGEST. The
// same image always gives the same one; added is false if it was there already. Of an
// image of one layer an empty one is left: overlayfs needs a lower directory.
func (o *Opened) AddBase(ctx context.Context, store *image.Store) (name string, added bool, err error) {
	tx, err := store.Begin()
	if err != nil {
		return "", false, err
	}
	defer func() { err = errors.Join(err, tx.Close()) }()
	layers, history := o.base.layers, o.base.history
	for _, l := range layers {
		tx.Keep(image.Layer{Blob: l.blob.Digest, DiffID: l.diffID})
	}
	if len(layers) == 0 {
		empty, err := o.addEmpty(ctx, tx)
		if err != nil {
			return "", false, err
		}
		layers = []step{empty}
		history = append(history, image.History{CreatedBy: "cocker checkout"})
	}
	manifest, err := o.addDocuments(tx, layers, history)
	if err != nil {
		return "", false, err
	}
	name = o.name + "@" + manifest.Digest
	if there, err := store.Has(name, manifest.Digest); err != nil || there {
		return name, false, err
	}
	return name, true, tx.Commit(name, manifest.Base())
}

func (o *Opened) addDocuments(tx *image.Transaction, layers []step, history []image.History) (image.Descriptor, error) {
	platform, err := o.base.config.platform()
	if err != nil {
		return image.Descriptor{}, err
	}
	var created time.Time // the image's own, so that the digest is always the same
	if err := get(o.base.config.top, "created", &created); err != nil {
		return image.Descriptor{}, err
	}
	config, err := o.base.config.encode(layers, history, created, "")
	if err != nil {
		return image.Descriptor{}, fmt.Errorf("encode configuration: %w", err)
	}
	return addImage(tx, config, platform, layers)
}

// addEmpty adds a layer that has only a root directory, with the top's owner and mode.
func (o *Opened) addEmpty(ctx context.Context, tx *image.Transaction) (step, error) {
	var st unix.Stat_t
	if err := unix.Stat(o.top, &st); err != nil {
		return step{}, fmt.Errorf("stat %q: %w", o.top, err)
	}
	c := &commit{tx: tx}
	a, err := c.addLayer(ctx, func(w io.Writer) error {
		t := tar.NewWriter(w)
		err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "./", Mode: int64(st.Mode & 0o7777),
			Uid: int(st.Uid), Gid: int(st.Gid), ModTime: time.Unix(0, 0), Format: tar.FormatPAX})
		return errors.Join(err, t.Close())
	})
	return step{a.Blob, a.DiffID}, err
}

// CopyTop copies the topmost layer into an empty directory, which is a writable
// layer on the base then: whiteouts, opaque directories, hard links, owners, times
// and the attributes of unpack.KeepAttr stay. Nothing is synced.
func (o *Opened) CopyTop(ctx context.Context, to string) error {
	r, w := io.Pipe()
	packed := make(chan error, 1)
	go func() {
		big := bufio.NewWriterSize(w, 256<<10)
		err := pack.Dir(ctx, big, o.top, nil)
		if err == nil {
			err = big.Flush()
		}
		_ = w.CloseWithError(err) // it never fails
		packed <- err
	}()
	_, err := unpack.Tar(to, r, unpack.Options{})
	_ = r.Close() // it never fails
	if failure := <-packed; failure != nil && !errors.Is(failure, io.ErrClosedPipe) {
		err = failure
	}
	if cause := context.Cause(ctx); cause != nil && err != nil {
		err = cause
	}
	if err != nil {
		return fmt.Errorf("copy layer %s: %w", o.top, err)
	}
	return nil
}
