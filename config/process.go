package config

import (
	"slices"
	"strconv"
	"strings"
)

// maxID is the highest user or group id inside a container: a container has
// 65536 of them, and 65535 is (uid_t)-1 in 16 bits, which systemd refuses too.
const maxID = 65534

func (b *builder) image(e *entry) []string {
	if s, ok := b.reference(e, e.value); ok {
		return []string{s}
	}
	return nil
}

func (b *builder) images(e *entry) []string {
	list := b.array(e, "image names, lowest first")
	if list != nil && len(list) == 0 {
		b.fail(e, nil, "is empty; name at least one image")
	}
	var names []string
	for i, v := range list {
		if s, ok := b.reference(e, v, i); ok {
			names = append(names, s)
		}
	}
	return names
}

func (b *builder) reference(e *entry, v any, rest ...any) (string, bool) {
	s, ok := b.plain(e, v, rest...)
	if !ok {
		return "", false
	}
	if problem := badReference(s); problem != "" {
		b.fail(e, rest, "%q is no image name: %s", s, problem)
		return "", false
	}
	return s, true
}

func (b *builder) command(e *entry) {
	b.c.Command = b.arguments(e)
	if b.c.Command != nil && len(b.c.Command) == 0 {
		b.fail(e, nil, "is empty; leave the key out to run the image's command")
	}
}

// entrypoint may be empty: the image's is not used then.
func (b *builder) entrypoint(e *entry) { b.c.Entrypoint = b.arguments(e) }

// arguments reads a program and its arguments, or arguments alone.
func (b *builder) arguments(e *entry) []string {
	if s, ok := e.value.(string); ok {
		b.fail(e, nil, `must be an array of the program and its arguments, such as ["sh", "-c", %q]; a string is not split`, s)
		return nil
	}
	list := b.array(e, "strings")
	if list == nil {
		return nil
	}
	arguments := make([]string, 0, len(list))
	for i, v := range list {
		if s, ok := b.text(e, v, i); ok {
			arguments = append(arguments, s)
		}
	}
	if len(arguments) > 0 && arguments[0] == "" {
		b.fail(e, []any{0}, "the program's name is empty")
	}
	return arguments
}

func (b *builder) init(e *entry) {
	switch s, ok := b.plain(e, e.value); {
	case !ok:
	case s == string(InitCocker), s == string(InitNone), s == string(InitImage):
		b.c.Init = InitMode(s)
	default:
		b.fail(e, nil, `%q is not one of "cocker" (cocker's init is PID 1), "none" (the command is PID 1) and "image" (the image's own init boots)`, s)
	}
}

// account is "USER" or "USER:GROUP"; "" if it was reported.
func (b *builder) account(e *entry) string {
	if _, ok := e.value.(int64); ok {
		b.fail(e, nil, `must be a string: write "%v"`, e.value)
		return ""
	}
	s, ok := b.plain(e, e.value)
	if !ok {
		return ""
	}
	user, group, hasGroup := strings.Cut(s, ":")
	problem := badAccount(user)
	if problem == "" && hasGroup {
		problem = badAccount(group)
	}
	if problem != "" {
		b.fail(e, nil, `%q is not "USER" or "USER:GROUP": %s`, s, problem)
		return ""
	}
	return s
}

// badAccount says what is wrong with a user or group, a name or a number.
func badAccount(s string) string {
	if s != "" && strings.TrimLeft(s, "0123456789") == "" {
		if n, err := strconv.ParseUint(s, 10, 32); err != nil || n > maxID {
			return "an id in a container is a number from 0 to " + strconv.Itoa(maxID)
		}
		return ""
	}
	switch {
	case s == "":
		return "a name is empty"
	case len(s) > 256: // LOGIN_NAME_MAX, the most that any C library takes
		return "a name is longer than 256 bytes"
	case !isLetter(rune(s[0])) && s[0] != '_':
		return `a name begins with a letter or "_"`
	}
	// As useradd(8) has it: a final "$" is for Samba's machine accounts.
	for _, r := range strings.TrimSuffix(s, "$") {
		if !isAlphanumeric(r) && !strings.ContainsRune("_.-", r) {
			return strconv.QuoteRune(r) + " may not be in a name"
		}
	}
	return ""
}

func (b *builder) hostname(e *entry) {
	s, ok := b.plain(e, e.value)
	if !ok {
		return
	}
	if err := ValidName(s); err != nil {
		b.fail(e, nil, "%s", strings.ReplaceAll(err.Error(), "container name", "host name"))
		return
	}
	b.c.Hostname = s
}

func (b *builder) stopSignal(e *entry) { b.c.StopSignal = b.signalName(e) }

// signalName is the name of a signal, with "SIG"; "" if it is none.
func (b *builder) signalName(e *entry) string {
	if _, ok := e.value.(int64); ok {
		b.fail(e, nil, `must be the name of a signal, such as "SIGTERM"; numbers differ between machines`)
		return ""
	}
	s, ok := b.plain(e, e.value)
	if !ok {
		return ""
	}
	name, _, ok := Signal(s)
	if !ok {
		text := "is no signal"
		if near := nearest(s, signalNames()); near != "" {
			text += " (did you mean \"" + near + "\"?)"
		}
		b.fail(e, nil, "%q %s", s, text)
		return ""
	}
	return name
}

func (b *builder) environment(e *entry) {
	if v, ok := b.variable(e); ok {
		b.c.Environment = append(b.c.Environment, v)
	}
}

// variable is one variable of an environment.
func (b *builder) variable(e *entry) (v EnvironmentVariable, ok bool) {
	if !validVariable(e.key) {
		b.fail(e, nil, `is no name of a variable; use letters, digits and "_", not beginning with a digit`)
		return v, false
	}
	value := e.value
	switch v := e.value.(type) {
	case int64:
		value = strconv.FormatInt(v, 10)
	case bool:
		value = strconv.FormatBool(v)
	case string:
	default:
		b.fail(e, nil, "must be a string, not %s; put quotes around it", kind(v))
		return EnvironmentVariable{}, false
	}
	text, ok := b.text(e, value)
	return EnvironmentVariable{Name: e.key, Value: text}, ok
}

// validVariable is systemd's rule (env_name_is_valid), which is POSIX's for names
// that a shell can use.
func validVariable(name string) bool {
	for i, r := range name {
		if !isLetter(r) && r != '_' && (i == 0 || !isDigit(r)) {
			return false
		}
	}
	return name != ""
}

func (b *builder) sortEnvironment() { sortVariables(b.c.Environment) }

func sortVariables(variables []EnvironmentVariable) {
	slices.SortFunc(variables, func(x, y EnvironmentVariable) int { return strings.Compare(x.Name, y.Name) })
}
