package config

import (
	"slices"
	"strings"
	"unicode"
)

// CredentialSource says where a credential comes from.
type CredentialSource string

// The keys of a table in [credentials]; each has one of them.
const (
	CredentialLoad         CredentialSource = "load"          // LoadCredential= of systemd.exec(5)
	CredentialEncrypted    CredentialSource = "encrypted"     // LoadCredentialEncrypted=
	CredentialSet          CredentialSource = "set"           // the value; see Credential
	CredentialSetEncrypted CredentialSource = "set_encrypted" // SetCredentialEncrypted=
)

var credentialKeys = [...]string{"load", "encrypted", "set", "set_encrypted"} //nolint:gochecknoglobals // a table, never written

// Credential is one secret that the container sees as a file.
//
// A value that is set never becomes SetCredential=: generated unit files and the unit's
// properties on the bus are for everybody to read (systemd.exec(5), "SetCredential=").
type Credential struct {
	Name  string
	From  CredentialSource
	Value string // an absolute path or the name of a credential of the host; or the value itself
}

// MaxCredentials bounds all credentials of a container together, as systemd does
// (systemd.exec(5), "Credentials").
const MaxCredentials = 1 << 20

// credential reads one table of [credentials]. No problem tells the value.
func (b *builder) credential(e *entry) {
	if !validCredential(e.key) {
		b.fail(e, nil, `is no name of a credential; use up to 255 letters, digits, "_", "-" and "."`)
		return
	}
	table, ok := e.value.(map[string]any)
	if !ok {
		b.fail(e, nil, `must be a table such as { load = "/etc/secrets/%s" }, not %s`, e.key, kind(e.value))
		return
	}
	known := credentialKeys[:]
	var all []Credential
	before := len(b.problems)
	for _, key := range sortedKeys(table) {
		if _, dotted := table[key].(map[string]any); dotted && !slices.Contains(known, key) {
			b.fail(e, []any{key}, `a name with a dot needs quotes: "%s.%s"`, e.key, key)
			continue
		}
		c := Credential{Name: e.key, From: CredentialSource(key)}
		switch c.From {
		case CredentialLoad, CredentialEncrypted:
			c.Value = b.credentialPath(e, table[key], key)
		case CredentialSet:
			c.Value = b.credentialText(e, table[key], key)
		case CredentialSetEncrypted:
			c.Value = b.encryptedText(e, table[key], key)
		default:
			b.unknown(e, e.path(key), known)
		}
		all = append(all, c)
	}
	switch {
	case len(b.problems) > before:
	case len(all) != 1:
		b.fail(e, nil, "must have one of the keys %s", strings.Join(known, ", "))
	default:
		b.c.Credentials = append(b.c.Credentials, all[0])
	}
}

// validCredential is narrower than systemd, which takes the name of any file but those
// with a colon or a space: this one is a file of the container, too (CVE-2026-33945).
func validCredential(name string) bool {
	for _, r := range name {
		if !isAlphanumeric(r) && r != '_' && r != '-' && r != '.' {
			return false
		}
	}
	return name != "" && name != "." && name != ".." && len(name) <= 255
}

// credentialPath is an absolute path, or the name of a credential that systemd looks for.
// systemd reads it up to the end of the line, but hands it to systemd-executor as a word
// of several and then starts nothing: "Failed to deserialize" (seen with systemd 257,
// exec-context-load-credentials in core/execute-serialize.c).
func (b *builder) credentialPath(e *entry, v any, key string) string {
	s, isText := v.(string)
	switch {
	case isText && !strings.Contains(s, "/") && validCredential(s):
		return s
	case isText && !strings.HasPrefix(s, "/"):
		b.fail(e, []any{key}, "%q must be an absolute path, or the name of a credential of the host", s)
		return ""
	}
	s = b.path(e, v, key)
	if strings.ContainsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || r == '\\' }) {
		b.fail(e, []any{key}, "%q has a space or a backslash, with which systemd cannot load a credential; rename the file", s)
	}
	return s
}

// credentialText is a value. A file that everybody reads holds no secret.
func (b *builder) credentialText(e *entry, v any, key string) string {
	s, ok := v.(string)
	switch {
	case !ok:
		b.fail(e, []any{key}, "must be a string, not %s", kind(v))
	case e.src.readable:
		b.fail(e, []any{key}, "everybody can read this file, so it holds no secret: chmod o= %s, or put the value into a file of its own and name that with load", e.src.file)
	case len(s) > MaxCredentials:
		b.fail(e, []any{key}, "has %d bytes; all credentials of a container together may have %d", len(s), MaxCredentials)
	}
	return s
}

// encryptedText is what systemd-creds(1) encrypt prints, with or without its line breaks.
func (b *builder) encryptedText(e *entry, v any, key string) string {
	s, ok := v.(string)
	if !ok {
		b.fail(e, []any{key}, "must be a string, not %s", kind(v))
		return ""
	}
	s = strings.Join(strings.Fields(s), "")
	if !isBase64(s) {
		b.fail(e, []any{key}, `is not what "systemd-creds encrypt --name=%s FILE -" prints`, e.key)
	}
	return s
}

// isBase64 is RFC 4648, section 4; systemd ignores a line that is not.
func isBase64(s string) bool {
	digits := strings.TrimSuffix(strings.TrimSuffix(s, "="), "=")
	return s != "" && len(s)%4 == 0 &&
		!strings.ContainsFunc(digits, func(r rune) bool { return !isAlphanumeric(r) && r != '+' && r != '/' })
}

// checkCredentials refuses what [service] says of a credential of the same name: systemd
// would take the last one.
func (b *builder) checkCredentials(entries []*entry) {
	slices.SortFunc(b.c.Credentials, func(x, y Credential) int { return strings.Compare(x.Name, y.Name) })
	for _, d := range b.c.Service {
		if !strings.HasPrefix(d.Key, "LoadCredential") && !strings.HasPrefix(d.Key, "SetCredential") {
			continue
		}
		name, _, _ := strings.Cut(d.Value, ":")
		if slices.ContainsFunc(b.c.Credentials, func(c Credential) bool { return c.Name == name }) {
			b.fail(find(entries, "credentials", name), nil, "[service] has %s= of that name; keep one of them", d.Key)
		}
	}
}
