package config

import (
	"strconv"
	"strings"
)

// The keys of [unit] and [service] are lines of the container's unit. The user
// writes unit syntax there: specifiers such as %i and systemd's quoting work. A
// value is one line, without control characters, and can't reach into the next
// line; space around it is dropped, as systemd does.

func (b *builder) unitDirective(e *entry) {
	b.c.Unit = append(b.c.Unit, b.directives(e, unitDirectives)...)
}

func (b *builder) serviceDirective(e *entry) {
	b.c.Service = append(b.c.Service, b.directives(e, serviceDirectives)...)
}

// directives gives one directive for each element of an array. An empty array
// gives none, so a drop-in can take away what the file sets; an empty string
// gives an empty assignment, which resets a list in systemd.
func (b *builder) directives(e *entry, groups []directiveGroup) []Directive {
	name, why := directiveName(e.key, groups)
	switch {
	case name == "":
		b.unknownDirective(e, groups)
		return nil
	case why != "":
		b.fail(e, nil, "%s= %s", name, why)
		return nil
	}
	list, isArray := e.value.([]any)
	if !isArray {
		value, ok := b.directiveValue(e, e.value)
		if !ok { // an empty value would reset what stands before it
			return nil
		}
		return []Directive{{Key: name, Value: value}}
	}
	var all []Directive
	for i, v := range list {
		if value, ok := b.directiveValue(e, v, i); ok {
			all = append(all, Directive{Key: name, Value: value})
		}
	}
	return all
}

func (b *builder) directiveValue(e *entry, v any, rest ...any) (string, bool) {
	switch v := v.(type) {
	case bool:
		return strconv.FormatBool(v), true
	case int64:
		return strconv.FormatInt(v, 10), true
	case string:
		s, ok := b.plain(e, v, rest...)
		s = strings.TrimSpace(s)
		if ok && continues(s) {
			b.fail(e, rest, "ends with a backslash, which would join the next line of the unit file; put systemd's quotes around the word")
			return "", false
		}
		return s, ok
	}
	b.fail(e, rest, "must be a string, an integer, true or false, or an array of these, not %s", kind(v))
	return "", false
}

func (b *builder) unknownDirective(e *entry, groups []directiveGroup) {
	near := nearest(foldDirective(e.key), allNames(groups))
	text := "unknown key " + strconv.Quote(e.key) + " in " + e.table
	if near != "" {
		text += " (did you mean " + strconv.Quote(near) + "?)"
	} else {
		text += "; it takes directives of systemd." + e.table + "(5)"
	}
	b.problems = append(b.problems, &Problem{File: e.src.file, Line: e.src.line(e.path()), Text: text})
}

// unitNames reads a list of whole unit names.
func (b *builder) unitNames(e *entry) []string {
	var names []string
	for i, v := range b.array(e, `unit names, such as ["multi-user.target"]`) {
		s, ok := b.plain(e, v, i)
		if !ok {
			continue
		}
		if problem := badUnitName(s); problem != "" {
			b.fail(e, []any{i}, "%q is no unit name: %s", s, problem)
			continue
		}
		names = append(names, s)
	}
	return names
}

// badUnitName is systemd.unit(5): letters, digits, ":-_.\@" and a known suffix,
// 255 bytes in total. A template without instance can't want anything.
func badUnitName(s string) string {
	suffix := s[strings.LastIndexByte(s, '.')+1:]
	switch {
	case len(s) > 255:
		return "it is longer than 255 bytes"
	case !strings.Contains(" service socket device mount automount swap target path timer slice scope ", " "+suffix+" ") || suffix == "":
		return `it ends in the type of unit, such as ".target"`
	case strings.HasPrefix(s, "."), strings.HasPrefix(s, "@"):
		return "the part before the type is empty"
	case strings.HasSuffix(s, "@."+suffix):
		return `it is a template; put the instance after the "@"`
	case strings.Count(s, "@") > 1:
		return `it has more than one "@"`
	}
	for _, r := range s {
		if !isAlphanumeric(r) && !strings.ContainsRune(`:-_.\@`, r) {
			return "the character " + quoteRune(r) + " is not allowed"
		}
	}
	return ""
}

func quoteRune(r rune) string { return strconv.QuoteRuneToASCII(r) }
