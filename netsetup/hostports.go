package netsetup

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/config"
)

// freeOnHost returns an error for each port that a process of the host listens
// on. The table would win over the process, and cut it off without a word.
func freeOnHost(ports []config.Port) error {
	var taken []error
	for _, port := range ports {
		if err := tryBind(port); err != nil {
			taken = append(taken, err)
		}
	}
	return errors.Join(taken...)
}

// tryBind binds a socket to the port for a moment.
func tryBind(port config.Port) error {
	kind := unix.SOCK_STREAM
	if port.Protocol == config.UDP {
		kind = unix.SOCK_DGRAM
	}
	socket, err := unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("check port %s: %w", describe(port), err)
	}
	defer unix.Close(socket)
	if err := bindOptions(socket, port.Protocol); err != nil {
		return fmt.Errorf("check port %s: %w", describe(port), err)
	}
	address := &unix.SockaddrInet4{Port: int(port.HostPort)}
	if !wildcard(port) {
		address.Addr = port.HostAddress.As4()
	}
	err = unix.Bind(socket, address)
	if errors.Is(err, unix.EADDRINUSE) {
		return fmt.Errorf("port %s: %w by %s", describe(port), ErrPortTaken, listener(port))
	}
	if err != nil {
		return fmt.Errorf("check port %s: %w", describe(port), err)
	}
	return nil
}

// bindOptions makes bind fail for listeners only: not for the remains of closed
// TCP connections (UDP has none, and would share the port), and not for an
// address that the host gets later.
func bindOptions(socket int, protocol config.Protocol) error {
	if protocol == config.TCP {
		if err := unix.SetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
			return err
		}
	}
	return unix.SetsockoptInt(socket, unix.SOL_IP, unix.IP_FREEBIND, 1)
}
