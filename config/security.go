package config

import (
	"slices"
	"strings"
)

// Security is the [security] table: what of the confinement differs from the usual.
type Security struct {
	AddCapabilities  []string // names of capabilities(7), or AllCapabilities
	DropCapabilities []string
	ReadOnly         bool  // the root file system cannot be written to
	PrivateUsers     *bool // a user namespace with a range of ids of its own; nil: see OwnUsers
	Privileged       bool  // nothing is kept from it
	AppArmorProfile  string
	SELinuxLabel     string // of its processes: "user:role:type:level"
	SELinuxMount     string // of its files
}

// OwnUsers tells whether the container has a user namespace of its own. One that is
// privileged has not, unless its file says so.
func (s *Security) OwnUsers() bool {
	if s.PrivateUsers != nil {
		return *s.PrivateUsers
	}
	return !s.Privileged
}

// AllDevices tells whether the container has every device of the host: in a user namespace
// of its own they would be all that is missing for taking over the host.
func (s *Security) AllDevices() bool { return s.Privileged && !s.OwnUsers() }

// Open are short words for what Warnings tells.
func (s *Security) Open() (words []string) {
	if s.Privileged {
		words = append(words, "privileged")
	}
	if !s.OwnUsers() {
		words = append(words, "no user namespace")
	}
	return words
}

// Warnings are what an administrator should be reminded of at each start.
func (s *Security) Warnings() []string {
	var warnings []string
	switch {
	case s.AllDevices():
		warnings = append(warnings, "privileged = true: it has every capability, every device of the host and nothing is hidden from it; "+
			"whoever is root in it can take over the host")
	case s.Privileged:
		warnings = append(warnings, "privileged = true: it has every capability over its own namespaces, and nothing of /proc and /sys is hidden from it; "+
			"only the user namespace keeps it in")
	}
	if !s.OwnUsers() {
		warnings = append(warnings, "private_users = false: its root is the host's root and its users are the host's; "+
			"only capabilities, system calls and what is mounted keep it in")
	}
	return warnings
}

// checkSecurity reports what does not go together.
func (b *builder) checkSecurity(entries []*entry) {
	s := &b.c.Security
	for _, name := range s.AddCapabilities {
		if slices.Contains(s.DropCapabilities, name) {
			b.fail(find(entries, "security", "add_capabilities"), nil, "%q is in drop_capabilities too; keep one of them", name)
		}
	}
	for _, pair := range [][2]string{{s.SELinuxMount, s.SELinuxLabel}, {s.SELinuxLabel, s.SELinuxMount}} {
		if pair[0] != "" && pair[1] == "" {
			b.missingLabel(entries)
		}
	}
	b.checkSysctls(entries)
	b.checkDevices(entries)
}

func (b *builder) missingLabel(entries []*entry) {
	if e := find(entries, "security", "selinux_label"); e != nil {
		b.fail(e, nil, "its processes could not use its files without selinux_mount_label; set both")
	} else if e := find(entries, "security", "selinux_mount_label"); e != nil {
		b.fail(e, nil, "it is for the files of processes with selinux_label; set both")
	}
}

// profile is the name of an AppArmor profile: apparmor.d(5), without what would have a
// meaning in /proc/PID/attr/exec or in a list.
func (b *builder) profile(e *entry) string {
	s, ok := b.plain(e, e.value)
	if !ok {
		return ""
	}
	if s == "" || len(s) > 255 || strings.ContainsAny(s, " \"'\\,") {
		b.fail(e, nil, "%q is no name of an AppArmor profile; aa-status(8) lists those that are loaded", s)
		return ""
	}
	return s
}

// label is a security context of SELinux. A quote would end the mount option that it
// becomes.
func (b *builder) label(e *entry) string {
	s, ok := b.plain(e, e.value)
	if !ok {
		return ""
	}
	parts := strings.SplitN(s, ":", 4)
	valid := len(parts) >= 3 && len(s) <= 255
	for _, r := range s {
		valid = valid && (isAlphanumeric(r) || strings.ContainsRune("_:.,-", r))
	}
	for _, part := range parts {
		valid = valid && part != ""
	}
	if !valid {
		b.fail(e, nil, `%q is no SELinux context; write "user:role:type:level", such as "system_u:system_r:container_t:s0:c1,c2"`, s)
		return ""
	}
	return s
}
