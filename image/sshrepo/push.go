package sshrepo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/cocker/cocker/image"
	"github.com/cocker/cocker/image/transfer"
)

// Push gives an image of the store to a directory on another machine, under the name
// ref, or, if that is "", under its own. Blobs that are there are not sent again. The
// index comes last, so a push that breaks off leaves nothing there that can be seen.
func (c *Client) Push(ctx context.Context, store *image.Store, stored, ref string) (*transfer.Pushed, error) {
	content, err := store.Open(stored)
	if err != nil {
		return nil, fmt.Errorf("push %w", err)
	}
	if ref == "" {
		ref = content.Reference
	}
	p, err := c.push(ctx, content, ref)
	err = errors.Join(err, content.Close())
	if err = ended(ctx, err); err != nil {
		return nil, fmt.Errorf("push %s to %s: %w", stored, ref, err)
	}
	return p, nil
}

func (c *Client) push(ctx context.Context, content *image.Content, ref string) (*transfer.Pushed, error) {
	full, err := image.FullName(ref)
	if err != nil {
		return nil, err
	}
	parsed, err := image.ParseReference(full)
	if err != nil {
		return nil, err
	}
	place, name, err := parsed.Place()
	if err != nil {
		return nil, err
	}
	r := &repository{client: c, place: place}
	defer r.close()
	u := &upload{repository: r, content: content, name: name + ":" + parsed.Tag, full: full}
	for try := 1; ; try++ {
		err := u.run(ctx)
		if err == nil {
			return &transfer.Pushed{Reference: full, Digest: content.Manifest.Digest}, nil
		}
		if !r.again(ctx, try, err, ", with what is not there yet") {
			return nil, err
		}
	}
}

// upload is an image on its way.
type upload struct {
	*repository

	content *image.Content
	name    string // there
	full    string
	begun   bool
}

// part is a blob to be sent.
type part struct {
	image.Descriptor

	source io.ReaderAt
}

// parts are all blobs of the image, the manifest last.
func (u *upload) parts() []part {
	var all []part
	for _, l := range u.content.Layers {
		all = append(all, part{l.Descriptor, l.File})
	}
	for _, document := range [][]byte{u.content.Config, u.content.Raw} {
		d := image.Descriptor{Digest: image.DigestOf(document), Size: int64(len(document))}
		all = append(all, part{d, bytes.NewReader(document)})
	}
	return all
}

func (u *upload) run(ctx context.Context) error {
	conn, err := u.connect(ctx)
	if err != nil {
		return err
	}
	if err := conn.ask("begin"); err != nil {
		return err
	}
	if err := conn.expect("ok"); err != nil {
		return err
	}
	if !u.begun {
		u.begun = true
		u.client.progress(transfer.Event{Kind: transfer.Begun, Text: fmt.Sprintf("%s to %s", u.content.Reference, u.full)})
	}
	there, err := conn.present(u.parts())
	if err != nil {
		return err
	}
	for i, p := range u.parts() {
		if there[i] {
			if i < len(u.content.Layers) {
				u.client.progress(transfer.Event{Kind: transfer.Present, Digest: p.Digest, Total: p.Size, Text: "is there already"})
			}
			continue
		}
		if err := u.send(conn, p, i < len(u.content.Layers)); err != nil {
			return fmt.Errorf("blob %s: %w", transfer.ShortDigest(p.Digest), err)
		}
	}
	return u.publish(ctx, conn)
}

// present asks for all parts at once which are there: what a stat needs to be told is
// short, so that nobody waits for anybody.
func (c *connection) present(parts []part) ([]bool, error) {
	for _, p := range parts {
		if err := c.ask("stat", hexOf(p.Digest)); err != nil {
			return nil, err
		}
	}
	there := make([]bool, len(parts))
	for i, p := range parts {
		size, found, err := c.sized()
		if err != nil {
			return nil, err
		}
		there[i] = found && size == p.Size // one of another size is damaged, and replaced
	}
	return there, nil
}

func hexOf(digest string) string { return strings.TrimPrefix(digest, "sha256:") }

// send sends one blob. Only layers are worth to be shown.
func (u *upload) send(conn *connection, p part, shown bool) error {
	source := &watched{ctx: conn.ctx, source: io.NewSectionReader(p.source, 0, p.Size)}
	tell := func(kind transfer.Kind, done int64) {
		if shown {
			u.client.progress(transfer.Event{Kind: kind, Digest: p.Digest, Done: done, Total: p.Size})
		}
	}
	source.told = func(done int64) { tell(transfer.Moving, done) }
	tell(transfer.Started, 0)
	answer, err := conn.send(source, p.Size, "put", hexOf(p.Digest))
	switch {
	case err != nil:
		return err
	case answer != "ok" && answer != "here": // here: somebody else was faster
		return conn.confused(answer)
	}
	tell(transfer.Finished, p.Size)
	return nil
}

// watched tells how far a reader is, and ends when its context does.
type watched struct {
	ctx    context.Context
	source io.Reader
	done   int64
	told   func(done int64)
}

func (w *watched) Read(p []byte) (int, error) {
	if err := context.Cause(w.ctx); err != nil {
		return 0, err
	}
	n, err := w.source.Read(p)
	w.done += int64(n)
	w.told(w.done)
	return n, err
}

// races is how often somebody else may replace the index while a new one is made.
const races = 50

// publish puts the image into the index.
func (u *upload) publish(ctx context.Context, conn *connection) error {
	for range races {
		idx, err := conn.readIndex()
		if err != nil {
			return err
		}
		m := u.content.Manifest // without what the store here has noted about it
		idx.put(u.name, image.Descriptor{MediaType: m.MediaType, Digest: m.Digest, Size: m.Size, Platform: m.Platform})
		data, err := idx.encode()
		if err != nil {
			return err
		}
		answer, err := conn.send(bytes.NewReader(data), int64(len(data)), "swap", idx.digest)
		switch {
		case err != nil:
			return fmt.Errorf("its index.json: %w", err)
		case answer == "ok":
			return nil
		case answer != "changed":
			return conn.confused(answer)
		}
		if err := pause(ctx, rand.N(200*time.Millisecond)); err != nil {
			return err
		}
	}
	return fmt.Errorf("somebody else changed its index.json %d times in between; try again", races)
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
