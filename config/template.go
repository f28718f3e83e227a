package config

import (
	"path"
	"slices"
	"strconv"
	"strings"
)

// templates reads the [[template]] tables.
func (b *builder) templates(e *entry) { b.eachTable(e, b.template) }

func (b *builder) template(e *entry, i int, table map[string]any) {
	var t Template
	known := []string{"source", "host_source", "target", "map", "values", "credentials", "mode", "owner"}
	before := len(b.problems)
	for _, key := range sortedKeys(table) {
		switch v := table[key]; key {
		case "source":
			t.Source = b.path(e, v, i, key)
		case "host_source":
			t.HostSource = b.path(e, v, i, key)
		case "target":
			t.Target = b.target(e, v, i)
		case "map":
			t.Map = b.path(e, v, i, key)
		case "values":
			t.Values = b.templateValues(e, v, i, key, b.value)
		case "credentials":
			t.Credentials = b.templateValues(e, v, i, key, b.credentialName)
		case "mode":
			t.Mode = b.templateMode(e, v, i)
		case "owner":
			t.Owner = b.owner(e, v, i)
		default:
			b.unknown(e, e.path(i, key), known)
		}
	}
	b.checkTemplate(e, i, table, t)
	if len(b.problems) == before {
		b.c.Templates = append(b.c.Templates, t)
	}
}

// checkTemplate checks which keys go together. It says nothing of a key whose value has
// been reported.
func (b *builder) checkTemplate(e *entry, i int, table map[string]any, t Template) {
	has := func(key string) bool { _, ok := table[key]; return ok }
	switch {
	case !has("source") && !has("host_source"):
		b.fail(e, []any{i}, "source is missing; name the template's path in the container, or with host_source on the host")
	case has("source") && has("host_source"):
		b.fail(e, []any{i, "host_source"}, "source is set too; a template is in the container or on the host")
	}
	if !has("target") {
		b.fail(e, []any{i}, "target is missing; name the path in the container")
		return
	}
	same := func(other Template) bool { return other.Target == t.Target }
	switch {
	case t.Target == "":
	case t.Target == t.Source:
		b.fail(e, []any{i, "target"}, "%q is the template itself, which would be lost; use another target", t.Target)
	case slices.ContainsFunc(b.c.Templates, same):
		b.fail(e, []any{i, "target"}, "%q is the target of an earlier template; each may have one", t.Target)
	}
	for _, c := range t.Credentials {
		if slices.ContainsFunc(t.Values, func(v TemplateValue) bool { return v.Key == c.Key }) {
			b.fail(e, []any{i, "credentials"}, "%q has a value in values too; keep one of them", c.Key)
		}
	}
}

// TemplateKey gives the name that a template has between "${" and "}"; key is the name
// alone or with these around it.
func TemplateKey(key string) (name string, ok bool) {
	name = key
	if rest, found := strings.CutPrefix(key, "${"); found {
		if name, found = strings.CutSuffix(rest, "}"); !found {
			return "", false
		}
	}
	for i := range len(name) {
		c := rune(name[i])
		if !isLetter(c) && c != '_' && (i == 0 || !isDigit(c) && c != '.' && c != '-') {
			return "", false
		}
	}
	return name, name != "" && len(name) <= maxKey
}

// maxKey is how long the name of a key may be, as that of a file.
const maxKey = 255

// OwnKeys begin the names of the values that cocker knows itself.
const OwnKeys = "cocker."

// templateValues reads a table of keys as a template has them, sorted.
func (b *builder) templateValues(e *entry, v any, i int, key string, read func(*entry, any, ...any) (string, bool)) []TemplateValue {
	table, ok := v.(map[string]any)
	if !ok {
		b.fail(e, []any{i, key}, `must be a table such as { PORT = "8080" }, not %s`, kind(v))
		return nil
	}
	var values []TemplateValue
	for _, written := range sortedKeys(table) {
		name, ok := TemplateKey(written)
		switch {
		case !ok:
			b.fail(e, []any{i, key, written}, `is no key of a template; write NAME or "${NAME}" with letters, digits, "_", "." and "-"`)
			continue
		case strings.HasPrefix(name, OwnKeys):
			b.fail(e, []any{i, key, written}, "the keys that begin with %q are cocker's own; use another", OwnKeys)
			continue
		case slices.ContainsFunc(values, func(v TemplateValue) bool { return v.Key == name }):
			b.fail(e, []any{i, key, written}, "%q is written in both ways; keep one of them", name)
			continue
		}
		if value, ok := read(e, table[written], i, key, written); ok {
			values = append(values, TemplateValue{Key: name, Value: value})
		}
	}
	slices.SortFunc(values, func(x, y TemplateValue) int { return strings.Compare(x.Key, y.Key) })
	return values
}

// value is a text, which a number or a truth value may be written as.
func (b *builder) value(e *entry, v any, rest ...any) (string, bool) {
	switch v := v.(type) {
	case int64:
		return strconv.FormatInt(v, 10), true
	case bool:
		return strconv.FormatBool(v), true
	}
	return b.text(e, v, rest...)
}

// credentialName is the name of one. systemd takes any name of a file (systemd.exec(5));
// a path would lead out of the directory of the credentials (CVE-2026-33945).
func (b *builder) credentialName(e *entry, v any, rest ...any) (string, bool) {
	s, ok := b.plain(e, v, rest...)
	if !ok {
		return "", false
	}
	if s == "." || s == ".." || s == "" || path.Base(s) != s || len(s) > 255 || strings.Contains(s, ":") {
		b.fail(e, rest, "%q is no name of a credential; it is that of a key of [credentials], or of LoadCredential= in [service], without a path", s)
		return "", false
	}
	return s, true
}

func (b *builder) templateMode(e *entry, v any, i int) uint32 {
	mode := b.mode(e, v, i)
	if mode > 0o777 {
		b.fail(e, []any{i, "mode"}, "%04o: a filled-in file is given no set-user-ID, set-group-ID or sticky bit; use up to 0777", mode)
		return 0
	}
	return mode
}

// owner is "UID" or "UID:GID" in numbers: names are for the container's own files, which
// anybody in it may have changed.
func (b *builder) owner(e *entry, v any, i int) *Owner {
	s, ok := v.(string)
	if !ok {
		b.fail(e, []any{i, "owner"}, `must be a string such as "33:33", not %s`, kind(v))
		return nil
	}
	user, group, both := strings.Cut(s, ":")
	if !both {
		group = user
	}
	uid, err := strconv.ParseUint(user, 10, 32)
	gid, gidErr := strconv.ParseUint(group, 10, 32)
	if err != nil || gidErr != nil || uid > maxID || gid > maxID {
		b.fail(e, []any{i, "owner"}, `%q is not "UID" or "UID:GID" in numbers from 0 to %d, as in the container`, s, maxID)
		return nil
	}
	return &Owner{UID: uint32(uid), GID: uint32(gid)}
}
