package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// patience says how often something is tried, and how long to wait in between.
type patience struct {
	tries int
	wait  func(ctx context.Context, d time.Duration) error
}

const (
	firstWait = 500 * time.Millisecond
	maxWait   = 30 * time.Second // longer than that a registry's Retry-After is not waited for
)

// pause waits before the try after number n, counted from 0. Waits double, and
// differ by chance: many machines may have been turned away at the same moment.
func (p patience) pause(ctx context.Context, n int, wanted time.Duration) error {
	d := min(firstWait<<min(n, 10), maxWait)
	d = d/2 + rand.N(d/2+1) //nolint:gosec // no secret
	return p.wait(ctx, max(d, wanted))
}

// sleep is what patience waits with.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// retrier repeats requests that failed for a reason that passes.
type retrier struct {
	patience

	inner   http.RoundTripper
	told    func(text string) // of each repetition
	reached atomic.Bool       // somebody has answered
}

// RoundTrip implements http.RoundTripper.
func (r *retrier) RoundTrip(req *http.Request) (*http.Response, error) {
	for n := 0; ; n++ {
		resp, err := r.inner.RoundTrip(req)
		if err == nil {
			r.reached.Store(true)
		}
		wanted, again := transient(resp, err)
		if errors.Is(err, syscall.ECONNREFUSED) && !r.reached.Load() {
			again = false // a wrong port, most often: there is nothing to wait for
		}
		if !again || n+1 >= r.tries || req.Context().Err() != nil || !rewind(req) {
			return resp, err
		}
		r.told(reason(resp, err))
		if resp != nil {
			_, _ = io.CopyN(io.Discard, resp.Body, maxAnswer) // so that the connection can be used again
			_ = resp.Body.Close()
		}
		if err := r.pause(req.Context(), n, wanted); err != nil {
			return nil, err
		}
	}
}

// rewind makes a request ready to be sent once more. A part of a blob must not be:
// a registry appends what it gets, so the library starts the whole upload anew.
func rewind(req *http.Request) bool {
	if req.Body == nil || req.Body == http.NoBody {
		return true
	}
	if req.GetBody == nil || req.Method != http.MethodPut || !strings.Contains(req.URL.Path, "/manifests/") {
		return false
	}
	body, err := req.GetBody()
	req.Body = body
	return err == nil
}

// transient says whether to try again, and not before when.
func transient(resp *http.Response, err error) (wanted time.Duration, again bool) {
	if err != nil {
		return 0, passes(err)
	}
	switch resp.StatusCode {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		wanted = retryAfter(resp.Header.Get("Retry-After"), time.Now())
		return wanted, wanted <= maxWait
	}
	return 0, false
}

// retryAfter reads the header in both of its forms: RFC 9110, section 10.2.3.
func retryAfter(text string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(at.Sub(now), 0)
	}
	return 0
}

// passes says whether an error of the network may be gone the next time.
func passes(err error) bool {
	var (
		dns         *net.DNSError
		certificate *tls.CertificateVerificationError
		authority   x509.UnknownAuthorityError
		header      tls.RecordHeaderError
	)
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, errPlain), errors.Is(err, errAsked):
		return false
	case errors.As(err, &certificate), errors.As(err, &authority), errors.As(err, &header):
		return false
	case errors.As(err, &dns):
		return !dns.IsNotFound
	}
	var network net.Error
	return strings.Contains(err.Error(), closedIdle) || errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// closedIdle is the text of an error that net/http has no name for: the server closed a
// connection that was kept, just when a request with a body was to use it again.
const closedIdle = "http: server closed idle connection"

// passesUpload is passes for the library, which begins the upload of a blob anew then.
func passesUpload(err error) bool {
	var answer *transport.Error
	if errors.As(err, &answer) {
		return answer.Temporary()
	}
	return err != nil && passes(err)
}

func reason(resp *http.Response, err error) string {
	if err != nil {
		return err.Error()
	}
	return resp.Status
}
