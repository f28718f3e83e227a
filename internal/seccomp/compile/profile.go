package compile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/internal/seccomp"
)

// profile is a file as the specification of OCI runtimes has it (config-linux.md, Seccomp),
// with archMap, includes and excludes of Docker's and the names of error numbers of Podman's.
type profile struct {
	DefaultAction   string            `json:"defaultAction"`
	DefaultErrnoRet *uint32           `json:"defaultErrnoRet"`
	DefaultErrno    string            `json:"defaultErrno"`
	Architectures   []string          `json:"architectures"`
	ArchMap         []architectureMap `json:"archMap"`
	Flags           []string          `json:"flags"`
	ListenerPath    string            `json:"listenerPath"`
	ListenerMeta    string            `json:"listenerMetadata"`
	Syscalls        []syscalls        `json:"syscalls"`
}

type architectureMap struct {
	Architecture     string   `json:"architecture"`
	SubArchitectures []string `json:"subArchitectures"`
}

// syscalls is an element of the list of the same name.
type syscalls struct {
	Name     string     `json:"name"` // as Docker once had it
	Names    []string   `json:"names"`
	Action   string     `json:"action"`
	ErrnoRet *uint32    `json:"errnoRet"`
	Errno    string     `json:"errno"`
	Args     []argument `json:"args"`
	Comment  string     `json:"comment"`
	Includes filter     `json:"includes"`
	Excludes filter     `json:"excludes"`
}

type argument struct {
	Index    uint       `json:"index"`
	Value    uint64     `json:"value"`
	ValueTwo uint64     `json:"valueTwo"`
	Op       comparison `json:"op"`
}

// filter is of what a rule depends, or does not.
type filter struct {
	Arches    []string `json:"arches"`
	Caps      []string `json:"caps"`
	MinKernel string   `json:"minKernel"`
}

// Machine is what a profile is compiled for.
type Machine struct {
	Architecture string // as Go names it
	Kernel       string // its release, as uname(2) has it; "": no profile is to depend on it
}

// maxProfile bounds a file: Docker's own has 17 KB.
const maxProfile = 1 << 20

// Profile compiles a profile. Of all errors the text names the file and the line.
// Flags are those of seccomp(2).
func Profile(file string, text []byte, machine Machine) (p *seccomp.Program, flags uint32, err error) {
	if len(text) > maxProfile {
		return nil, 0, fmt.Errorf("%s: larger than %d bytes, which no profile for system calls is", file, maxProfile)
	}
	in := new(profile)
	at, err := decode(text, in)
	if err != nil {
		return nil, 0, place(file, text, at, err)
	}
	c, err := newCompiler(in, machine)
	if err != nil {
		return nil, 0, place(file, text, -1, err)
	}
	offsets := elements(text, "syscalls")
	for i := range in.Syscalls {
		if err := c.take(&in.Syscalls[i]); err != nil {
			at := int64(-1)
			if i < len(offsets) {
				at = offsets[i]
			}
			return nil, 0, place(file, text, at, fmt.Errorf("syscalls[%d]: %w", i, err))
		}
	}
	if flags, err = flagsOf(in); err == nil {
		p, err = c.finish()
	}
	if err != nil {
		return nil, 0, place(file, text, -1, err)
	}
	return p, flags, nil
}

// decode reads the file, and says where it goes wrong.
func decode(text []byte, in *profile) (at int64, err error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields() // "include" for "includes" would allow more than is meant
	err = decoder.Decode(in)
	if err == nil {
		if _, more := decoder.Token(); !errors.Is(more, io.EOF) {
			return decoder.InputOffset(), errors.New("something follows the end of the profile")
		}
		return 0, nil
	}
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return syntax.Offset, fmt.Errorf("no JSON: %w", err)
	case errors.As(err, &kind):
		return kind.Offset, fmt.Errorf("%s cannot be a %s", firstOf(kind.Field, "a profile"), kind.Value)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return int64(len(text)), errors.New("no JSON: it ends before the profile does")
	}
	text2, found := strings.CutPrefix(err.Error(), "json: unknown field ")
	if !found {
		return decoder.InputOffset(), err
	}
	return int64(bytes.Index(text, []byte(text2))), fmt.Errorf("unknown key %s; the keys are those of OCI runtimes (config-linux.md) and Docker", text2)
}

