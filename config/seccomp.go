package config

import "strings"

// The values of the key seccomp beside a path.
const (
	SeccompDefault = "default" // Container.Seccomp has "" for it
	SeccompNone    = "none"    // no filter
)

func (b *builder) seccomp(e *entry) {
	s, ok := b.plain(e, e.value)
	switch {
	case !ok:
	case s == SeccompDefault:
		b.c.Seccomp = ""
	case s == SeccompNone:
		b.c.Seccomp = s
	case strings.HasPrefix(s, "/"):
		b.c.Seccomp = b.path(e, s)
	default:
		b.fail(e, nil, `%q is none of "default", "none" and the absolute path of a profile`, s)
	}
}

// Unfiltered tells whether nothing filters system calls. A profile is followed also where
// everything else is off.
func (c *Container) Unfiltered() bool {
	return c.Seccomp == SeccompNone || c.Seccomp == "" && c.Security.Privileged
}

// SeccompProfile is the path of the file that the container's filter is made of; "": it is
// the default, or there is none.
func (c *Container) SeccompProfile() string {
	if strings.HasPrefix(c.Seccomp, "/") {
		return c.Seccomp
	}
	return ""
}
