package image

import (
	"errors"
	"fmt"
	"strings"
)

// Reference is the name of an image taken apart: registry.example.com/web:1.27,
// base:1.0 or ssh://me@example.com/web:1.0, with @sha256:... at the end or alone.
type Reference struct {
	Name   string // with the registry and its port, or with ssh:// and the host; without the tag
	Tag    string // "": none given
	Digest string // "": none given
}

// ParseReference takes a name apart and checks it by the grammar of the OCI
// distribution specification. A name or a digest is there in what it returns.
func ParseReference(text string) (Reference, error) {
	if strings.HasPrefix(text, digestPrefix) {
		_, err := digestHex(text)
		return Reference{Digest: text}, badReference(text, err)
	}
	place, rest := cutPlace(text)
	if place != "" {
		if _, err := ParsePlace(place); err != nil {
			return Reference{}, badReference(text, err)
		}
		if rest == "" {
			return Reference{}, badReference(text, errors.New("no name of an image comes after the host"))
		}
		place += "/"
	}
	rest, digest, hasDigest := strings.Cut(rest, "@")
	if hasDigest {
		if _, err := digestHex(digest); err != nil {
			return Reference{}, badReference(text, err)
		}
	}
	name, tag, hasTag := cutTag(rest)
	if hasTag && !validTag(tag) {
		return Reference{}, badReference(text, fmt.Errorf("tag %q: wanted 1 to 128 of A-Z a-z 0-9 _ . -", tag))
	}
	if err := checkName(name); err != nil {
		return Reference{}, badReference(text, err)
	}
	return Reference{Name: place + name, Tag: tag, Digest: digest}, nil
}

// String puts the reference together again.
func (r Reference) String() string {
	text := r.Name
	if r.Tag != "" {
		text += ":" + r.Tag
	}
	switch {
	case r.Digest == "":
		return text
	case text == "":
		return r.Digest
	}
	return text + "@" + r.Digest
}

func badReference(text string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %q: %w", ErrBadReference, text, err)
}

// cutTag cuts at the last colon, unless that one belongs to a registry's port.
func cutTag(text string) (name, tag string, found bool) {
	colon := strings.LastIndexByte(text, ':')
	if colon < 0 || colon < strings.LastIndexByte(text, '/') {
		return text, "", false
	}
	return text[:colon], text[colon+1:], true
}

func validTag(tag string) bool {
	if tag == "" || len(tag) > 128 || tag[0] == '.' || tag[0] == '-' {
		return false
	}
	return strings.Trim(tag, alphanumeric+uppercase+"_.-") == ""
}

const (
	alphanumeric = "abcdefghijklmnopqrstuvwxyz0123456789"
	uppercase    = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	maxName      = 255 // as registries have it
)

// checkName allows path components of lower-case words joined by . _ __ or any
// number of -; the first component may be a host with upper case and a port.
func checkName(name string) error {
	if name == "" || len(name) > maxName {
		return fmt.Errorf("name is empty or longer than %d bytes", maxName)
	}
	components := strings.Split(name, "/")
	if host := components[0]; len(components) > 1 && strings.ContainsAny(host, ".:"+uppercase) {
		if !validHost(host) {
			return fmt.Errorf("registry %q is not a host name with an optional port", host)
		}
		components = components[1:]
	}
	for _, c := range components {
		if !validComponent(c) {
			return fmt.Errorf("%q: wanted lower-case letters and digits, joined by . _ or -", c)
		}
	}
	return nil
}

func validHost(host string) bool {
	name, port, hasPort := strings.Cut(host, ":")
	if hasPort && (port == "" || strings.Trim(port, "0123456789") != "") {
		return false
	}
	return validComponent(strings.ToLower(name))
}

// validComponent also keeps "." and ".." and empty components out.
func validComponent(component string) bool {
	if component == "" || strings.Trim(component, alphanumeric+"._-") != "" {
		return false
	}
	first, last := component[0], component[len(component)-1]
	if strings.IndexByte("._-", first) >= 0 || strings.IndexByte("._-", last) >= 0 {
		return false
	}
	return !strings.Contains(component, "..") && !strings.Contains(component, "___")
}
