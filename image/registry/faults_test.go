package registry

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/image"
	"github.com/cocker/cocker/image/transfer"
)

// failing answers the first n requests of each method and address with a status.
func failing(n, status int, header http.Header) func(http.ResponseWriter, *http.Request) bool {
	var mu sync.Mutex
	seen := map[string]int{}
	return func(w http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		if r.Method == http.MethodPatch || r.Body != http.NoBody && r.Method != http.MethodPut { // parts of uploads
			return false
		}
		key := r.Method + r.URL.Path
		if seen[key]++; seen[key] > n {
			return false
		}
		for k, v := range header {
			w.Header()[k] = v
		}
		w.WriteHeader(status)
		return true
	}
}

// noise does not compress.
func noise(n int) string {
	r := rand.NewChaCha8([32]byte{1})
	data := make([]byte, n)
	_, _ = r.Read(data)
	return string(data)
}

func TestTransientStatus(t *testing.T) {
	for _, status := range []int{429, 500, 502, 503, 504} {
		store, s := image.Open(needRoot(t)), newServer(t)
		s.putImage(t, "a", "1", false, "", layerOf(t, map[string]string{"f": "x"}, image.MediaTypeLayerGzip))
		s.misbehave(failing(3, status, http.Header{"Retry-After": {"7"}}))
		c, e := newClient(t, nil)
		if _, err := c.Pull(t.Context(), store, s.host()+"/a:1", transfer.HostPlatform()); err != nil {
			t.Errorf("%d: %v", status, err)
		}
		for _, d := range e.waits {
			if d < 7*time.Second {
				t.Errorf("%d: waited %s, was asked for 7 s", status, d)
			}
		}
		if len(e.waits) != 12 { // ping, manifest, configuration, layer
			t.Errorf("%d: waited %d times", status, len(e.waits))
		}
		wantClean(t, store, 1)
	}
}

func TestErrorsThatStay(t *testing.T) {
	for _, tt := range []struct {
		name   string
		status int
		header http.Header
		body   string
		want   string
	}{
		{"unavailable", 503, nil, "", "503 Service Unavailable"},
		{"limit", 429, http.Header{"Retry-After": {"3600"}}, `{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}`, "TOOMANYREQUESTS: slow down (its limit for clients without a login"},
		{"login", 401, nil, "", "no file has credentials"},
		{"denied", 403, nil, `{"errors":[{"code":"DENIED","message":"no"}]}`, "DENIED: no (there may be no such repository"},
		{"absent", 404, nil, `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}`, "404 Not Found, MANIFEST_UNKNOWN"},
		{"page", 400, nil, "<html>" + strings.Repeat("no ", 100_000), "400 Bad Request"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			store, s := image.Open(needRoot(t)), newServer(t)
			s.misbehave(func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path == "/v2/" {
					return false
				}
				for k, v := range tt.header {
					w.Header()[k] = v
				}
				w.WriteHeader(tt.status)
				_, _ = w.Write([]byte(tt.body))
				return true
			})
			c, _ := newClient(t, nil)
			_, err := c.Pull(t.Context(), store, s.host()+"/a:1", transfer.HostPlatform())
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "pull "+s.host()+"/a:1: "+s.host()+": ") || len(err.Error()) > 1000 {
				t.Errorf("%.1000v; want %s", err, tt.want)
			}
			wantClean(t, store, 0)
		})
	}
}

// cutting sends a blob in pieces of n bytes, breaking off after each.
func cutting(blob []byte, n int, ranges bool) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, image.DigestOf(blob)) {
			return false
		}
		start := 0
		if text, ok := strings.CutPrefix(r.Header.Get("Range"), "bytes="); ok && ranges {
			first, _, _ := strings.Cut(text, "-")
			start, _ = strconv.Atoi(first)
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", start, len(blob)-1, len(blob)))
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(blob)-start))
		if start > 0 {
			w.WriteHeader(http.StatusPartialContent)
		}
		_, _ = w.Write(blob[start:min(start+n, len(blob))])
		if start+n < len(blob) {
			panic(http.ErrAbortHandler) // closes the connection
		}
		return true
	}
}

func TestResume(t *testing.T) {
	store, s := image.Open(needRoot(t)), newServer(t)
	l := layerOf(t, map[string]string{"f": noise(3 << 20)}, image.MediaTypeLayerGzip)
	s.putImage(t, "a", "1", false, "", l)
	s.misbehave(cutting(l.packed, 400_000, true))
	c, e := newClient(t, nil)
	img, err := c.Pull(t.Context(), store, s.host()+"/a:1", transfer.HostPlatform())
	if err != nil {
		t.Fatal(err)
	}
	wantFile(t, img, 0, "f", noise(3<<20))
	if n := s.asked(image.DigestOf(l.packed)); n != len(l.packed)/400_000+1 || !strings.Contains(e.notes(), "going on from there") {
		t.Errorf("asked %d times\n%s", n, e.notes())
	}
	wantClean(t, store, 1)
}

