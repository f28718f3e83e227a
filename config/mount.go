package config

import (
	"slices"
	"strconv"
	"strings"
)

// mounts reads the [[mount]] tables.
func (b *builder) mounts(e *entry) { b.eachTable(e, b.mount) }

// eachTable reads the tables of an array one by one.
func (b *builder) eachTable(e *entry, read func(e *entry, i int, table map[string]any)) {
	for i, table := range b.tables(e) {
		if table != nil {
			read(e, i, table)
		}
	}
}

// tables reads an array of tables; one that is none is nil.
func (b *builder) tables(e *entry) (tables []map[string]any) {
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
		b.fail(e, nil, "must be an array of tables, not %s; write [[%s]] with two brackets", kind(v), e.key)
	}
	return tables
}

func (b *builder) mount(e *entry, i int, table map[string]any) {
	var m Mount
	known := []string{"type", "source", "target", "read_only", "idmap", "size", "mode", "disk_max"}
	for _, key := range sortedKeys(table) {
		switch v := table[key]; key {
		case "type":
			m.Type = b.mountType(e, v, i)
		case "source":
			m.Source = b.source(e, v, i, table)
		case "target":
			m.Target = b.target(e, v, i)
		case "read_only":
			m.ReadOnly = b.flag(e, v, i, key)
		case "idmap":
			flag := b.flag(e, v, i, key)
			m.IDMap = &flag
		case "size":
			m.Size = b.size(e, v, i, key)
		case "mode":
			m.Mode = b.mode(e, v, i)
		case "disk_max":
			m.DiskMax = b.diskSize(e, v, i, key)
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

// mountRule is one thing that a type of mount needs, or does not have.
type mountRule struct {
	key   string
	wrong func(m Mount, given bool) bool
	text  string
}

// mountRules say which keys go together.
func mountRules() []mountRule {
	isnt := func(t MountType) func(Mount, bool) bool {
		return func(m Mount, given bool) bool { return given && m.Type != "" && m.Type != t }
	}
	is := func(t MountType) func(Mount, bool) bool {
		return func(m Mount, given bool) bool { return given && m.Type == t }
	}
	lacks := func(t MountType) func(Mount, bool) bool {
		return func(m Mount, given bool) bool { return !given && m.Type == t }
	}
	return []mountRule{
		{"source", lacks(MountBind), "source is missing; name the path of the host"},
		{"source", lacks(MountVolume), "source is missing; name the volume"},
		{"source", is(MountTmpfs), "a tmpfs has no source; leave it out"},
		{"idmap", is(MountTmpfs), "a tmpfs belongs to the container anyway; leave it out"},
		{"idmap", is(MountVolume), "a volume is always mapped to the container's ids; leave it out"},
		{"size", isnt(MountTmpfs), "only a tmpfs has a size; leave it out"},
		{"mode", isnt(MountTmpfs), "only a tmpfs has a mode; leave it out"},
		{"disk_max", isnt(MountVolume), "only a volume has this limit; leave it out"},
	}
}

// checkMount checks which keys go together. It says nothing of a key whose value
// has been reported.
func (b *builder) checkMount(e *entry, i int, table map[string]any, m Mount) bool {
	before := len(b.problems)
	has := func(key string) bool { _, ok := table[key]; return ok }
	if !has("type") {
		b.fail(e, []any{i}, `type is missing; set it to "bind" (a path of the host), "volume" (data with a name) or "tmpfs" (memory)`)
	}
	for _, rule := range mountRules() {
		if !rule.wrong(m, has(rule.key)) {
			continue
		}
		at := []any{i}
		if has(rule.key) {
			at = append(at, rule.key)
		}
		b.fail(e, at, "%s", rule.text)
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
	if !ok {
		return ""
	}
	switch t := MountType(s); t {
	case MountBind, MountVolume, MountTmpfs:
		return t
	}
	b.fail(e, []any{i, "type"}, `%q is not one of "bind" (a path of the host), "volume" (data with a name) and "tmpfs" (memory)`, s)
	return ""
}

// source is a path of the host, or the name of a volume.
func (b *builder) source(e *entry, v any, i int, table map[string]any) string {
	if table["type"] != string(MountVolume) {
		return b.path(e, v, i, "source")
	}
	s, ok := b.plain(e, v, i, "source")
	if !ok {
		return ""
	}
	if err := ValidVolume(s); err != nil {
		b.fail(e, []any{i, "source"}, "%v", err)
		return ""
	}
	return s
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

// size is a number of bytes.
func (b *builder) size(e *entry, v any, rest ...any) uint64 {
	if n, ok := v.(int64); ok {
		v = strconv.FormatInt(n, 10)
	}
	s, ok := b.plain(e, v, rest...)
	if !ok {
		return 0
	}
	n, problem := parseSize(s)
	if problem != "" {
		b.fail(e, rest, "%q %s", s, problem)
	}
	return n
}

// MinDisk is the least that a disk limit may be: a few directories, which every
// container has, are blocks of the disk too.
const MinDisk = 1 << 20

// diskSize is the number of bytes that may be written.
func (b *builder) diskSize(e *entry, v any, rest ...any) uint64 {
	n := b.size(e, v, rest...)
	if n != 0 && n < MinDisk {
		b.fail(e, rest, "%s is too little; use %s or more", FormatSize(n), FormatSize(MinDisk))
		return 0
	}
	return n
}

// mode is permissions, as chmod(1) takes them.
func (b *builder) mode(e *entry, v any, i int) uint32 {
	s, ok := v.(string)
	if !ok {
		b.fail(e, []any{i, "mode"}, `must be a string of octal digits, such as "0755", not %s`, kind(v))
		return 0
	}
	n, err := strconv.ParseUint(s, 8, 12)
	if err != nil || n == 0 {
		b.fail(e, []any{i, "mode"}, `%q is no mode; write octal digits, such as "0755"`, s)
		return 0
	}
	return uint32(n)
}

func sortedKeys(table map[string]any) []string {
	keys := make([]string, 0, len(table))
	for key := range table {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
