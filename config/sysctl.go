package config

import (
	"slices"
	"strconv"
	"strings"
)

// Sysctl is one line of [sysctls].
type Sysctl struct {
	Name  string // with dots: "net.core.somaxconn"
	Value string
}

// namespacedSysctls are the switches that a namespace has of its own; those of the
// network are all below "net." (ipc/ipc_sysctl.c, ipc/mq_sysctl.c and
// kernel/utsname_sysctl.c of Linux). An engine that sets others sets the host's: with
// kernel.core_pattern that is a program that the host's root runs (CVE-2022-0811).
var namespacedSysctls = [...]string{ //nolint:gochecknoglobals // a table, never written
	"kernel.shmall", "kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced",
	"kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.domainname",
	"fs.mqueue.queues_max", "fs.mqueue.msg_max", "fs.mqueue.msgsize_max", "fs.mqueue.msg_default", "fs.mqueue.msgsize_default",
}

// sysctl reads one line. The name may be one key in quotes, or keys with dots.
func (b *builder) sysctl(e *entry) {
	name := strings.Join(append(slices.Clone(e.inner), e.key), ".")
	if problem := badSysctl(name); problem != "" {
		b.fail(e, nil, "%s", problem)
		return
	}
	v := e.value
	switch n := v.(type) {
	case int64:
		v = strconv.FormatInt(n, 10)
	case bool:
		b.fail(e, nil, "must be a number or a string; write 1 for true and 0 for false")
		return
	}
	value, ok := b.plain(e, v)
	if value = strings.TrimSpace(value); ok && value == "" {
		b.fail(e, nil, "has no value; leave it out for the kernel's own")
		return
	}
	if ok {
		b.c.Sysctls = append(b.c.Sysctls, Sysctl{name, value})
	}
}

// badSysctl says why a switch is not for a container, or "".
func badSysctl(name string) string {
	parts := strings.Split(name, ".")
	for _, part := range parts {
		for _, r := range part {
			if !isAlphanumeric(r) && r != '_' && r != '-' {
				return `is no name of a sysctl; write it with dots, as "net.core.somaxconn"`
			}
		}
		if part == "" || len(parts) < 2 {
			return `is no name of a sysctl; write it with dots, as "net.core.somaxconn"`
		}
	}
	switch {
	case name == "kernel.hostname":
		return "is the container's host name; set hostname"
	case parts[0] == "net" && len(parts) > 4 && (parts[2] == "conf" || parts[2] == "neigh") && parts[3] != "all" && parts[3] != "default":
		return "is of an interface, and the container's get theirs later; set it for " + strings.Join(parts[:3], ".") + ".default, which new ones take"
	case parts[0] == "net" || slices.Contains(namespacedSysctls[:], name):
		return ""
	}
	return "would be set for the whole host, as no namespace has one of its own; a container may set net.*, kernel.shm*, kernel.msg*, kernel.sem, kernel.domainname and fs.mqueue.*"
}

// checkSysctls refuses those of a namespace that is not the container's own.
func (b *builder) checkSysctls(entries []*entry) {
	slices.SortFunc(b.c.Sysctls, func(x, y Sysctl) int { return strings.Compare(x.Name, y.Name) })
	for _, s := range b.c.Sysctls {
		ofNetwork := strings.HasPrefix(s.Name, "net.")
		e := find(entries, "sysctls", s.Name)
		switch {
		case b.c.Pod != "":
			b.fail(e, nil, "is of a namespace that the containers of the pod %s share", b.c.Pod)
		case ofNetwork && b.c.HostNetwork():
			b.fail(e, nil, `would be set for the whole host, whose network the container has; with another network.mode it has its own`)
		case ofNetwork && !b.c.OwnNetwork():
			b.fail(e, nil, "is of a network that is not the container's own; set it where that is made")
		}
	}
}