func TestBreaksOffAgainAndAgain(t *testing.T) {
	for _, ranges := range []bool{true, false} { // without ranges it never gets further
		store, s := image.Open(needRoot(t)), newServer(t)
		l := layerOf(t, map[string]string{"f": noise(3 << 20)}, image.MediaTypeLayerGzip)
		s.putImage(t, "a", "1", false, "", l)
		s.misbehave(cutting(l.packed, 1000, ranges))
		c, _ := newClient(t, nil)
		_, err := c.Pull(t.Context(), store, s.host()+"/a:1", transfer.HostPlatform())
		if err == nil || !strings.Contains(err.Error(), "layer sha256:") {
			t.Errorf("Pull: %v", err)
		}
		if n := s.asked(image.DigestOf(l.packed)); n > 10 {
			t.Errorf("asked %d times", n)
		}
		wantClean(t, store, 0)
	}
}

// A registry that ignores ranges sends all again.
func TestResumeWithoutRanges(t *testing.T) {
	store, s := image.Open(needRoot(t)), newServer(t)
	l := layerOf(t, map[string]string{"f": noise(1 << 20)}, image.MediaTypeLayerGzip)
	s.putImage(t, "a", "1", false, "", l)
	broken := false
	s.misbehave(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, image.DigestOf(l.packed)) {
			return false
		}
		cut := len(l.packed)
		if !broken {
			broken, cut = true, 600_000
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(l.packed)))
		_, _ = w.Write(l.packed[:cut])
		if cut < len(l.packed) {
			panic(http.ErrAbortHandler)
		}
		return true
	})
	c, _ := newClient(t, nil)
	img, err := c.Pull(t.Context(), store, s.host()+"/a:1", transfer.HostPlatform())
	if err != nil {
		t.Fatal(err)
	}
	wantFile(t, img, 0, "f", noise(1<<20))
}

// A registry that sends nothing any more is given up, and asked again.
func TestStall(t *testing.T) {
	store, s := image.Open(needRoot(t)), newServer(t)
	l := layerOf(t, map[string]string{"f": noise(1 << 20)}, image.MediaTypeLayerGzip)
	s.putImage(t, "a", "1", false, "", l)
	var once sync.Once
	s.misbehave(func(w http.ResponseWriter, r *http.Request) bool {
		stalled := false
		if strings.HasSuffix(r.URL.Path, image.DigestOf(l.packed)) {
			once.Do(func() {
				stalled = true
				_, _ = w.Write(l.packed[:1000])
				_ = http.NewResponseController(w).Flush()
				<-r.Context().Done()
			})
		}
		return stalled
	})
	c, e := newClient(t, nil)
	c.idle = 2 * time.Second // more than a busy machine takes for an ordinary answer
	if _, err := c.Pull(t.Context(), store, s.host()+"/a:1", transfer.HostPlatform()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(e.notes(), "nothing came in for too long") {
		t.Errorf("notes: %s", e.notes())
	}
	wantClean(t, store, 1)
}

func TestWrongContent(t *testing.T) {
	l := layerOf(t, map[string]string{"f": noise(1 << 20)}, image.MediaTypeLayerGzip)
	for name, change := range map[string]func([]byte) []byte{
		"other byte": func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
		"last byte":  func(b []byte) []byte { b[len(b)-1] ^= 1; return b },
		"something new": func([]byte) []byte {
			return layerOf(t, map[string]string{"g": noise(1 << 20)}, image.MediaTypeLayer).packed
		},
	} {
		store, s := image.Open(needRoot(t)), newServer(t)
		s.putImage(t, "a", "1", false, "", l)
		s.misbehave(func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, image.DigestOf(l.packed)) {
				return false
			}
			_, _ = w.Write(change([]byte(string(l.packed))))
			return true
		})
		c, _ := newClient(t, nil)
		if _, err := c.Pull(t.Context(), store, s.host()+"/a:1", transfer.HostPlatform()); !errors.Is(err, transfer.ErrDigest) {
			t.Errorf("%s: %v", name, err)
		}
		wantClean(t, store, 0)
	}
}

