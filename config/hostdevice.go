package config

import (
	"slices"
	"strings"
)

// Device is one [[device]] table: a device of the host that the container may use.
type Device struct {
	Source string // absolute path on the host, below /dev
	Target string // absolute path in the container, below /dev
	Access string // "r", "w" or "rw"
	Mode   uint32 // permissions; 0: those on the host
	Owner  *Owner // nil: the container's root
}

// devices reads the [[device]] tables.
func (b *builder) devices(e *entry) { b.eachTable(e, b.device) }

func (b *builder) device(e *entry, i int, table map[string]any) {
	d := Device{Access: "rw"}
	known := []string{"source", "target", "access", "mode", "owner"}
	before := len(b.problems)
	for _, key := range sortedKeys(table) {
		switch v := table[key]; key {
		case "source":
			d.Source = b.devicePath(e, v, i, key)
		case "target":
			d.Target = b.devicePath(e, v, i, key)
		case "access":
			d.Access = b.deviceAccess(e, v, i)
		case "mode":
			d.Mode = b.templateMode(e, v, i)
		case "owner":
			d.Owner = b.owner(e, v, i)
		default:
			b.unknown(e, e.path(i, key), known)
		}
	}
	if _, ok := table["source"]; !ok {
		b.fail(e, []any{i}, "source is missing; name the device on the host, such as /dev/fuse")
	}
	if d.Target == "" {
		d.Target = d.Source
	}
	if len(b.problems) == before {
		b.c.Devices = append(b.c.Devices, d)
	}
}

// devicePath takes what DeviceAllow= of systemd.resource-control(5) takes, which is
// below /dev, and nothing that would have to be quoted there.
func (b *builder) devicePath(e *entry, v any, i int, key string) string {
	path := b.path(e, v, i, key)
	switch {
	case path == "":
		return ""
	case !strings.HasPrefix(path, "/dev/"):
		b.fail(e, []any{i, key}, "%q is not below /dev, where devices are", path)
		return ""
	case strings.ContainsAny(path, " \"'\\"):
		b.fail(e, []any{i, key}, "%q has a space, a quote or a backslash, which systemd cannot take here; use another path to the device", path)
		return ""
	}
	return path
}

func (b *builder) deviceAccess(e *entry, v any, i int) string {
	s, ok := b.plain(e, v, i, "access")
	if !ok {
		return ""
	}
	if s != "r" && s != "w" && s != "rw" {
		b.fail(e, []any{i, "access"}, `%q is not one of "r" (read), "w" (write) and "rw"`, s)
	}
	return s
}

// ownDevices are what every container has in /dev.
var ownDevices = [...]string{ //nolint:gochecknoglobals // a table, never written
	"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/console", "/dev/ptmx",
	"/dev/pts", "/dev/shm", "/dev/mqueue", "/dev/fd", "/dev/stdin", "/dev/stdout", "/dev/stderr",
}

// checkDevices refuses what cocker puts there itself.
func (b *builder) checkDevices(entries []*entry) {
	e := find(entries, "", "device")
	for i, d := range b.c.Devices {
		if slices.ContainsFunc(b.c.Devices[:i], func(other Device) bool { return other.Target == d.Target }) {
			b.fail(e, nil, "%q is the target of an earlier device; each may have one", d.Target)
		}
		for _, own := range ownDevices {
			if d.Target == own || strings.HasPrefix(d.Target, own+"/") {
				b.fail(e, nil, "%q is there in every container; use another target", d.Target)
			}
		}
	}
}
