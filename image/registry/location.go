package registry

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/image"
)

// location is a reference taken apart: where an image is, and as what.
type location struct {
	host       string // as references have it, "docker.io"
	repository string
	tag        string // "": none was given
	digest     string // "": none was given
}

// locate finds the registry of a reference. It is what comes before the first slash
// if that could be no directory: the rule of all tools.
func locate(text, defaultHost string) (location, error) {
	ref, err := image.ParseReference(text)
	if err != nil {
		return location{}, err
	}
	if ref.Name == "" {
		return location{}, fmt.Errorf("%w: %q: a digest alone does not say where the image is; write REGISTRY/NAME@%s", image.ErrBadReference, text, text)
	}
	l := location{host: defaultHost, repository: ref.Name, tag: ref.Tag, digest: ref.Digest}
	first, rest, found := strings.Cut(ref.Name, "/")
	if found && (first == "localhost" || strings.ContainsAny(first, ".:") || strings.ToLower(first) != first) {
		l.host, l.repository = first, rest
	}
	if isDockerHub(l.host) {
		l.host = config.DefaultRegistry
		if !strings.Contains(l.repository, "/") {
			l.repository = "library/" + l.repository
		}
	}
	return l, nil
}

func isDockerHub(host string) bool {
	return host == config.DefaultRegistry || host == "index.docker.io" || host == "registry-1.docker.io"
}

// identifier is what a manifest is asked for by.
func (l location) identifier() string {
	switch {
	case l.digest != "":
		return l.digest
	case l.tag != "":
		return l.tag
	}
	return "latest"
}

// String names the image in full, as errors do.
func (l location) String() string {
	if l.digest != "" {
		return l.host + "/" + l.repository + "@" + l.digest
	}
	return l.host + "/" + l.repository + ":" + l.identifier()
}

// endpoint is a place to get an image from: its registry, or a mirror of that.
type endpoint struct {
	host       string
	repository string
	plain      bool   // HTTP without TLS only
	insecure   bool   // any certificate, or HTTP
	ca         string // a file
	mirrorOf   string // the registry; "": it is one itself
}

func (e endpoint) String() string {
	if e.mirrorOf != "" {
		return fmt.Sprintf("%s, a mirror of %s", e.host, e.mirrorOf)
	}
	return e.host
}

// endpoints lists the mirrors of a location's registry, then the registry itself.
func endpoints(l location, r *config.Registries) []endpoint {
	var all []endpoint
	for _, m := range r.ByHost[l.host].Mirrors {
		e := newEndpoint(m.Host, l.repository, r)
		e.plain, e.mirrorOf = m.Plain, l.host
		if m.Path != "" {
			e.repository = m.Path + "/" + l.repository
		}
		all = append(all, e)
	}
	return append(all, newEndpoint(l.host, l.repository, r))
}

func newEndpoint(host, repository string, r *config.Registries) endpoint {
	settings := r.ByHost[host]
	return endpoint{host: host, repository: repository, insecure: settings.Insecure, ca: settings.CA}
}

// mayBePlain says whether HTTP without TLS is allowed. Nobody listens in between
// on a machine's own addresses; Docker sees it the same way.
func (e endpoint) mayBePlain() bool {
	return e.plain || e.insecure || isLoopback(e.host)
}

func isLoopback(host string) bool {
	host, _, _ = strings.Cut(host, ":")
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}

// target is the repository as the library wants it.
func (e endpoint) target() (name.Repository, error) {
	reg, err := name.NewRegistry(e.host)
	return reg.Repo(e.repository), err
}