func TestWrongDocuments(t *testing.T) {
	for _, what := range []string{"manifests", "blobs"} {
		store, s := image.Open(needRoot(t)), newServer(t)
		d := s.putImage(t, "a", "1", false, "", layerOf(t, map[string]string{"f": "x"}, image.MediaTypeLayerGzip))
		s.misbehave(func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, what) {
				return false
			}
			w.Header().Set("Content-Type", image.MediaTypeManifest)
			_, _ = w.Write([]byte(`{"schemaVersion":2,"layers":[]}`))
			return true
		})
		c, _ := newClient(t, nil)
		if _, err := c.Pull(t.Context(), store, s.host()+"/a@"+d.Digest, transfer.HostPlatform()); !errors.Is(err, transfer.ErrDigest) {
			t.Errorf("%s: %v", what, err)
		}
		wantClean(t, store, 0)
	}
}

func TestEndlessAnswers(t *testing.T) {
	for _, what := range []string{"manifests", "tags"} {
		store, s := image.Open(needRoot(t)), newServer(t)
		s.misbehave(func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, what) {
				return false
			}
			page := []byte(strings.Repeat(" ", 1<<20))
			for r.Context().Err() == nil {
				if _, err := w.Write(page); err != nil {
					break
				}
			}
			return true
		})
		c, _ := newClient(t, nil)
		if _, err := c.Pull(t.Context(), store, s.host()+"/a", transfer.HostPlatform()); err == nil {
			t.Errorf("%s: no error", what)
		}
		wantClean(t, store, 0)
	}
}

// Blobs are often elsewhere: the token stays at home.
func TestRedirect(t *testing.T) {
	store, s := image.Open(needRoot(t)), newServer(t)
	l := layerOf(t, map[string]string{"f": "x"}, image.MediaTypeLayerGzip)
	s.putImage(t, "a", "1", false, "", l)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			t.Error("the credentials went along")
		}
		_, _ = w.Write(l.packed)
	}))
	defer elsewhere.Close()
	s.misbehave(func(w http.ResponseWriter, r *http.Request) bool {
		if user, password, _ := r.BasicAuth(); user != "me" || password != "secret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}
		if strings.HasSuffix(r.URL.Path, image.DigestOf(l.packed)) {
			http.Redirect(w, r, elsewhere.URL+"/x", http.StatusTemporaryRedirect)
			return true
		}
		return false
	})
	c, _ := newClient(t, nil, authFile(t, s.host(), "me", "secret"))
	if _, err := c.Pull(t.Context(), store, s.host()+"/a:1", transfer.HostPlatform()); err != nil {
		t.Error(err)
	}
	s.misbehave(func(w http.ResponseWriter, r *http.Request) bool {
		http.Redirect(w, r, r.URL.Path, http.StatusFound)
		return true
	})
	if _, err := c.Pull(t.Context(), store, s.host()+"/a:2", transfer.HostPlatform()); err == nil || !strings.Contains(err.Error(), "redirect") {
		t.Errorf("a circle: %v", err)
	}
}

func TestMirrors(t *testing.T) {
	store, s, mirror := image.Open(needRoot(t)), newServer(t), newServer(t)
	l := layerOf(t, map[string]string{"f": noise(1 << 20)}, image.MediaTypeLayerGzip)
	s.putImage(t, "a", "1", false, "", l)
	mirror.putImage(t, "cache/a", "1", false, "", l)
	r := &config.Registries{ByHost: map[string]config.Registry{s.host(): {Mirrors: []config.Mirror{
		{Plain: true, Host: "127.0.0.1:1"}, {Plain: true, Host: mirror.host(), Path: "cache"}}}}}
	pull := func(tag string) string {
		t.Helper()
		c, e := newClient(t, r)
		if _, err := c.Pull(t.Context(), store, s.host()+"/a:"+tag, transfer.HostPlatform()); err != nil {
			t.Error(err)
		}
		if err := store.Remove(s.host()+"/a:"+tag, nil); err != nil {
			t.Error(err)
		}
		wantClean(t, store, 0)
		return e.notes()
	}
	s.misbehave(nil)
	pull("1")
	if n := s.asked(""); n != 0 {
		t.Errorf("the registry was asked %d times although a mirror has all", n)
	}
	// A mirror that damages: the layer comes from the registry.
	mirror.misbehave(cutting(append([]byte{}, l.packed...), 700_000, false))
	if notes := pull("1"); s.asked(image.DigestOf(l.packed)) == 0 {
		t.Errorf("the registry was not asked: %s", notes)
	}
	mirror.misbehave(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, image.DigestOf(l.packed)) {
			return false
		}
		_, _ = w.Write([]byte(noise(len(l.packed))))
		return true
	})
	if notes := pull("1"); !strings.Contains(notes, "trying another place") {
		t.Errorf("notes: %s", notes)
	}
	s.misbehave(nil)
	s.putImage(t, "a", "2", false, "", l) // which the mirror has not
	pull("2")
}
