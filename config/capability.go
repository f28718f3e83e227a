package config

import (
	"slices"
	"strings"
)

// capabilityNames are those of capabilities(7), each at its number (linux/capability.h).
var capabilityNames = [...]string{ //nolint:gochecknoglobals // a table, never written
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID",
	"CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN",
	"CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT", "CAP_SYS_PTRACE",
	"CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_RESOURCE", "CAP_SYS_TIME",
	"CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL", "CAP_SETFCAP",
	"CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND", "CAP_AUDIT_READ",
	"CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE",
}

// AllCapabilities stands for every capability in a list of them.
const AllCapabilities = "all"

const everyCapability = 1<<len(capabilityNames) - 1

// capabilities reads a list of names as capabilities(7) has them, in any case and with or
// without "CAP_".
func (b *builder) capabilities(e *entry) []string {
	var names []string
	for i, v := range b.array(e, `capabilities, such as ["CAP_NET_ADMIN"]`) {
		s, ok := b.plain(e, v, i)
		if !ok {
			continue
		}
		name := capabilityName(s)
		switch {
		case name == "":
			b.fail(e, []any{i}, "%q is no capability%s; see capabilities(7), or write %q", s, likely(s), AllCapabilities)
		case slices.Contains(names, name):
			b.fail(e, []any{i}, "%q is there already; leave it out", name)
		default:
			names = append(names, name)
		}
	}
	return names
}

// capabilityName is the name as capabilities(7) spells it; "" if it is none.
func capabilityName(s string) string {
	if strings.EqualFold(s, AllCapabilities) {
		return AllCapabilities
	}
	name := "CAP_" + strings.TrimPrefix(strings.ToUpper(s), "CAP_")
	if !slices.Contains(capabilityNames[:], name) {
		return ""
	}
	return name
}

func likely(s string) string {
	if near := nearest("CAP_"+strings.TrimPrefix(strings.ToUpper(s), "CAP_"), capabilityNames[:]); near != "" {
		return ` (did you mean "` + near + `"?)`
	}
	return ""
}

// Capabilities is the set that the container has, bit n for capability n, where it has
// usual if its file does not say.
func (s *Security) Capabilities(usual uint64) uint64 {
	if s.Privileged {
		usual = everyCapability
	}
	return usual&^capabilitySet(s.DropCapabilities) | capabilitySet(s.AddCapabilities)&^capabilitySet(butAll(s.DropCapabilities))
}

func butAll(names []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == AllCapabilities })
}

func capabilitySet(names []string) (set uint64) {
	for _, name := range names {
		if name == AllCapabilities {
			return everyCapability
		}
		if i := slices.Index(capabilityNames[:], name); i >= 0 {
			set |= 1 << i
		}
	}
	return set
}

// CapabilityNames are the names of a set.
func CapabilityNames(set uint64) []string {
	var names []string
	for i, name := range capabilityNames {
		if set&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}
