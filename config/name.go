package config

import (
	"fmt"
	"strings"
)

// Limits of a name. 64 is HOST_NAME_MAX of Linux, what sethostname(2) takes;
// 63 is the limit of one label in RFC 1035 section 2.3.4.
const (
	maxName  = 64
	maxLabel = 63
)

// ValidName tells what is wrong with name as the name of a container: it is a
// host name, since the container gets it as its own and everybody else finds
// the container by it. Labels of letters, digits and inner "-" are joined by
// ".", 64 bytes in total.
func ValidName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("a container's name may not be empty")
	case len(name) > maxName:
		return fmt.Errorf("%q is no valid container name: longer than %d bytes", name, maxName)
	}
	for label := range strings.SplitSeq(name, ".") {
		if reason := badLabel(label); reason != "" {
			return fmt.Errorf("%q is no valid container name: %s", name, reason)
		}
	}
	return nil
}

// ValidVolume tells what is wrong with name as the name of a volume. It becomes the
// name of a directory: neither "..", nor hidden, nor a path.
func ValidVolume(name string) error {
	bad := strings.IndexFunc(name, func(r rune) bool { return !isAlphanumeric(r) && !strings.ContainsRune("_.-", r) })
	switch {
	case name == "":
		return fmt.Errorf("a volume's name may not be empty")
	case len(name) > maxName:
		return fmt.Errorf("%q is no valid volume name: longer than %d bytes", name, maxName)
	case strings.ContainsRune(name, '/'):
		return fmt.Errorf("%q is a path and no volume name; for a path of the host use type = \"bind\"", name)
	case bad >= 0 || !isAlphanumeric(rune(name[0])):
		return fmt.Errorf("%q is no valid volume name; use letters, digits, \"_\", \".\" and \"-\", and begin with a letter or digit", name)
	}
	return nil
}

// badLabel says what is wrong with one label of a host name, or "".
func badLabel(label string) string {
	switch {
	case label == "":
		return "it has an empty part; dots may stand only between letters or digits"
	case len(label) > maxLabel:
		return fmt.Sprintf("a part between dots is longer than %d bytes", maxLabel)
	case label[0] == '-' || label[len(label)-1] == '-':
		return `a "-" may stand only between letters or digits`
	}
	for _, r := range label {
		if !isAlphanumeric(r) && r != '-' {
			return fmt.Sprintf("the character %q is not allowed in a host name; use letters, digits, \"-\" and \".\"", r)
		}
	}
	return ""
}

func isAlphanumeric(r rune) bool { return isLetter(r) || isDigit(r) }

func isLetter(r rune) bool { return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' }

func isDigit(r rune) bool { return '0' <= r && r <= '9' }
