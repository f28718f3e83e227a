package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// maxAnswer bounds what is read into memory of anything that is no blob, tokens
// and error texts say; manifests have the limit that registries have, 4 MiB.
const maxAnswer = 8 << 20

// errPlain says that something would have gone over the network in the clear.
var errPlain = errors.New("not over HTTP without TLS")

// errAsked says that a question that the library asks twice was not asked again.
var errAsked = errors.New("it was asked already")

// guard is the transport of one endpoint, below everything else. It decides whether
// TLS is spoken, whoever asks for what: a redirect, the realm of a token, the library,
// which would go on without TLS on addresses that it takes for private.
type guard struct {
	endpoint endpoint
	plain    bool // the endpoint is spoken to without TLS
	inner    *http.Transport

	mu      sync.Mutex
	first   error // what went wrong first, save what the guard refused
	reached bool  // somebody has answered
}

// newGuard limits each step of a request but not its whole, as a layer may take hours.
func newGuard(e endpoint, plain bool, dial dialFunc) (*guard, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: e.insecure} //nolint:gosec // by registries.toml only
	if e.ca != "" {
		pool, err := certificates(e.ca)
		if err != nil {
			return nil, err
		}
		conf.RootCAs = pool
	}
	return &guard{endpoint: e, plain: plain, inner: &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           dial,
		TLSClientConfig:       conf,
		TLSHandshakeTimeout:   15 * time.Second,
		ResponseHeaderTimeout: time.Minute,
		ExpectContinueTimeout: time.Second,
		IdleConnTimeout:       90 * time.Second,
		MaxIdleConnsPerHost:   8,
		ForceAttemptHTTP2:     true,
		DisableCompression:    true, // a digest is that of the bytes as they are stored
	}}, nil
}

type dialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

func newDial() dialFunc {
	return (&net.Dialer{Timeout: 15 * time.Second, KeepAlive: 30 * time.Second}).DialContext
}

// certificates are the system's and those of a file.
func certificates(path string) (*x509.CertPool, error) {
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool() // a system without any
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("certificates of registries.toml: %w", err)
	}
	if !pool.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("certificates of registries.toml: %s has none in PEM form", path)
	}
	return pool, nil
}

// RoundTrip implements http.RoundTripper.
func (g *guard) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := g.send(req)
	g.note(err)
	if err != nil {
		return nil, err
	}
	if !isBlob(req.Context()) {
		resp.Body = &bounded{ReadCloser: resp.Body, left: maxAnswer}
	}
	return resp, nil
}

func (g *guard) note(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case err == nil:
		g.reached = true
	case g.first == nil && !errors.Is(err, errPlain) && !errors.Is(err, errAsked):
		g.first = err
	}
}

// failed says whether nobody has answered so far.
func (g *guard) failed() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.first != nil && !g.reached
}

func (g *guard) send(req *http.Request) (*http.Response, error) {
	own := req.URL.Host == g.endpoint.host
	switch {
	case own && g.plain && req.URL.Scheme == "https": // the library always asks so first
		req = req.Clone(req.Context())
		req.URL.Scheme = "http"
	case own && g.plain && g.failed(): // and without TLS next, which was what failed
		return nil, fmt.Errorf("%s: %w", req.URL.Host, errAsked)
	case req.URL.Scheme == "http" && (own && !g.plain || !g.endpoint.mayBePlain()):
		return nil, fmt.Errorf("%s: %w", req.URL.Host, errPlain)
	}
	return g.inner.RoundTrip(req)
}

// cause is what is to be told of an error: when TLS fails, or only takes its time, the
// library asks for HTTP too, and reports what became of both.
func (g *guard) cause(err error) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.first != nil && (errors.Is(err, errPlain) || errors.Is(err, errAsked)) {
		return g.first
	}
	return err
}

// bounded is a body that ends with an error when it is too long.
type bounded struct {
	io.ReadCloser

	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, fmt.Errorf("the registry's answer is longer than %d bytes", maxAnswer)
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}
