package pid1

import (
	"debug/elf"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// debug/elf is the judge of what the loader of a real program is.
func TestElfInterpreter(t *testing.T) {
	for _, path := range []string{"/bin/sh", "/proc/self/exe"} {
		file, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		head := make([]byte, 256)
		if _, err := io.ReadFull(file, head); err != nil {
			t.Fatal(err)
		}
		parsed, err := elf.NewFile(file)
		if err != nil {
			t.Fatal(err)
		}
		want := ""
		for _, program := range parsed.Progs {
			if program.Type == elf.PT_INTERP {
				name, err := io.ReadAll(program.Open())
				if err != nil {
					t.Fatal(err)
				}
				want = strings.TrimRight(string(name), "\x00")
			}
		}
		if got := elfInterpreter(file, head); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}

func TestCheckLoader(t *testing.T) {
	dir := t.TempDir()
	for content, want := range map[string]string{
		"#!/bin/sh\n":                "",
		"#! /bin/sh -e\nexit":        "",
		"#!/no/such/shell\nexit\n":   `needs "/no/such/shell"`,
		"#!\n":                       "no program",
		"echo no interpreter line\n": "no program",
		"":                           "no program",
		"\x7fELF":                    "", // the kernel's to refuse
		"\x7fELF\x02\x01" + strings.Repeat("\xff", 250): "",
	} {
		path := filepath.Join(dir, "program")
		if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
		err := checkLoader(path)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", content, err, want)
		}
	}
}
