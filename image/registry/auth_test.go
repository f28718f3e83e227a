package registry

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/image"
	"github.com/cocker/cocker/image/transfer"
)

func authFile(t testing.TB, key, user, password string) string {
	t.Helper()
	auth := base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
	return writeFile(t, "auth.json", fmt.Sprintf(`{"auths": {%q: {"auth": %q}}}`, key, auth), 0o600)
}

func writeFile(t testing.TB, name, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAuthFiles(t *testing.T) {
	env := func(values map[string]string) func(string) string { return func(k string) string { return values[k] } }
	got := AuthFiles(env(map[string]string{"HOME": "/root", "XDG_RUNTIME_DIR": "/run/user/0"}))
	want := []string{"/run/user/0/containers/auth.json", fmt.Sprintf("/run/containers/%d/auth.json", os.Getuid()), "/etc/cocker/auth.json",
		"/root/.config/containers/auth.json", "/root/.docker/config.json"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	got = AuthFiles(env(map[string]string{"DOCKER_CONFIG": "/d", "XDG_CONFIG_HOME": "/c"}))
	if !slices.Equal(got[2:], []string{"/c/containers/auth.json", "/d/config.json"}) {
		t.Errorf("got %q", got)
	}
	if got = AuthFiles(env(map[string]string{"REGISTRY_AUTH_FILE": "/x", "HOME": "/root"})); !slices.Equal(got, []string{"/x"}) {
		t.Errorf("got %q", got)
	}
}

func TestLookUp(t *testing.T) {
	helper := writeFile(t, "docker-credential-test", "#!/bin/sh\nread -r host\necho '{\"Username\":\"<token>\",\"Secret\":\"of '$host'\"}'\n", 0o755)
	t.Setenv("PATH", filepath.Dir(helper)+":"+os.Getenv("PATH"))
	files := []string{
		"/nonexistent/auth.json",
		authFile(t, "r.example.com/team", "team", "p"),
		writeFile(t, "docker.json", `{"auths": {"https://r.example.com/v1/": {"username": "all", "password": "p"}, "empty.example.com": {}},
			"credHelpers": {"h.example.com": "test", "broken.example.com": "nosuch"}}`, 0o600),
		authFile(t, authn.DefaultAuthKey, "hub", "p"),
	}
	for _, tt := range []struct{ host, repository, want, file string }{
		{"r.example.com", "team/web", "team", files[1]},
		{"r.example.com", "teamwork/web", "all", files[2]},
		{"h.example.com", "web", "of h.example.com", files[2]},
		{"docker.io", "library/web", "hub", files[3]},
		{"empty.example.com", "web", "", ""},
		{"evil-r.example.com", "web", "", ""},
	} {
		c, err := lookUp(files, tt.host, tt.repository)
		if err != nil {
			t.Errorf("%s: %v", tt.host, err)
			continue
		}
		a, err := c.Authorization()
		if err != nil || a.Username+a.IdentityToken != tt.want || c.file != tt.file {
			t.Errorf("%s: %+v of %s, %v; want %s of %s", tt.host, a, c.file, err, tt.want, tt.file)
		}
	}
	if _, err := lookUp(files, "broken.example.com", "web"); err == nil || !strings.Contains(err.Error(), files[2]) {
		t.Errorf("an absent helper: %v", err)
	}
	bad := writeFile(t, "auth.json", "{", 0o600)
	if _, err := lookUp([]string{bad}, "x", "y"); err == nil || !strings.Contains(err.Error(), bad) {
		t.Errorf("a bad file: %v", err)
	}
	t.Setenv("REGISTRY_AUTH_FILE", files[0])
	if _, err := lookUp(files[:1], "x", "y"); err == nil {
		t.Error("an absent $REGISTRY_AUTH_FILE is no error")
	}
}

// tokens is a registry with a token server.
func tokens(s *server, realm string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/token" {
			user, password, _ := r.BasicAuth()
			if user == "me" && password == "secret" && r.FormValue("service") == "test" {
				_ = json.NewEncoder(w).Encode(map[string]string{"token": "T/" + strings.Join(r.Form["scope"], " ")})
			} else {
				w.WriteHeader(http.StatusUnauthorized)
			}
			return true
		}
		if scope, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer T/repository:a:"); ok && (r.Method == http.MethodGet || r.Method == http.MethodHead || strings.Contains(scope, "push")) {
			return false
		}
		if realm == "" {
			realm = s.URL + "/token"
		}
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm=%q,service="test"`, realm))
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}
}

func TestTokens(t *testing.T) {
	store, s := image.Open(needRoot(t)), newServer(t)
	s.putImage(t, "a", "1", false, "", layerOf(t, map[string]string{"f": "x"}, image.MediaTypeLayerGzip))
	s.misbehave(tokens(s, ""))
	c, _ := newClient(t, nil, authFile(t, s.host(), "me", "secret"))
	ref := s.host() + "/a:1"
	if _, err := c.Pull(t.Context(), store, ref, transfer.HostPlatform()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Push(t.Context(), store, ref, s.host()+"/a:2"); err != nil {
		t.Error(err)
	}
	wrong := authFile(t, s.host(), "me", "wrong")
	c, _ = newClient(t, nil, wrong)
	if _, err := c.Pull(t.Context(), store, ref, transfer.HostPlatform()); err == nil || !strings.Contains(err.Error(), "the credentials for "+s.host()+" in "+wrong) {
		t.Errorf("wrong password: %v", err)
	}
	c, _ = newClient(t, nil)
	if _, err := c.Push(t.Context(), store, ref, ""); err == nil || !strings.Contains(err.Error(), "/etc/cocker/auth.json") {
		t.Errorf("no credentials: %v", err)
	}
}

// startTLS is a registry with a certificate of its own authority.
func startTLS(t *testing.T) (*server, string) {
	t.Helper()
	s := &server{}
	s.Server = httptest.NewTLSServer(s.handler())
	t.Cleanup(s.Close)
	s.Config.ErrorLog = nil
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	return s, writeFile(t, "ca.pem", string(ca), 0o644)
}

func TestTLS(t *testing.T) {
	s, ca := startTLS(t)
	store := image.Open(needRoot(t))
	s.putImage(t, "a", "1", false, "", layerOf(t, map[string]string{"f": "x"}, image.MediaTypeLayerGzip))
	pull := func(r config.Registry) error {
		c, _ := newClient(t, &config.Registries{ByHost: map[string]config.Registry{s.host(): r}})
		_, err := c.Pull(t.Context(), store, s.host()+"/a:1", transfer.HostPlatform())
		return err
	}
	if err := pull(config.Registry{}); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("an unknown authority: %v", err)
	}
	if err := pull(config.Registry{CA: ca}); err != nil {
		t.Error(err)
	}
	if err := pull(config.Registry{Insecure: true}); err != nil {
		t.Error(err)
	}
	if err := pull(config.Registry{CA: "/nonexistent"}); err == nil || !strings.Contains(err.Error(), "registries.toml") {
		t.Errorf("no such file: %v", err)
	}
	if err := pull(config.Registry{CA: os.DevNull}); err == nil || !strings.Contains(err.Error(), "none in PEM form") {
		t.Errorf("no certificate: %v", err)
	}
}

// A registry with TLS cannot talk its client into speaking without.
func TestNoWayBackFromTLS(t *testing.T) {
	s, ca := startTLS(t)
	plain := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the client spoke without TLS") }))
	defer plain.Close()
	e := endpoint{host: "example.com", repository: "a", ca: ca}
	for name, wrap := range map[string]func(http.ResponseWriter, *http.Request) bool{
		"realm": tokens(s, plain.URL+"/token"),
		"redirect": func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, plain.URL+"/x", http.StatusFound)
			return true
		},
	} {
		s.misbehave(wrap)
		c, _ := newClient(t, nil, authFile(t, e.host, "me", "secret"))
		c.dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			if address == "example.com:443" { // the name of the server's certificate
				address = s.host()
			}
			return newDial()(ctx, network, address)
		}
		_, err := c.open(t.Context(), e, "pull")
		if !errors.Is(err, errPlain) || !strings.Contains(err.Error(), "insecure = true") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "5": 5 * time.Second, "-1": 0, "Thu, 01 Jan 2026 00:01:00 GMT": time.Minute, "Wed, 31 Dec 2025 00:00:00 GMT": 0, "x": 0,
	} {
		if got := retryAfter(text, now); got != want {
			t.Errorf("%q: %s", text, got)
		}
	}
}

func TestLocate(t *testing.T) {
	digest := "sha256:" + strings.Repeat("0", 64)
	for _, tt := range []struct{ text, fallback, want string }{
		{"alpine", "docker.io", "docker.io/library/alpine:latest"},
		{"docker.io/alpine:3", "r", "docker.io/library/alpine:3"},
		{"index.docker.io/team/web", "r", "docker.io/team/web:latest"},
		{"team/web:1", "docker.io", "docker.io/team/web:1"},
		{"team/web:1", "r.example.com", "r.example.com/team/web:1"},
		{"localhost/web:1", "docker.io", "localhost/web:1"},
		{"r:5000/a/b/c:1@" + digest, "docker.io", "r:5000/a/b/c@" + digest},
	} {
		l, err := locate(tt.text, tt.fallback)
		if err != nil || l.String() != tt.want {
			t.Errorf("%s: %s, %v; want %s", tt.text, l, err, tt.want)
		}
	}
	for _, bad := range []string{"", "A", digest, "a@sha256:1"} {
		if _, err := locate(bad, "docker.io"); err == nil {
			t.Errorf("%q is no error", bad)
		}
	}
}
