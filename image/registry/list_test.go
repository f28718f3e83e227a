package registry

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/image"
	"github.com/cocker/cocker/image/transfer"
)

func TestList(t *testing.T) {
	needRoot(t)
	s := newServer(t)
	for _, name := range []string{"team/web:1.9", "team/web:1.10", "team/web:1.10-rc1", "other:1"} {
		repo, tag, _ := strings.Cut(name, ":")
		s.putImage(t, repo, tag, false, "", layerOf(t, map[string]string{"f": "x"}, image.MediaTypeLayerGzip))
	}
	c, _ := newClient(t, nil)
	for _, tt := range []struct {
		where, wanted string
		want          []string
	}{
		{s.host(), "", []string{"other:1", "team/web:1.9", "team/web:1.10-rc1", "team/web:1.10"}},
		{s.host() + "/", "team", []string{"team/web:1.9", "team/web:1.10-rc1", "team/web:1.10"}},
		{s.host(), "none", nil},
		{s.host() + "/team/web", "", []string{"team/web:1.9", "team/web:1.10-rc1", "team/web:1.10"}},
	} {
		list, err := c.List(t.Context(), tt.where, func(name string) bool { return strings.Contains(name, tt.wanted) })
		var got []string
		for _, l := range list {
			got = append(got, strings.TrimPrefix(l.Reference(), s.host()+"/"))
		}
		if err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("%s %s: %v, %v; want %v", tt.where, tt.wanted, got, err, tt.want)
		}
	}
	for where, want := range map[string]string{
		s.host() + "/none": "404", s.host() + "/team/web:1.9": "without a tag", s.host() + "/A": "not an image name", "": "not an image name",
	} {
		if list, err := c.List(t.Context(), where, func(string) bool { return true }); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v; want %s", where, list, err, want)
		}
	}
}

// Where nothing listens is asked once by each scheme that is allowed, and nobody is told
// that it is tried again.
func TestRefusedConnection(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		registries *config.Registries
		want       int32
	}{
		"this machine": {nil, 2}, // HTTPS, and HTTP without TLS
		"a mirror":     {&config.Registries{ByHost: map[string]config.Registry{address: {Mirrors: []config.Mirror{{Plain: true, Host: address}}}}}, 3},
	} {
		c, e := newClient(t, tt.registries)
		var dials atomic.Int32
		inner := c.dial
		c.dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			dials.Add(1)
			return inner(ctx, network, address)
		}
		_, err := c.Pull(t.Context(), image.Open(t.TempDir()), address+"/a:1", transfer.HostPlatform())
		if err == nil || !strings.Contains(err.Error(), "connection refused (nothing listens there") {
			t.Errorf("%s: %v", name, err)
		}
		if dials.Load() != tt.want || len(e.waits) > 0 {
			t.Errorf("%s: %d connections, %d waits; want %d and none\n%s", name, dials.Load(), len(e.waits), tt.want, e.notes())
		}
	}
}

// One that does not answer, where TLS is not wanted, is not asked all over again with
// what comes to the same.
func TestNoAnswerWithoutTLS(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var connections atomic.Int32
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			connections.Add(1)
			_, _ = bufio.NewReader(conn).ReadString('\n')
			_ = conn.Close()
		}
	}()
	address := l.Addr().String()
	c, e := newClient(t, &config.Registries{ByHost: map[string]config.Registry{"example.invalid": {Mirrors: []config.Mirror{{Plain: true, Host: address}}}}})
	s := &lazySession{endpoint: endpoints(location{host: "example.invalid", repository: "a"}, c.registries)[0]}
	if _, err := s.open(t.Context(), c, "pull"); err == nil || !strings.Contains(err.Error(), "EOF") {
		t.Errorf("%v", err)
	}
	if n := connections.Load(); n != 2 || len(e.waits) != 1 { // a mirror is asked twice
		t.Errorf("%d connections, %d waits\n%s", n, len(e.waits), e.notes())
	}
}

// A list whose pages lead to each other, or to empty ones, comes to an end.
func TestEndlessPages(t *testing.T) {
	s := newServer(t)
	page := 0
	s.misbehave(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/tags/list") && !strings.HasSuffix(r.URL.Path, "/_catalog") {
			return false
		}
		if page++; page > 2*maxPages { // the test is to end in any case
			return false
		}
		w.Header().Set("Link", fmt.Sprintf("<%s?last=%d>; rel=\"next\"", r.URL.Path, page))
		_, _ = io.WriteString(w, `{"tags":[],"repositories":["Not A Name"]}`)
		return true
	})
	c, _ := newClient(t, nil)
	for _, where := range []string{s.host(), s.host() + "/web"} {
		page = 0
		if list, err := c.List(t.Context(), where, func(string) bool { return true }); err == nil || !strings.Contains(err.Error(), "pages") {
			t.Errorf("%s: %v, %v", where, list, err)
		}
	}
}

// What net/http says of a connection that the server gave up passes, inside of other errors too.
func TestClosedIdlePasses(t *testing.T) {
	err := &url.Error{Op: "Patch", URL: "https://example.com", Err: fmt.Errorf("sent: %w", errors.New(closedIdle))}
	if _, again := transient(nil, err.Err); !again || !passesUpload(err) {
		t.Error("it is not tried again")
	}
	if passesUpload(&transport.Error{StatusCode: http.StatusForbidden}) {
		t.Error("a refusal is tried again")
	}
}
