package linux

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestParseProcessStart(t *testing.T) {
	tail := " S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21"
	cases := []struct {
		name, stat string
		want       uint64
		bad        bool
	}{
		{"plain", "42 (sh)" + tail, 4711, false},
		{"name with spaces and parentheses", "42 (a) b (c d)" + tail, 4711, false},
		{"ended, not reaped", "42 (sh)" + strings.Replace(strings.Replace(tail, "S", "Z", 1), " 17 ", " 1 ", 1), 0, true},
		{"the main thread alone has ended", "42 (sh)" + strings.Replace(tail, "S", "Z", 1), 4711, false},
		{"no name", "42 sh S", 0, true},
		{"cut short", "42 (sh) S 1 2", 0, true},
		{"empty", "", 0, true},
	}
	for _, c := range cases {
		got, err := parseProcessStart(c.stat)
		if got != c.want || (err != nil) != c.bad {
			t.Errorf("%s: %d, %v", c.name, got, err)
		}
	}
}

// Field 9 of proc_pid_stat(5): of two living shells, and of a PID 1 that waits for its
// namespace.
func TestParseExiting(t *testing.T) {
	const tail = " 1 2 3 4 5 6 7 8 9 10 11 12 13"
	for flags, want := range map[string]bool{"4194304": false, "4194560": false, "4228364": true, "x": false} {
		if got := parseExiting("42 (sh) S 1 42 42 0 -1 " + flags + tail); got != want {
			t.Errorf("flags %s: %v", flags, got)
		}
	}
}

func TestProcessStartNamesOneProcess(t *testing.T) {
	mine, err := ProcessStart(os.Getpid())
	if err != nil || mine == 0 {
		t.Fatalf("%d, %v", mine, err)
	}
	command := exec.Command("true")
	if err := command.Run(); err != nil {
		t.Fatal(err)
	}
	if _, err := ProcessStart(command.Process.Pid); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a process that has ended: %v, want not exist", err)
	}
}

// canary makes a directory "root" beside a file that nothing may reach from it.
func canary(t *testing.T) (root int, outside string) {
	t.Helper()
	base := t.TempDir()
	outside = filepath.Join(base, "canary")
	if err := os.WriteFile(outside, []byte("safe"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(base, "root")
	for _, name := range []string{"", "etc", "tmp"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{
		"absolute": outside,
		"relative": "../canary",
		"deep":     "etc/../../../../../../../../.." + outside,
		"magic":    "/proc/self/root" + outside,
		"loop":     "loop",
		"good":     "/etc",
	} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd, outside
}

func TestOpenInRootStaysInside(t *testing.T) {
	root, outside := canary(t)
	for _, path := range []string{"absolute", "relative", "deep", "magic", "loop", "../canary", "/../canary", outside} {
		fd, err := OpenInRoot(root, path, unix.O_RDWR, 0)
		if err == nil {
			unix.Close(fd)
			t.Errorf("%q led to a file outside", path)
		}
	}
	fd, err := OpenInRoot(root, "good/../good", unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatalf("a symlink that stays inside: %v", err)
	}
	unix.Close(fd)
}

func TestOpenPlainRefusesEverySymlink(t *testing.T) {
	root, _ := canary(t)
	for _, path := range []string{"absolute", "good", "good/x", "loop"} {
		if fd, err := OpenPlain(root, path, unix.O_PATH, 0); !errors.Is(err, unix.ELOOP) {
			unix.Close(fd)
			t.Errorf("%q: %v, want ELOOP", path, err)
		}
	}
	fd, err := OpenPlain(root, "etc", unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(fd)
}

func TestWaitReadable(t *testing.T) {
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pipe[0])
	if WaitReadable(pipe[0], time.Millisecond) {
		t.Error("an empty pipe is readable")
	}
	unix.Close(pipe[1])
	if !WaitReadable(pipe[0], time.Minute) {
		t.Error("a closed pipe must end the wait")
	}
}

func TestNewUserNamespace(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mapping ids needs root")
	}
	fd, err := NewUserNamespace(0x70000000)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	own, err := os.Readlink("/proc/self/ns/user")
	if err != nil {
		t.Fatal(err)
	}
	new, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil || new == own || !strings.HasPrefix(new, "user:[") {
		t.Errorf("descriptor of %q (%v), own namespace is %q", new, err, own)
	}
	var status unix.WaitStatus
	if pid, err := unix.Wait4(-1, &status, unix.WNOHANG|unix.WALL, nil); !errors.Is(err, unix.ECHILD) {
		t.Errorf("a child is left: pid %d, %v", pid, err)
	}
}
