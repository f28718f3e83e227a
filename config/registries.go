package config

import (
	"errors"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
)

// DefaultRegistry is where images whose name has no registry come from.
const DefaultRegistry = "docker.io"

// Registries says how registries are reached: /etc/cocker/registries.toml.
type Registries struct {
	Default  string                   // the registry of names that have none
	ByHost   map[string]Registry      // by the host, with its port, that names begin with
	SSH      map[string]SSHRepository // by what is between ssh:// and the name of an image, or the host in it
	MaxSize  uint64                   // bytes that an image may have unpacked; 0: as many as there is space for
	MaxFiles uint64                   // files that an image may have; 0: any number
}

// SSHRepository is a directory of images on another machine, which ssh leads to.
type SSHRepository struct {
	Directory string // absolute, there; "": the usual one
}

// Registry is one registry, or a mirror of one.
type Registry struct {
	Mirrors  []Mirror // tried before the registry itself, in this order
	Insecure bool     // any certificate will do, and HTTP without TLS
	CA       string   // file of certificates to trust beside the system's; "": none
}

// Mirror is a place that has the images of a registry.
type Mirror struct {
	Plain bool   // HTTP without TLS
	Host  string // with its port
	Path  string // what its repositories begin with; "": nothing
}

// String gives the text that a mirror was read from.
func (m Mirror) String() string {
	text := m.Host
	if m.Plain {
		text = "http://" + text
	}
	if m.Path != "" {
		text += "/" + m.Path
	}
	return text
}

// LoadRegistries reads registries.toml. A file that does not exist is an empty one;
// the error joins every problem of one that does.
func LoadRegistries(path string) (*Registries, error) {
	if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
		return newRegistries(), nil
	}
	s, err := readFile(path)
	if err != nil {
		return nil, err
	}
	return s.registries()
}

func newRegistries() *Registries {
	return &Registries{Default: DefaultRegistry, ByHost: map[string]Registry{}, SSH: map[string]SSHRepository{}}
}

// ParseRegistries checks a text as if it were the file registries.toml.
func ParseRegistries(file, text string) (*Registries, error) {
	return (&source{file: file, text: text}).registries()
}

func (s *source) registries() (*Registries, error) {
	entries, err := s.entries()
	if err != nil {
		return nil, err
	}
	b := &builder{file: s.file, c: &Container{Sources: []string{s.file}}}
	r := newRegistries()
	for _, e := range entries {
		switch {
		case e.table == "" && e.key == "default":
			r.Default = b.registryHost(e, e.value)
		case e.table == "" && e.key == "registry":
			b.registryTables(e, r)
		case e.table == "" && e.key == "ssh":
			b.sshTables(e, r)
		case e.table == "" && e.key == "max_size":
			r.MaxSize = b.size(e, e.value)
		case e.table == "" && e.key == "max_files":
			r.MaxFiles = b.integer(e, 1, math.MaxInt64)
		default:
			b.unknown(e, e.path(), []string{"default", "registry", "ssh", "max_size", "max_files"})
		}
	}
	if err := b.joined(); err != nil {
		return nil, err
	}
	return r, nil
}

// registryTables reads every [registry."HOST"].
func (b *builder) registryTables(e *entry, r *Registries) {
	tables, ok := e.value.(map[string]any)
	if !ok {
		b.fail(e, nil, `must be tables; write [registry."registry.example.com"] on a line of its own`)
		return
	}
	for _, host := range slices.Sorted(maps.Keys(tables)) {
		table, ok := tables[host].(map[string]any)
		switch {
		case !isHostName(host):
			b.fail(e, []any{host}, `%q is no host of a registry; write [registry."HOST[:PORT]"] with quotes, as in the names of its images`, host)
		case !ok:
			b.fail(e, []any{host}, "must be a table; write [registry.%q] on a line of its own and its keys below", host)
		default:
			r.ByHost[host] = b.registry(e, host, table)
		}
	}
}

// sshTables reads every [ssh."HOST"].
func (b *builder) sshTables(e *entry, r *Registries) {
	tables, ok := e.value.(map[string]any)
	if !ok {
		b.fail(e, nil, `must be tables; write [ssh."me@images.example.com"] on a line of its own`)
		return
	}
	for _, host := range slices.Sorted(maps.Keys(tables)) {
		table, ok := tables[host].(map[string]any)
		switch problem := badPlace(host); {
		case problem != "":
			b.fail(e, []any{host}, `%q is no host: %s; write [ssh."[USER@]HOST[:PORT]"] with quotes`, host, problem)
		case !ok:
			b.fail(e, []any{host}, "must be a table; write [ssh.%q] on a line of its own and its keys below", host)
		default:
			r.SSH[host] = b.sshRepository(e, host, table)
		}
	}
}

func (b *builder) sshRepository(e *entry, host string, table map[string]any) (r SSHRepository) {
	for _, key := range sortedKeys(table) {
		switch v := table[key]; key {
		case "directory":
			r.Directory = b.path(e, v, host, key)
		default:
			b.unknown(e, e.path(host, key), []string{"directory"})
		}
	}
	return r
}

func isHostName(host string) bool { return host != "" && badHost(host) == "" }

func (b *builder) registry(e *entry, host string, table map[string]any) (r Registry) {
	for _, key := range sortedKeys(table) {
		switch v := table[key]; key {
		case "mirrors":
			r.Mirrors = b.mirrors(e, host, v)
		case "insecure":
			r.Insecure = b.flag(e, v, host, key)
		case "ca":
			r.CA = b.path(e, v, host, key)
		default:
			b.unknown(e, e.path(host, key), []string{"mirrors", "insecure", "ca"})
		}
	}
	return r
}

func (b *builder) mirrors(e *entry, host string, value any) (mirrors []Mirror) {
	list, ok := value.([]any)
	if !ok {
		b.fail(e, []any{host, "mirrors"}, `must be an array of strings such as ["mirror.example.com"], not %s`, kind(value))
	}
	for i, v := range list {
		text, ok := b.plain(e, v, host, "mirrors", i)
		if !ok {
			continue
		}
		m, ok := parseMirror(text)
		if !ok {
			b.fail(e, []any{host, "mirrors", i}, `%q is no mirror; write "[http://|https://]HOST[:PORT][/PATH]"`, text)
			continue
		}
		mirrors = append(mirrors, m)
	}
	return mirrors
}

func parseMirror(text string) (m Mirror, ok bool) {
	rest, plain := strings.CutPrefix(text, "http://")
	if !plain {
		rest = strings.TrimPrefix(text, "https://")
	}
	m.Plain = plain
	m.Host, m.Path, _ = strings.Cut(strings.TrimSuffix(rest, "/"), "/")
	for part := range strings.SplitSeq(m.Path, "/") {
		if m.Path != "" && badComponent(part) != "" {
			return m, false
		}
	}
	return m, isHostName(m.Host)
}

func (b *builder) registryHost(e *entry, v any) string {
	host, ok := b.plain(e, v)
	if ok && !isHostName(host) {
		b.fail(e, nil, `%q is no host of a registry; write "HOST[:PORT]"`, host)
	}
	return host
}
