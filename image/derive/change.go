package derive

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
)

// Change is one instruction of a Dockerfile that sets how an image is run.
type Change struct {
	text  string
	name  string
	apply func(d document) error
}

// String is the instruction as it was given.
func (c Change) String() string { return c.text }

// Instructions names what ParseChange takes.
func Instructions() []string {
	return []string{"CMD", "ENTRYPOINT", "ENV", "EXPOSE", "LABEL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"}
}

// ParseChange reads an instruction as the Dockerfile reference writes it; "CMD=..."
// is taken for "CMD ...", as podman does.
func ParseChange(text string) (Change, error) {
	end := strings.IndexAny(text, " \t=")
	if end < 0 {
		end = len(text)
	}
	name := strings.ToUpper(text[:end])
	rest := ""
	if end < len(text) {
		rest = strings.TrimSpace(text[end+1:])
	}
	parse, ok := parsers()[name]
	if !ok {
		return Change{}, fmt.Errorf("change %q: it begins with none of %s", text, strings.Join(Instructions(), ", "))
	}
	apply, err := parse(rest)
	if err != nil {
		return Change{}, fmt.Errorf("change %q: %w", text, err)
	}
	return Change{text, name, apply}, nil
}

type parser func(rest string) (func(document) error, error)

func parsers() map[string]parser {
	return map[string]parser{
		"CMD":        command("Cmd"),
		"ENTRYPOINT": command("Entrypoint"),
		"ENV":        environment,
		"EXPOSE":     keys("ExposedPorts", port),
		"LABEL":      labels,
		"STOPSIGNAL": text("StopSignal", nil),
		"USER":       text("User", nil),
		"VOLUME":     keys("Volumes", absolute),
		"WORKDIR":    workDir,
	}
}

// apply changes the document as "docker commit --change" does: a new entry point
// takes away the old one's arguments, unless there are new ones.
func apply(d document, changes []Change) error {
	given := map[string]bool{}
	for _, c := range changes {
		given[c.name] = true
	}
	if given["ENTRYPOINT"] && !given["CMD"] {
		delete(d.config, "Cmd")
	}
	for _, c := range changes {
		if err := c.apply(d); err != nil {
			return fmt.Errorf("change %q: %w", c.text, err)
		}
	}
	return nil
}

// command is a JSON array, or a line for the shell; an empty array clears it.
func command(key string) parser {
	return func(rest string) (func(document) error, error) {
		words, isArray := array(rest)
		if !isArray {
			if rest == "" {
				return nil, errors.New(`write a command, or [] for none`)
			}
			words = []string{"/bin/sh", "-c", rest}
		}
		return func(d document) error {
			if len(words) == 0 {
				delete(d.config, key)
				return nil
			}
			return set(d.config, key, words)
		}, nil
	}
}

func array(rest string) (words []string, ok bool) {
	if !strings.HasPrefix(rest, "[") {
		return nil, false
	}
	return words, json.Unmarshal([]byte(rest), &words) == nil && words != nil
}

func text(key string, check func(string) error) parser {
	return func(rest string) (func(document) error, error) {
		words, err := fields(rest)
		if err != nil || len(words) != 1 || words[0] == "" {
			return nil, errors.Join(err, errors.New("write one value"))
		}
		if check != nil {
			if err := check(words[0]); err != nil {
				return nil, err
			}
		}
		return func(d document) error { return set(d.config, key, words[0]) }, nil
	}
}

// workDir may have spaces, and is relative to the present one.
func workDir(rest string) (func(document) error, error) {
	if rest == "" {
		return nil, errors.New("write a directory")
	}
	return func(d document) error {
		dir, old := rest, ""
		if !path.IsAbs(dir) {
			if err := get(d.config, "WorkingDir", &old); err != nil {
				return err
			}
			dir = path.Join("/", old, dir)
		}
		return set(d.config, "WorkingDir", path.Clean(dir))
	}, nil
}

