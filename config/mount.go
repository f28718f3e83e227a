package config

import (
	"slices"
	"strconv"
	"strings"
)

// mounts reads the [[mount]] tables.
func (b *builder) mounts(e *entry) {
	var tables []map[string]any
	switch v := e.value.(type) {
	case []map[string]any:
		tables = v
	case []any: // mount = [{...}, ...] may come as this
		for i, element := range v {
			table, ok := element.(map[string]any)
			if !ok {
				b.fail(e, []any{i}, "must be a table, not %s", kind(element))
			}
			tables = append(tables, table)
		}
	default:
		b.fail(e, nil, "must be an array of tables, not %s; write [[mount]] with two brackets", kind(v))
	}
	for i, table := range tables {
		if table != nil {
			b.mount(e, i, table)
		}
	}
}

func (b *builder) mount(e *entry, i int, table map[string]any) {
	var m Mount
	known := []string{"type", "source", "target", "read_only", "idmap", "size"}
	for _, key := range sortedKeys(table) {
		switch v := table[key]; key {
		case "type":
			m.Type = b.mountType(e, v, i)
		case "source":
			m.Source = b.path(e, v, i, key)
		case "target":
			m.Target = b.target(e, v, i)
		case "read_only":
			m.ReadOnly = b.flag(e, v, i, key)
		case "idmap":
			flag := b.flag(e, v, i, key)
			m.IDMap = &flag
		case "size":
			m.Size = b.size(e, v, i)
		default:
			b.unknown(e, e.path(i, key), known)
		}
	}
	if b.checkMount(e, i, table, m) {
		b.c.Mounts = append(b.c.Mounts, m)
	}
}

// MapsIDs tells whether a bind mount is idmapped. If the file does not say, only
// one that the container cannot write to is: for the others the container's root
// would be the host's root, and could leave a set-user-ID program there for others
// to run.
func (m Mount) MapsIDs() bool {
	if m.IDMap != nil {
		return *m.IDMap
	}
	return m.ReadOnly
}

// checkMount checks which keys go together. It says nothing of a key whose value
// has been reported.
func (b *builder) checkMount(e *entry, i int, table map[string]any, m Mount) bool {
	before := len(b.problems)
	has := func(key string) bool { _, ok := table[key]; return ok }
	switch {
	case !has("type"):
		b.fail(e, []any{i}, `type is missing; set it to "bind" (a path of the host) or "tmpfs" (memory)`)
	case m.Type == MountBind && !has("source"):
		b.fail(e, []any{i}, "source is missing; name the path of the host")
	case m.Type == MountTmpfs && has("source"):
		b.fail(e, []any{i, "source"}, "a tmpfs has no source; leave it out")
	case m.Type == MountTmpfs && has("idmap"):
		b.fail(e, []any{i, "idmap"}, "a tmpfs belongs to the container anyway; leave it out")
	case m.Type == MountBind && has("size"):
		b.fail(e, []any{i, "size"}, "only a tmpfs has a size; leave it out")
	}
	if !has("target") {
		b.fail(e, []any{i}, "target is missing; name the path in the container")
	}
	same := func(other Mount) bool { return other.Target == m.Target }
	if m.Target != "" && slices.ContainsFunc(b.c.Mounts, same) {
		b.fail(e, []any{i, "target"}, "%q is the target of an earlier mount; each may have one", m.Target)
	}
	return len(b.problems) == before && m.Target != "" && m.Type != ""
}

func (b *builder) mountType(e *entry, v any, i int) MountType {
	s, ok := b.plain(e, v, i, "type")
	if ok && s != string(MountBind) && s != string(MountTmpfs) {
		b.fail(e, []any{i, "type"}, `%q is not one of "bind" (a path of the host) and "tmpfs" (memory)`, s)
		return ""
	}
	return MountType(s)
}

// target refuses the places that cocker itself fills: a mount there would hide
// /proc from the container's programs or the host's devices would come back.
func (b *builder) target(e *entry, v any, i int) string {
	target := b.path(e, v, i, "target")
	if target == "/" {
		b.fail(e, []any{i, "target"}, `"/" is the image; use image or images`)
		return ""
	}
	for _, own := range []string{"/proc", "/sys", "/dev"} {
		if target == own || strings.HasPrefix(target, own+"/") {
			b.fail(e, []any{i, "target"}, "%q: cocker sets up %s itself, restricted to what a container may see; use another target", target, own)
			return ""
		}
	}
	return target
}

func (b *builder) flag(e *entry, v any, rest ...any) bool {
	flag, ok := v.(bool)
	if !ok {
		b.fail(e, rest, "must be true or false, not %s", kind(v))
	}
	return flag
}

// size is the number of bytes of a tmpfs.
func (b *builder) size(e *entry, v any, i int) uint64 {
	if n, ok := v.(int64); ok {
		v = strconv.FormatInt(n, 10)
	}
	s, ok := b.plain(e, v, i, "size")
	if !ok {
		return 0
	}
	n, problem := parseSize(s)
	if problem != "" {
		b.fail(e, []any{i, "size"}, "%q %s", s, problem)
	}
	return n
}

func sortedKeys(table map[string]any) []string {
	keys := make([]string, 0, len(table))
	for key := range table {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
