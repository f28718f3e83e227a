package cni

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// version is one of the specification.
type version [3]int

// What changed the protocol.
var (
	firstVersion  = version{0, 1, 0} // of a configuration that names none
	chainVersion  = version{0, 3, 0} // a plugin is given the result of the one before
	checkVersion  = version{0, 4, 0} // CHECK, and DEL is given the result of ADD
	statusVersion = version{1, 1, 0} // STATUS
	newestVersion = version{1, 1, 0}
)

func parseVersion(text string) (v version, err error) {
	if text == "" {
		return firstVersion, nil
	}
	parts := strings.Split(text, ".")
	for i, part := range parts {
		n, numberErr := strconv.ParseUint(part, 10, 16)
		if numberErr != nil || len(parts) != len(v) {
			return v, fmt.Errorf("cniVersion: %q is no version of the CNI specification, such as \"1.0.0\"", text)
		}
		v[i] = int(n)
	}
	return v, nil
}

func (v version) less(w version) bool { return slices.Compare(v[:], w[:]) < 0 }

// newest is the newest of some versions that this package speaks, as it is written.
func newest(versions []string) (text string, err error) {
	best := version{}
	for _, t := range versions {
		v, err := parseVersion(t)
		if err != nil {
			return "", err
		}
		if !v.less(best) && !newestVersion.less(v) {
			best, text = v, t
		}
	}
	if best == (version{}) {
		return "", fmt.Errorf("cniVersion: %q is newer than 1.1.0, the newest that cocker speaks; add that to cniVersions", versions[len(versions)-1])
	}
	return text, nil
}

// version is that of the configuration as plugins are told it.
func (l *List) version() string {
	if l.Version == "" {
		return "0.1.0"
	}
	return l.Version
}

// speaks tells whether plugins of the list are spoken to as since a version.
func (l *List) speaks(since version) bool {
	v, err := parseVersion(l.Version)
	return err == nil && !v.less(since)
}
