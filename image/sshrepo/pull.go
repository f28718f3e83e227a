package sshrepo

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/cocker/cocker/image"
	"github.com/cocker/cocker/image/manifest"
	"github.com/cocker/cocker/image/transfer"
)

// Pull gets an image into the store, under the name that was asked for; one without a
// tag means the tag latest, or else the highest version there. When it returns without an
// error the image survives a power cut; with one, nothing of it is left in the store.
func (c *Client) Pull(ctx context.Context, store *image.Store, ref string, platform transfer.Platform) (*image.Image, error) {
	img, err := c.pull(ctx, store, ref, platform)
	if err = ended(ctx, err); err != nil {
		return nil, fmt.Errorf("pull %s: %w", ref, err)
	}
	return img, nil
}

func (c *Client) pull(ctx context.Context, store *image.Store, ref string, platform transfer.Platform) (*image.Image, error) {
	p, err := c.newPull(ref)
	if err != nil {
		return nil, err
	}
	defer p.close()
	found, err := p.find(ctx, platform)
	if err != nil {
		return nil, err
	}
	full, err := image.StoredName(p.reference.String())
	if err != nil {
		return nil, err
	}
	c.progress(transfer.Event{Kind: transfer.Begun, Text: p.reference.String()})
	f := &transfer.Fetch{Store: store, Image: found, Platform: platform, Parallel: 1, Progress: c.progress, Open: p.open}
	return f.Into(ctx, full)
}

// pull is an image on its way.
type pull struct {
	repository

	reference image.Reference // with the tag that was chosen
	name      string          // there, without the tag
	index     *index
}

func (c *Client) newPull(ref string) (*pull, error) {
	parsed, err := image.ParseReference(ref)
	if err != nil {
		return nil, err
	}
	place, name, err := parsed.Place()
	return &pull{repository: repository{client: c, place: place}, reference: parsed, name: name}, err
}

// find reads the index and the image's documents.
func (p *pull) find(ctx context.Context, platform transfer.Platform) (*transfer.Found, error) {
	conn, err := p.connect(ctx)
	if err != nil {
		return nil, err
	}
	if p.index, err = conn.readIndex(); err != nil {
		return nil, err
	}
	if p.reference.Digest == "" {
		if err := p.choose(); err != nil {
			return nil, err
		}
	}
	identifier := p.reference.Digest
	if identifier == "" {
		identifier = p.reference.Tag
	}
	return transfer.Find(ctx, p, identifier, platform)
}

// choose finds the tag that is meant.
func (p *pull) choose() error {
	tags := slices.Collect(maps.Keys(p.index.named(p.name)))
	if p.reference.Tag == "" {
		p.reference.Tag = image.PreferredTag(tags)
	}
	switch {
	case slices.Contains(tags, p.reference.Tag) && p.reference.Tag != "":
		return nil
	case len(tags) > 0:
		return fmt.Errorf("no such image there: of %d tags the highest is %s", len(tags), image.PreferredTag(tags))
	}
	return fmt.Errorf(`no such image there; "cocker image search %s" lists what there is in its directory %s`, p.place, p.client.directory(p.place))
}

// Manifest implements transfer.Source.
func (p *pull) Manifest(ctx context.Context, identifier string) (*manifest.Document, error) {
	d := image.Descriptor{Digest: identifier}
	if !strings.HasPrefix(identifier, "sha256:") {
		d = p.index.named(p.name)[identifier]
	}
	raw, err := p.Document(ctx, image.Descriptor{Digest: d.Digest})
	if err != nil {
		return nil, fmt.Errorf("its manifest: %w", err)
	}
	return manifest.Parse(raw, d.MediaType)
}

// Document implements transfer.Source. The size of a blob is what the place says: it is
// the digest that is checked.
func (p *pull) Document(ctx context.Context, d image.Descriptor) ([]byte, error) {
	if err := image.CheckDigest(d.Digest); err != nil {
		return nil, err
	}
	conn, err := p.connect(ctx)
	if err != nil {
		return nil, err
	}
	size, err := conn.get(d.Digest, 0)
	if err != nil {
		return nil, err
	}
	if size > manifest.MaxSize {
		_ = conn.close()
		return nil, fmt.Errorf("longer than %d bytes", manifest.MaxSize)
	}
	var data bytes.Buffer
	if _, err := io.CopyN(&data, conn.out, size); err != nil {
		return nil, conn.broken(err)
	}
	if image.DigestOf(data.Bytes()) != d.Digest {
		return nil, fmt.Errorf("%w: wanted %s", transfer.ErrDigest, d.Digest)
	}
	return data.Bytes(), conn.endOfFile()
}

// get asks for a blob from an offset on, and returns the size of the whole.
func (c *connection) get(digest string, offset int64) (int64, error) {
	if err := c.ask("get", hexOf(digest), fmt.Sprint(offset)); err != nil {
		return 0, err
	}
	size, found, err := c.sized()
	if err == nil && !found {
		err = fmt.Errorf("blob %s is not there: the image is incomplete, push it again", transfer.ShortDigest(digest))
	}
	return size, err
}

// open implements transfer.Fetch. There is only one place.
func (p *pull) open(ctx context.Context, blob image.Descriptor, try int) (io.ReadCloser, string) {
	if try > 0 {
		return nil, ""
	}
	return &download{ctx: ctx, pull: p, blob: blob}, p.place.String()
}

// download reads a layer, and goes on where it was when the connection breaks off.
type download struct {
	ctx    context.Context
	pull   *pull
	blob   image.Descriptor
	offset int64       // of what has been read
	conn   *connection // that sends it; nil: it is not asked yet
	from   int64       // where that began
	failed int         // times in a row, without getting much further
}

// progressed is how much makes a connection that broke off count as a good one.
const progressed = 1 << 20

func (d *download) Read(p []byte) (int, error) {
	for d.offset < d.blob.Size {
		n, err := d.read(p[:min(int64(len(p)), d.blob.Size-d.offset)])
		if err == nil {
			return n, nil
		}
		if d.conn != nil && d.offset-d.from >= progressed {
			d.failed = 0
		}
		d.conn = nil
		d.failed++
		if !d.pull.again(d.ctx, d.failed, err, fmt.Sprintf(" from byte %d of %d", d.offset, d.blob.Size)) {
			return 0, ended(d.ctx, err)
		}
	}
	return 0, io.EOF
}

func (d *download) read(p []byte) (int, error) {
	if d.conn == nil {
		if err := d.begin(); err != nil {
			return 0, err
		}
	}
	n, err := d.conn.out.Read(p)
	if n == 0 {
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return 0, d.conn.broken(err)
	}
	d.offset += int64(n)
	d.pull.client.progress(transfer.Event{Kind: transfer.Moving, Digest: d.blob.Digest, Done: d.offset, Total: d.blob.Size})
	if d.offset == d.blob.Size {
		_ = d.conn.endOfFile() // all of it is here; what follows on a bad connection is asked for on another
	}
	return n, nil
}

func (d *download) begin() error {
	conn, err := d.pull.connect(d.ctx)
	if err != nil {
		return err
	}
	size, err := conn.get(d.blob.Digest, d.offset)
	if err != nil {
		return err
	}
	if size != d.blob.Size {
		_ = conn.close()
		return fmt.Errorf("it has %d bytes there, and %d by the manifest: push the image again", size, d.blob.Size)
	}
	d.conn, d.from = conn, d.offset
	return nil
}

// Close leaves the connection in a state to be used on.
func (d *download) Close() error {
	if d.conn != nil && d.offset < d.blob.Size {
		d.pull.close() // the rest would still come
	}
	return nil
}
