package config

import (
	"net/netip"
	"strconv"
	"strings"
)

// Limits of the OCI distribution specification ("Pulling manifests") and of its
// reference implementation.
const (
	maxImageName = 255
	maxTag       = 128
	digestPrefix = "sha256:"
	digestLength = 64
)

// badReference says what is wrong with an image reference
// [HOST[:PORT]/]NAME[:TAG][@sha256:DIGEST], or "". In place of a registry there can
// be ssh://[USER@]HOST[:PORT].
func badReference(s string) string {
	if rest, ok := strings.CutPrefix(s, "ssh://"); ok {
		place, name, _ := strings.Cut(rest, "/")
		if problem := badPlace(place); problem != "" {
			return problem
		}
		s = name
	}
	name, digest, hasDigest := strings.Cut(s, "@")
	if hasDigest && !validDigest(digest) {
		return `after "@" must come "sha256:" and 64 characters 0-9 a-f`
	}
	name, tag, hasTag := cutTag(name)
	if hasTag && !validTag(tag) {
		return `after ":" must come a tag of at most 128 letters, digits, "_", "." and "-", not beginning with "." or "-"`
	}
	if len(name) > maxImageName {
		return "it is longer than 255 bytes"
	}
	parts := strings.Split(name, "/")
	if len(parts) > 1 && isHost(parts[0]) {
		if problem := badHost(parts[0]); problem != "" {
			return problem
		}
		parts = parts[1:]
	}
	for _, part := range parts {
		if problem := badComponent(part); problem != "" {
			return problem
		}
	}
	return ""
}

// cutTag cuts at the last ":", unless that belongs to a host's port.
func cutTag(s string) (name, tag string, found bool) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 || strings.Contains(s[i:], "/") {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

func validDigest(s string) bool {
	hex, ok := strings.CutPrefix(s, digestPrefix)
	return ok && len(hex) == digestLength && strings.Trim(hex, "0123456789abcdef") == ""
}

func validTag(s string) bool {
	for i, r := range s {
		if !isAlphanumeric(r) && r != '_' && (i == 0 || r != '.' && r != '-') {
			return false
		}
	}
	return s != "" && len(s) <= maxTag
}

// isHost is the rule of the reference implementation: what comes before the
// first slash is a registry if it can't be a plain directory.
func isHost(s string) bool {
	return s == "localhost" || strings.ContainsAny(s, ".:") || strings.ToLower(s) != s
}

func badHost(s string) string {
	host, port, hasPort := strings.Cut(s, ":")
	if hasPort && (port == "" || len(port) > 5 || strings.Trim(port, "0123456789") != "") {
		return "the registry's port is no number"
	}
	for label := range strings.SplitSeq(host, ".") {
		if problem := badLabel(label); problem != "" {
			return "the registry is no host name: " + problem
		}
	}
	return ""
}

// badPlace checks [USER@]HOST[:PORT], as package image does: nothing in it can be an
// option of ssh(1) or mean something to a shell.
func badPlace(s string) string {
	user, host, hasUser := strings.Cut(s, "@")
	if !hasUser {
		user, host = "x", s
	}
	if !isWord(user) {
		return "the user after ssh:// must be letters and digits, with \".\", \"_\" and \"-\" between them"
	}
	if inner, ok := strings.CutPrefix(host, "["); ok {
		address, port, closed := strings.Cut(inner, "]")
		if a, err := netip.ParseAddr(address); err != nil || !closed || !a.Is6() || a.Zone() != "" {
			return "the host after ssh:// is no address of IPv6 in brackets"
		}
		host = "x" + port
	}
	name, port, hasPort := strings.Cut(host, ":")
	if n, err := strconv.ParseUint(port, 10, 16); hasPort && (err != nil || n == 0 || port[0] == '0') {
		return "the port after ssh:// must be a number from 1 to 65535"
	}
	if !isWord(name) || strings.Trim(name, "0123456789") == "" {
		return "the host after ssh:// must be letters and digits, with \".\", \"_\" and \"-\" between them"
	}
	return ""
}

func isWord(s string) bool {
	for _, r := range s {
		if !isAlphanumeric(r) && !strings.ContainsRune("._-", r) {
			return false
		}
	}
	return s != "" && len(s) <= maxImageName && strings.IndexByte("-.", s[0]) < 0 && s[len(s)-1] != '-'
}

// badComponent checks one part of a name between slashes: lower-case letters and
// digits, joined by ".", "_", "__" or any number of "-".
func badComponent(s string) string {
	if s == "" {
		return "a part of the name is empty"
	}
	if strings.ToLower(s) != s {
		return "the name must be in lower case"
	}
	separator := "" // since the last letter or digit
	for i, r := range s {
		switch {
		case isAlphanumeric(r):
			separator = ""
			continue
		case !strings.ContainsRune("._-", r):
			return "the character " + quoteRune(r) + " is not allowed"
		}
		separator += string(r)
		if i+1 == len(s) || len(separator) == i+1 || !validSeparator(separator) {
			return `".", "_", "__" and "-" may stand only between letters or digits`
		}
	}
	return ""
}

func validSeparator(s string) bool {
	return s == "." || s == "_" || s == "__" || strings.Trim(s, "-") == ""
}
