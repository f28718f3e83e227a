package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestWriteNewNeverOverwrites(t *testing.T) {
	file := filepath.Join(t.TempDir(), "containers", "web.toml")
	if err := writeNew(file, []byte("one")); err != nil {
		t.Fatal(err)
	}
	if err := writeNew(file, []byte("two")); err == nil {
		t.Error("the second write succeeded")
	}
	text, _ := os.ReadFile(file)
	entries, _ := os.ReadDir(filepath.Dir(file))
	if string(text) != "one" || len(entries) != 1 {
		t.Errorf("%q and %d files", text, len(entries))
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v: others may read secrets", info.Mode(), err)
	}
}

// A writer that is killed leaves no file of another name: there never is one.
func TestWriteNewUsesNoOtherName(t *testing.T) {
	dir := t.TempDir()
	probe, err := os.OpenFile(dir, os.O_WRONLY|unix.O_TMPFILE, 0o600)
	if err != nil {
		t.Skip("the file system has no unnamed files:", err)
	}
	probe.Close()
	watch, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(watch)
	if _, err := unix.InotifyAddWatch(watch, dir, unix.IN_CREATE|unix.IN_MOVED_TO); err != nil {
		t.Fatal(err)
	}
	if err := writeNew(filepath.Join(dir, "web.toml"), []byte("one")); err != nil {
		t.Fatal(err)
	}
	events := make([]byte, 4096)
	n, err := unix.Read(watch, events)
	if err != nil {
		t.Fatal(err)
	}
	names := string(events[:n])
	if strings.Contains(names, ".new-") || strings.Count(names, "web.toml") != 1 || n >= 2*(unix.SizeofInotifyEvent+16) {
		t.Errorf("names that came up: %q", names)
	}
}
