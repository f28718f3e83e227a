package registry

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"syscall"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// session is an endpoint that has been talked to: the client knows how to
// authenticate there.
type session struct {
	endpoint
	client    *http.Client
	guard     *guard
	transport http.RoundTripper
	scheme    string
	auth      credentials
}

// lazySession opens an endpoint when it is needed first.
type lazySession struct {
	endpoint

	once sync.Once
	s    *session
	err  error
}

// open asks for what a scope of the repository allows.
func (l *lazySession) open(ctx context.Context, c *Client, scope string) (*session, error) {
	return l.openFor(ctx, c, "repository:"+l.endpoint.repository+":"+scope)
}

// openFor asks for a scope as tokens have it.
func (l *lazySession) openFor(ctx context.Context, c *Client, scope string) (*session, error) {
	l.once.Do(func() { l.s, l.err = c.open(ctx, l.endpoint, scope) })
	return l.s, l.err
}

// close ends the connections that are kept for another request.
func (l *lazySession) close() {
	if l.s != nil {
		l.s.guard.inner.CloseIdleConnections()
	}
}

// open asks an endpoint how to authenticate, and does. One that may be without TLS
// is asked without if it has none.
func (c *Client) open(ctx context.Context, e endpoint, scope string) (*session, error) {
	s, err := c.openAs(ctx, e, e.plain, scope)
	if err != nil && !e.plain && e.mayBePlain() && hasNoTLS(err) {
		return c.openAs(ctx, e, true, scope)
	}
	return s, err
}

// hasNoTLS says whether nothing at an address speaks TLS. A certificate that does
// not hold is no reason to do without.
func hasNoTLS(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || answersPlain(err)
}

func answersPlain(err error) bool {
	var header tls.RecordHeaderError
	return errors.As(err, &header)
}

func (c *Client) openAs(ctx context.Context, e endpoint, plain bool, scope string) (*session, error) {
	g, err := newGuard(e, plain, c.dial)
	if err != nil {
		return nil, err
	}
	s := &session{endpoint: e, guard: g}
	if s.auth, err = lookUp(c.authFiles, e.host, e.repository); err != nil {
		return nil, err
	}
	repo, err := e.target()
	if err != nil {
		return nil, err
	}
	p := c.patience
	if e.mirrorOf != "" {
		p.tries = min(p.tries, 2) // there is another place to ask
	}
	base := transport.NewUserAgent(&retrier{patience: p, inner: g, told: c.retried(e)}, "cocker/"+c.version)
	s.transport, err = transport.NewWithContext(ctx, repo.Registry, s.auth, base, []string{scope})
	if err != nil {
		g.inner.CloseIdleConnections()
		return nil, s.explain(g.cause(err))
	}
	s.client = &http.Client{Transport: s.transport, CheckRedirect: checkRedirect}
	s.scheme = "https" // the transport makes it what the registry speaks
	return s, nil
}

// checkRedirect is the library's limit, with words.
func checkRedirect(_ *http.Request, via []*http.Request) error {
	if len(via) >= 10 {
		return errors.New("redirected ten times")
	}
	return nil
}

// url is an address below the repository.
func (s *session) url(kind, identifier string) string {
	u := s.root()
	u.Path += s.repository + "/" + kind + "/" + identifier
	if s.mirrorOf != "" {
		u.RawQuery = url.Values{"ns": {s.mirrorOf}}.Encode() // a mirror of several registries: as containerd asks
	}
	return u.String()
}

// root is what all addresses begin with.
func (s *session) root() url.URL {
	u := url.URL{Scheme: s.scheme, Host: s.host, Path: "/v2/"}
	if isDockerHub(s.host) {
		u.Host = "index.docker.io"
	}
	return u
}

// get sends a request. An answer without one of the statuses is an error.
func (s *session) get(ctx context.Context, address string, header http.Header, statuses ...int) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	for key, values := range header {
		req.Header[key] = values
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, s.explain(err)
	}
	for _, status := range statuses {
		if resp.StatusCode == status {
			return resp, nil
		}
	}
	defer resp.Body.Close()
	const maxText = 64 << 10
	resp.Body = io.NopCloser(io.LimitReader(resp.Body, maxText))
	return nil, s.explain(transport.CheckError(resp, statuses...))
}

// explain adds to an error what to do about it.
func (s *session) explain(err error) error {
	if err == nil {
		return nil
	}
	advice := s.advice(err)
	if advice == "" {
		return short(err)
	}
	return fmt.Errorf("%w (%s)", short(err), advice)
}

func (s *session) advice(err error) string {
	switch status := statusOf(err); {
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return s.loginAdvice()
	case status == http.StatusTooManyRequests:
		if s.auth.file == "" {
			return "its limit for clients without a login: log in, or wait"
		}
		return "its limit: wait"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nothing listens there; are address and port right?"
	case answersPlain(err):
		return fmt.Sprintf("it speaks HTTP without TLS; if that is meant to be, set insecure = true below [registry.%q] in /etc/cocker/registries.toml", s.host)
	case strings.Contains(err.Error(), "x509: certificate signed by unknown authority"):
		return fmt.Sprintf("name the file with its authority's certificate: ca = \"/...\" below [registry.%q] in /etc/cocker/registries.toml", s.host)
	case errors.Is(err, errPlain):
		return fmt.Sprintf("if that is meant to be, set insecure = true below [registry.%q] in /etc/cocker/registries.toml", s.host)
	}
	return ""
}

func (s *session) loginAdvice() string {
	if s.auth.file != "" {
		return fmt.Sprintf("the credentials for %s in %s are not good for this", s.host, s.auth.file)
	}
	return fmt.Sprintf("there may be no such repository, or it needs a login, and no file has credentials for %s: "+
		`"podman login", "skopeo login" or "docker login" write one, or write /etc/cocker/auth.json`, s.host)
}

// statusOf is the status of a registry's answer, 0 if there was none.
func statusOf(err error) int {
	var answer *transport.Error
	if errors.As(err, &answer) {
		return answer.StatusCode
	}
	return 0
}

// shortError is an error whose text leaves out the request: who reads it knows what
// was asked for.
type shortError struct {
	error

	text string
}

func (e shortError) Error() string { return e.text }
func (e shortError) Unwrap() error { return e.error }

// short cuts the request out of the library's texts, and puts long ones, HTML pages
// say, into one line.
func short(err error) error {
	text := err.Error()
	var answer *transport.Error
	var request *url.Error
	switch {
	case errors.As(err, &answer):
		text = answerText(answer)
	case errors.As(err, &request):
		text = request.Err.Error()
	}
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > 400 {
		text = text[:400] + "..."
	}
	return shortError{err, text}
}

func answerText(e *transport.Error) string {
	text := fmt.Sprintf("%d %s", e.StatusCode, http.StatusText(e.StatusCode))
	for _, d := range e.Errors {
		text += fmt.Sprintf(", %s: %s", d.Code, d.Message)
	}
	return text
}

type blobKey struct{}

// forBlob marks requests whose answer may be long.
func forBlob(ctx context.Context) context.Context { return context.WithValue(ctx, blobKey{}, true) }

func isBlob(ctx context.Context) bool { return ctx.Value(blobKey{}) != nil }