// place names file and line of a problem; at is where it is, below 0: nowhere in particular.
func place(file string, text []byte, at int64, err error) error {
	if at < 0 || at > int64(len(text)) {
		return fmt.Errorf("%s: %w", file, err)
	}
	return fmt.Errorf("%s:%d: %w", file, 1+bytes.Count(text[:at], []byte("\n")), err)
}

// elements are the offsets of the elements of a list at the top of a file that can be read.
func elements(text []byte, list string) (offsets []int64) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	_, _ = decoder.Token()
	for decoder.More() {
		key, _ := decoder.Token()
		if key != list {
			var other json.RawMessage
			_ = decoder.Decode(&other)
			continue
		}
		_, _ = decoder.Token()
		for decoder.More() {
			var element json.RawMessage
			if decoder.Decode(&element) != nil {
				return offsets
			}
			offsets = append(offsets, decoder.InputOffset()-int64(len(element)))
		}
		_, _ = decoder.Token()
	}
	return offsets
}

// actions are the return values of filters (seccomp(2)) by the names that OCI runtimes give
// them.
var actions = [...]struct { //nolint:gochecknoglobals // a table
	name  string
	value uint32
}{
	{"SCMP_ACT_ALLOW", unix.SECCOMP_RET_ALLOW},
	{"SCMP_ACT_LOG", unix.SECCOMP_RET_LOG},
	{"SCMP_ACT_ERRNO", unix.SECCOMP_RET_ERRNO},
	{"SCMP_ACT_TRAP", unix.SECCOMP_RET_TRAP},
	{"SCMP_ACT_TRACE", unix.SECCOMP_RET_TRACE},
	{"SCMP_ACT_KILL", unix.SECCOMP_RET_KILL_THREAD},
	{"SCMP_ACT_KILL_THREAD", unix.SECCOMP_RET_KILL_THREAD},
	{"SCMP_ACT_KILL_PROCESS", unix.SECCOMP_RET_KILL_PROCESS},
}

// maxErrno is the highest error number (MAX_ERRNO in linux/err.h).
const maxErrno = 4095

// actionOf reads an action and the number that comes with it, EPERM if none does.
func actionOf(key, name string, number *uint32, errnoName string) (uint32, error) {
	for _, a := range actions {
		if a.name != name {
			continue
		}
		if a.value != unix.SECCOMP_RET_ERRNO && a.value != unix.SECCOMP_RET_TRACE {
			return a.value, nil
		}
		n := uint32(unix.EPERM)
		switch {
		case number != nil:
			n = *number
		case errnoName != "":
			known, ok := errnoNumber(errnoName)
			if !ok {
				return 0, fmt.Errorf("no error is called %q; write the number as errnoRet", errnoName)
			}
			n = known
		}
		if n > maxErrno {
			return 0, fmt.Errorf("there is no error number %d: the highest is %d", n, maxErrno)
		}
		return a.value | n, nil
	}
	if name == "SCMP_ACT_NOTIFY" {
		return 0, errors.New("SCMP_ACT_NOTIFY needs a process that answers, which cocker has not: allow these system calls, or refuse them with SCMP_ACT_ERRNO")
	}
	names := make([]string, len(actions))
	for i, a := range actions {
		names[i] = a.name
	}
	return 0, fmt.Errorf("%s is %q; it must be one of %s", key, name, strings.Join(names, ", "))
}

func errnoNumber(name string) (uint32, bool) {
	for n := range uint32(200) {
		if unix.ErrnoName(unix.Errno(n)) == name && name != "" {
			return n, true
		}
	}
	return 0, false
}

func flagsOf(in *profile) (flags uint32, err error) {
	if in.ListenerPath != "" || in.ListenerMeta != "" {
		return 0, errors.New("listenerPath is of no use without SCMP_ACT_NOTIFY, which cocker does not have: take it out")
	}
	for _, name := range in.Flags {
		switch name {
		case "SECCOMP_FILTER_FLAG_LOG":
			flags |= unix.SECCOMP_FILTER_FLAG_LOG
		case "SECCOMP_FILTER_FLAG_SPEC_ALLOW":
			flags |= unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW
		case "SECCOMP_FILTER_FLAG_TSYNC": // there is one thread, always
		default:
			return 0, fmt.Errorf("unknown flag %q; known are SECCOMP_FILTER_FLAG_LOG, _SPEC_ALLOW and _TSYNC", name)
		}
	}
	return flags, nil
}

func firstOf(values ...string) string {
	i := slices.IndexFunc(values, func(v string) bool { return v != "" })
	if i < 0 {
		return ""
	}
	return values[i]
}
