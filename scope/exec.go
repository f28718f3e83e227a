package scope

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	sd "github.com/coreos/go-systemd/v22/dbus"
)

type commandEntry struct {
	Path          string
	Argv          []string
	IgnoreFailure bool
}

type commandEntryEx struct {
	Path  string
	Argv  []string
	Flags []string
}

// command is one command line. Prefixes other than "-" exist only in the
// property's newer form, named ExecStartEx and so on.
func command(key, value string) ([]sd.Property, error) {
	if value == "" {
		return one(key, []commandEntry{}), nil
	}
	prefix, line := cutPrefixes(value)
	argv, err := splitWords(line)
	switch {
	case err != nil:
		return nil, err
	case len(argv) == 0:
		return nil, fmt.Errorf("%q has no command", value)
	case slices.Contains(argv, ";"):
		return nil, fmt.Errorf("%q has more than one command; repeat the key for each", value)
	}
	executable := argv[0]
	if !path.IsAbs(executable) {
		return nil, fmt.Errorf("%q is no absolute path", executable)
	}
	if strings.Contains(prefix, "@") {
		if argv = argv[1:]; len(argv) == 0 {
			return nil, fmt.Errorf("%q lacks the name that \"@\" asks for", value)
		}
	}
	flags := commandFlags(prefix)
	if len(flags) == 0 || slices.Equal(flags, []string{"ignore-failure"}) {
		return one(key, []commandEntry{{executable, argv, len(flags) == 1}}), nil
	}
	return one(key+"Ex", []commandEntryEx{{executable, argv, flags}}), nil
}

func cutPrefixes(value string) (prefix, line string) {
	i := 0
	for i < len(value) && strings.IndexByte("-@:+!", value[i]) >= 0 {
		i++
	}
	return value[:i], value[i:]
}

// commandFlags are the flags of systemd.service(5) "Special executable prefixes".
func commandFlags(prefix string) []string {
	var flags []string
	for _, f := range []struct{ prefix, flag string }{
		{"-", "ignore-failure"}, {":", "no-env-expand"}, {"+", "privileged"}, {"!!", "ambient"},
	} {
		if strings.Contains(prefix, f.prefix) {
			flags = append(flags, f.flag)
		}
	}
	if strings.Count(prefix, "!") == 1 {
		flags = append(flags, "no-setuid")
	}
	return flags
}

type statusLists struct{ Exits, Signals []int32 }

// statuses is a list of exit statuses and signals.
func statuses(key, value string) ([]sd.Property, error) {
	lists := statusLists{[]int32{}, []int32{}}
	for field := range strings.FieldsSeq(value) {
		if n, err := strconv.ParseUint(field, 10, 8); err == nil {
			lists.Exits = append(lists.Exits, int32(n))
			continue
		}
		n, err := parseSignal(field)
		if err != nil {
			return nil, fmt.Errorf("%q is neither an exit status from 0 to 255 nor a signal", field)
		}
		lists.Signals = append(lists.Signals, n)
	}
	return one(key, lists), nil
}

type fileEntry struct {
	Path     string
	Optional bool
}

func environmentFile(key, value string) ([]sd.Property, error) {
	list := []fileEntry{}
	if value != "" {
		file, optional := strings.CutPrefix(value, "-")
		list = append(list, fileEntry{file, optional})
	}
	return one(key+"s", list), nil
}

// limit is "SOFT[:HARD]"; D-Bus has the soft one as a property of its own.
func limit(key, value string) ([]sd.Property, error) {
	soft, hard, both := strings.Cut(value, ":")
	if !both {
		hard = soft
	}
	s, err := parseSize(soft, 1024)
	if err != nil {
		return nil, err
	}
	h, err := parseSize(hard, 1024)
	return append(one(key, h), one(key+"Soft", s)...), err
}

func octal(key, value string) ([]sd.Property, error) {
	n, err := strconv.ParseUint(value, 8, 12)
	if err != nil {
		return nil, fmt.Errorf("%q is no file mode in octal", value)
	}
	return one(key, uint32(n)), nil
}

// logLevel takes the words and numbers of syslog(3).
func logLevel(key, value string) ([]sd.Property, error) {
	return choice("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")(key, value)
}

// facility takes the words and numbers of syslog(3), without the priority bits.
func facility(key, value string) ([]sd.Property, error) {
	return choice("kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
		"", "", "", "", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7")(key, value)
}

// choice is an enumeration that D-Bus has as a number: the place of the word in
// names. "" is a number without a word.
func choice(names ...string) func(key, value string) ([]sd.Property, error) {
	return func(key, value string) ([]sd.Property, error) {
		n := slices.Index(names, value)
		if number, err := strconv.Atoi(value); err == nil && number >= 0 && number < len(names) {
			n = number
		}
		if n < 0 || value == "" {
			known := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return name == "" })
			return nil, fmt.Errorf("%q is not one of %s", value, strings.Join(known, ", "))
		}
		return one(key, int32(n)), nil
	}
}
