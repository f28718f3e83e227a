package linux

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// Root itself cannot write what was opened read-only, by the descriptor's name in /proc
// either, nor make its mount writable.
func TestOpenReadOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, []byte("host's"), 0o777); err != nil {
		t.Fatal(err)
	}
	fd, err := OpenReadOnly(path)
	if errors.Is(err, unix.EPERM) {
		t.Skip("needs root: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	content := make([]byte, 16)
	if n, err := unix.Pread(fd, content, 0); err != nil || string(content[:n]) != "host's" {
		t.Errorf("read %q, %v", content[:n], err)
	}
	name := "/proc/self/fd/" + strconv.Itoa(fd)
	if writable, err := unix.Open(name, unix.O_WRONLY|unix.O_CLOEXEC, 0); !errors.Is(err, unix.EROFS) {
		unix.Close(writable)
		t.Errorf("open for writing: %v", err)
	}
	attributes := &unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, attributes); !errors.Is(err, unix.EINVAL) {
		t.Errorf("make it writable: %v", err)
	}
	if err := unix.Mount("", name, "", unix.MS_REMOUNT|unix.MS_BIND, ""); err == nil {
		t.Error("it was remounted")
	}
	if content, err := os.ReadFile(path); err != nil || string(content) != "host's" {
		t.Errorf("the file: %q, %v", content, err)
	}
}
