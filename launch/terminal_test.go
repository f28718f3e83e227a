package launch

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/internal/linux"
	"github.com/cocker/cocker/internal/linux/mounttest"
	"github.com/cocker/cocker/internal/session"
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
	peers, err := foreignTerminals(slave.Name())
	if err != nil {
		t.Skip("no other devpts here: ", err)
	}
	defer session.CloseAll(peers)
	last := peers[len(peers)-1]
	if name, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(last)); err != nil || name != slave.Name() {
		t.Fatalf("the test is not testing: %q, %v; want %q", name, err, slave.Name())
	}
	if got := terminalPath(last); got != "" {
		t.Errorf("one of another devpts: %q", got)
	}
}

// foreignTerminals opens terminals of another devpts, as a container has it, until one has
// the given name there.
func foreignTerminals(name string) (peers []int, err error) {
	err = mounttest.Do(func() error {
		if err := linux.Mount("devpts", "/dev/pts", "devpts", unix.MS_NOSUID, "newinstance,ptmxmode=0666"); err != nil {
			return err
		}
		for len(peers) < 2000 {
			fd, err := linux.Open("/dev/pts/ptmx", unix.O_RDWR|unix.O_NOCTTY)
			if err != nil {
				return err
			}
			peers = append(peers, fd)
			if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
				return err
			}
			number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
			if err != nil {
				return err
			}
			peer, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
			if errno != 0 {
				return errno
			}
			peers = append(peers, int(peer))
			if name == "/dev/pts/"+strconv.Itoa(number) {
				return nil
			}
		}
		return errors.New("none has that number")
	})
	return peers, err
}