// pairs reads NAME=VALUE words, or the old form of one name and the rest of the line.
func pairs(rest string) ([][2]string, error) {
	words, err := fields(rest)
	if err != nil {
		return nil, err
	}
	if len(words) > 1 && !strings.Contains(words[0], "=") {
		name, value, _ := strings.Cut(rest, " ")
		return [][2]string{{name, strings.TrimSpace(value)}}, nil
	}
	var list [][2]string
	for _, word := range words {
		name, value, found := strings.Cut(word, "=")
		if !found || name == "" {
			return nil, fmt.Errorf("%q: write NAME=VALUE", word)
		}
		list = append(list, [2]string{name, value})
	}
	if len(list) == 0 {
		return nil, errors.New("write NAME=VALUE")
	}
	return list, nil
}

func environment(rest string) (func(document) error, error) {
	list, err := pairs(rest)
	if err != nil {
		return nil, err
	}
	return func(d document) error {
		var all []string
		if err := get(d.config, "Env", &all); err != nil {
			return err
		}
		for _, p := range list {
			all = setVariable(all, p[0], p[1])
		}
		return set(d.config, "Env", all)
	}, nil
}

func labels(rest string) (func(document) error, error) {
	list, err := pairs(rest)
	if err != nil {
		return nil, err
	}
	return func(d document) error {
		all := map[string]string{}
		if err := get(d.config, "Labels", &all); err != nil {
			return err
		}
		if all == nil {
			all = map[string]string{}
		}
		for _, p := range list {
			all[p[0]] = p[1]
		}
		return set(d.config, "Labels", all)
	}, nil
}

// keys adds to a set, which image configurations write as an object of empty objects.
func keys(member string, normal func(string) (string, error)) parser {
	return func(rest string) (func(document) error, error) {
		words, isArray := array(rest)
		if !isArray {
			var err error
			if words, err = fields(rest); err != nil {
				return nil, err
			}
		}
		if len(words) == 0 {
			return nil, errors.New("write at least one value")
		}
		for i, word := range words {
			var err error
			if words[i], err = normal(word); err != nil {
				return nil, err
			}
		}
		return func(d document) error {
			all := map[string]struct{}{}
			if err := get(d.config, member, &all); err != nil {
				return err
			}
			if all == nil {
				all = map[string]struct{}{}
			}
			for _, word := range words {
				all[word] = struct{}{}
			}
			return set(d.config, member, all)
		}, nil
	}
}

// port completes "80" to "80/tcp".
func port(word string) (string, error) {
	number, protocol, found := strings.Cut(word, "/")
	if !found {
		protocol = "tcp"
	}
	n, err := strconv.ParseUint(number, 10, 16)
	if err != nil || n == 0 || (protocol != "tcp" && protocol != "udp" && protocol != "sctp") {
		return "", fmt.Errorf("port %q: wanted 1 to 65535, then nothing, /tcp, /udp or /sctp", word)
	}
	return strconv.FormatUint(n, 10) + "/" + protocol, nil
}

func absolute(word string) (string, error) {
	if !path.IsAbs(word) {
		return "", fmt.Errorf("volume %q: wanted an absolute path", word)
	}
	return path.Clean(word), nil
}

// fields splits at blanks that are not in quotes and not behind a backslash.
func fields(s string) ([]string, error) {
	var words []string
	var word strings.Builder
	inWord, quote := false, byte(0)
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '\\' && quote != '\'' && i+1 < len(s):
			i++
			word.WriteByte(s[i])
			inWord = true
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			quote, inWord = c, true
		case quote == 0 && (c == ' ' || c == '\t'):
			if inWord {
				words = append(words, word.String())
				word.Reset()
			}
			inWord = false
		default:
			word.WriteByte(c)
			inWord = true
		}
	}
	if quote != 0 {
		return nil, fmt.Errorf("unbalanced quote %c", quote)
	}
	if inWord {
		words = append(words, word.String())
	}
	return words, nil
}
