package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/cocker/cocker/image"
	"github.com/cocker/cocker/image/transfer"
)

// download reads a blob of known size, from the first of several places that has
// it. When a connection breaks off or stalls it goes on where it was, at the same
// place a few times, then at the next: whoever reads it checks the digest.
type download struct {
	ctx    context.Context
	pull   *pull
	blob   image.Descriptor
	places []*lazySession
	offset int64 // of what has been read

	body   io.ReadCloser
	from   int64 // where body begins
	stop   context.CancelCauseFunc
	idle   *time.Timer
	failed int // times in a row, without getting much further
}

const (
	// progressed is how much makes a connection that broke off count as a good one.
	progressed = 256 << 10
	// stubborn is how often a place may break off before the next one is asked.
	stubborn = 3
)

var errStalled = errors.New("nothing came in for too long")

func (d *download) Read(p []byte) (int, error) {
	for d.offset < d.blob.Size {
		if d.body == nil {
			if err := d.connect(); err != nil {
				return 0, err
			}
		}
		d.idle.Reset(d.pull.client.idle)
		n, err := d.body.Read(p[:min(int64(len(p)), d.blob.Size-d.offset)])
		d.idle.Stop() // while the caller unpacks, nothing need come in
		if d.offset += int64(n); n > 0 {
			d.pull.moved(d.blob, d.offset)
			return n, nil
		}
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			if err := d.broken(err); err != nil {
				return 0, err
			}
		}
	}
	return 0, io.EOF
}

// Close ends the connection; a later read would make a new one.
func (d *download) Close() error {
	if d.body != nil {
		d.idle.Stop()
		d.stop(nil)
		_ = d.body.Close() // what it says of its end is of no interest
		d.body = nil
	}
	return nil
}

// broken decides what to do about a connection that broke off.
func (d *download) broken(err error) error {
	if cause := context.Cause(d.ctx); cause != nil {
		return cause
	}
	if d.offset-d.from >= progressed {
		d.failed = 0
	}
	_ = d.Close()
	n := d.failed
	if d.failed++; d.failed >= stubborn {
		d.failed = 0
		if d.places = d.places[1:]; len(d.places) == 0 {
			return fmt.Errorf("broke off at byte %d of %d, again and again: %w", d.offset, d.blob.Size, short(err))
		}
	}
	d.pull.client.note(fmt.Sprintf("%s broke off at byte %d of %d (%v); going on from there", transfer.ShortDigest(d.blob.Digest), d.offset, d.blob.Size, short(err)))
	return d.pull.client.patience.pause(d.ctx, n, 0)
}

// connect finds a place that has the blob.
func (d *download) connect() error {
	var errs []error
	for len(d.places) > 0 {
		err := d.request(d.places[0])
		if err == nil {
			return nil
		}
		if cause := context.Cause(d.ctx); cause != nil {
			return cause
		}
		errs = append(errs, fmt.Errorf("%s: %w", d.places[0].endpoint, err))
		d.places = d.places[1:]
	}
	return errors.Join(errs...)
}

func (d *download) request(place *lazySession) (err error) {
	ctx, stop := context.WithCancelCause(forBlob(d.ctx))
	defer func() {
		if err != nil {
			stop(nil)
		}
	}()
	s, err := place.open(d.ctx, d.pull.client, transport.PullScope)
	if err != nil {
		return err
	}
	header := http.Header{}
	if d.offset > 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-%d", d.offset, d.blob.Size-1))
	}
	resp, err := s.get(ctx, s.url("blobs", d.blob.Digest), header, http.StatusOK, http.StatusPartialContent)
	if statusOf(err) == http.StatusRequestedRangeNotSatisfiable {
		resp, err = s.get(ctx, s.url("blobs", d.blob.Digest), nil, http.StatusOK)
	}
	if err != nil {
		return err
	}
	d.body, d.from, d.stop = &stallReader{resp.Body, ctx}, d.offset, stop
	d.idle = time.AfterFunc(d.pull.client.idle, func() { stop(errStalled) })
	if err := d.skip(resp); err != nil {
		_ = d.Close()
		return err
	}
	return nil
}

// skip passes over what has been read before, at a place that knows no ranges.
func (d *download) skip(resp *http.Response) error {
	if resp.StatusCode == http.StatusPartialContent {
		wanted := "bytes " + strconv.FormatInt(d.offset, 10) + "-"
		if got := resp.Header.Get("Content-Range"); !strings.HasPrefix(got, wanted) {
			return fmt.Errorf("it was asked for %s and sent %q", wanted, got)
		}
		return nil
	}
	d.idle.Reset(d.pull.client.idle + time.Duration(d.offset>>20)*time.Second) // 1 MiB/s at least
	_, err := io.CopyN(io.Discard, d.body, d.offset)
	return err
}

// stallReader tells why its context was cancelled.
type stallReader struct {
	io.ReadCloser

	ctx context.Context
}

func (r *stallReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if cause := context.Cause(r.ctx); err != nil && cause != nil {
		err = cause
	}
	return n, err
}
