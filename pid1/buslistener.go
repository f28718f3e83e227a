package pid1

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/internal/handoff"
)

// busBacklog is how many shells may be asked for at once (listen(2)).
const busBacklog = 16

// listenBus makes the socket on which machined asks for shells, by the name that machined
// uses. Only the container's root may connect, as whom machined does.
func listenBus() (*os.File, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("system bus socket: %w", err)
	}
	err = unix.Bind(fd, &unix.SockaddrUnix{Name: handoff.OldBusSocket})
	if err == nil {
		err = errors.Join(os.Chmod(handoff.OldBusSocket, 0o600), unix.Listen(fd, busBacklog))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("system bus socket: %w", err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), "bus"), nil
}
