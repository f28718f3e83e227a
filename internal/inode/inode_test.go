package inode

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Attributes of every length that ext4 and xfs take in common are read whole.
func TestAttributes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fd := int(f.Fd())
	if names, err := Attributes(fd); err != nil || len(names) > 0 {
		t.Errorf("none: %q, %v", names, err)
	}
	var want []string
	for _, length := range []int{0, 1, 255, 256, 257, 1000} {
		name := "user." + strings.Repeat("n", 1+length/10)
		if err := unix.Fsetxattr(fd, name, []byte(strings.Repeat("v", length)), 0); errors.Is(err, unix.ENOTSUP) {
			t.Skip("no attributes here")
		} else if err != nil {
			t.Fatal(err)
		}
		if value, err := Attribute(fd, name); err != nil || value != strings.Repeat("v", length) {
			t.Errorf("%d bytes: %q, %v", length, value, err)
		}
		want = append(want, name)
	}
	want = slices.Compact(want)
	if names, err := Attributes(fd); err != nil || !slices.Equal(names, want) {
		t.Errorf("%q, %v; want %q", names, err, want)
	}
	if _, err := Attribute(fd, "user.none"); !errors.Is(err, unix.ENODATA) {
		t.Errorf("one that is not there: %v", err)
	}
}

// Names of one inode are links to the first of them, in the order of the calls.
func TestLinks(t *testing.T) {
	links := Links{}
	one, two := &unix.Stat_t{Dev: 1, Ino: 7, Nlink: 2}, &unix.Stat_t{Dev: 2, Ino: 7, Nlink: 2}
	for _, tt := range []struct {
		st          *unix.Stat_t
		name, first string
	}{
		{one, "a", ""}, {two, "b", ""}, {one, "c", "a"}, {two, "d", "b"}, {one, "e", "a"},
		{&unix.Stat_t{Dev: 1, Ino: 8, Nlink: 1}, "f", ""}, {&unix.Stat_t{Dev: 1, Ino: 8, Nlink: 1}, "g", ""},
	} {
		if first, ok := links.First(tt.st, tt.name); first != tt.first || ok != (tt.first != "") {
			t.Errorf("%s: %q, %t; want %q", tt.name, first, ok, tt.first)
		}
	}
}
