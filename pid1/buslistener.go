package pid1

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/internal/handoff"
)

// busBacklog is how many shells may be asked for at once (listen(2)).
const busBacklog = 16

// listenBus makes the socket on which machined asks for shells; nil if something is in
// its place, as when the file of the container mounts the host's. Only the container's
// root may connect, as whom machined does. An image's own D-Bus replaces it.
func listenBus() (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(handoff.BusSocket), 0o755); err != nil {
		return nil, fmt.Errorf("system bus socket: %w", err)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("system bus socket: %w", err)
	}
	err = unix.Bind(fd, &unix.SockaddrUnix{Name: handoff.BusSocket})
	if err == nil {
		err = errors.Join(os.Chmod(handoff.BusSocket, 0o600), unix.Listen(fd, busBacklog))
	}
	if err != nil {
		_ = unix.Close(fd)
		if errors.Is(err, unix.EADDRINUSE) {
			return nil, nil
		}
		return nil, fmt.Errorf("system bus socket: %w", err)
	}
	linkOldRun()
	return os.NewFile(uintptr(fd), "bus"), nil
}

// linkOldRun makes the old name lead to the socket where the image does without. That
// its file system is read-only costs it machinectl shell and nothing else.
func linkOldRun() {
	if _, err := os.Stat(handoff.OldBusSocket); err == nil {
		return
	}
	if _, err := os.Lstat(handoff.OldRun); errors.Is(err, fs.ErrNotExist) {
		_ = os.MkdirAll(filepath.Dir(handoff.OldRun), 0o755)
		_ = os.Symlink("/run", handoff.OldRun)
		return
	}
	_ = os.MkdirAll(filepath.Dir(handoff.OldBusSocket), 0o755)
	_ = os.Symlink(handoff.BusSocket, handoff.OldBusSocket)
}
