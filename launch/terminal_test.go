package launch

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/internal/linux"
)

// A terminal of another devpts than the host's has a path that leads to none, or to another.
func TestTerminalPath(t *testing.T) {
	master, slave, err := pty.Open()
	if err != nil {
		t.Skip("no terminals here: ", err)
	}
	defer master.Close()
	defer slave.Close()
	if got := terminalPath(int(slave.Fd())); !strings.HasPrefix(got, "/dev/pts/") {
		t.Errorf("one of the host: %q", got)
	}
	if got := terminalPath(1 << 20); got != "" {
		t.Errorf("none: %q", got)
	}
	foreign, err := linux.NewMount("devpts", unix.MOUNT_ATTR_NOSUID, linux.Option{Key: "newinstance"}, linux.Option{Key: "ptmxmode", Value: "0666"})
	if errors.Is(err, unix.EPERM) {
		t.Skip("needs root: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(foreign)
	fd, err := unix.Openat(foreign, "ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	other := os.NewFile(uintptr(fd), "ptmx")
	defer other.Close()
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	peer, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		t.Skip("no TIOCGPTPEER: ", errno)
	}
	defer unix.Close(int(peer))
	if got := terminalPath(int(peer)); got != "" {
		t.Errorf("one of another devpts: %q", got)
	}
}
