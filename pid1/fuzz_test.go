package pid1

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

// FuzzResolve: whatever an image's passwd and group say, nobody gets an id that the
// container has not, and a number stays that number.
func FuzzResolve(f *testing.F) {
	f.Add("web:www", "root:x:0:0::/root:/bin/sh\nweb:x:33:33::/srv:/bin/sh\n", "www:x:34:web\n")
	f.Add("33", "33:x:0:0::/:/bin/sh\n", "")
	f.Add("", "root:x:99999:0::/:\n", ":::")
	f.Fuzz(func(t *testing.T, specification, passwd, group string) {
		id, err := resolve(specification, passwd, group)
		if err != nil {
			return
		}
		for _, n := range append([]uint32{id.uid, id.gid}, id.groups...) {
			if n > maxID {
				t.Errorf("%q: %+v", specification, id)
			}
		}
		user, _, _ := strings.Cut(specification, ":")
		if number, err := parseID(user); err == nil && id.uid != number {
			t.Errorf("%q is user %d", specification, id.uid)
		}
	})
}

// FuzzNotification: nothing but what may pass does, each whole.
func FuzzNotification(f *testing.F) {
	f.Add("READY=1\nMAINPID=1\nSTATUS=up\nFDSTORE=1\n")
	f.Fuzz(func(t *testing.T, message string) {
		passed := filterNotification(message)
		if passed == "" {
			return
		}
		for line := range strings.SplitSeq(passed, "\n") {
			name, _, found := strings.Cut(line, "=")
			if !found || !slices.Contains(forwarded, name) || !slices.Contains(strings.Split(message, "\n"), line) {
				t.Errorf("%q passes of %q", line, message)
			}
		}
	})
}

// FuzzLoader reads programs that are none.
func FuzzLoader(f *testing.F) {
	elf := make([]byte, 256)
	copy(elf, "\x7fELF\x02\x01\x01")
	elf[32], elf[54], elf[56], elf[64], elf[72], elf[96] = 64, 56, 1, 3, 120, 16
	copy(elf[120:], "/lib64/ld-linux")
	f.Add(elf)
	f.Add([]byte("#! /bin/sh -e\n"))
	f.Fuzz(func(t *testing.T, program []byte) {
		head := program[:min(len(program), 256)]
		scriptInterpreter(head)
		if loader := elfInterpreter(bytes.NewReader(program), head); loader != "" && !bytes.Contains(program, []byte(loader)) {
			t.Errorf("loader %q", loader)
		}
	})
}
