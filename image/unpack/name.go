package unpack

import (
	"errors"
	"fmt"
	"strings"
)

// The kernel's limits for a path and an element of one, and one of ours: code
// that walks a layer holds a descriptor for each level.
const (
	maxPath    = 4095
	maxElement = 255
	maxDepth   = 256
)

// CleanName returns the name of an entry as an unpacker may use it: relative, without
// "." and "..". "" is the root of what is unpacked.
func CleanName(name string) (string, error) { return cleanName(name) }

// cleanName returns an entry's name without "." and empty elements; "" is the
// layer's root. A name that points out of the layer is refused, not bent: an
// honest archiver does not write it, but for "/" as the name of the root ("umoci
// insert" of a directory).
func cleanName(name string) (string, error) {
	if name == "" {
		return "", errors.New("the name is empty")
	}
	if len(name) > maxPath {
		return "", fmt.Errorf("the name is longer than %d bytes", maxPath)
	}
	if strings.Trim(name, "/") == "" {
		return "", nil
	}
	if name[0] == '/' {
		return "", errors.New("the name is absolute")
	}
	if strings.IndexByte(name, 0) >= 0 {
		return "", errors.New("the name has a zero byte")
	}
	var elements []string
	for e := range strings.SplitSeq(name, "/") {
		switch {
		case e == "..":
			return "", errors.New(`the name has an element ".."`)
		case len(e) > maxElement:
			return "", fmt.Errorf("an element of the name is longer than %d bytes", maxElement)
		case e != "" && e != ".":
			elements = append(elements, e)
		}
	}
	if len(elements) > maxDepth {
		return "", fmt.Errorf("the name has more than %d elements", maxDepth)
	}
	return strings.Join(elements, "/"), nil
}

// splitName cuts a clean name into its directory ("" is the root) and its last
// element.
func splitName(name string) (dir, base string) {
	slash := strings.LastIndexByte(name, '/')
	if slash < 0 {
		return "", name
	}
	return name[:slash], name[slash+1:]
}
