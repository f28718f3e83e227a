package netsetup

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/config"
)

// freeOnHost returns an error for each port that a process of the host listens
// on. The table would win over the process, and cut it off without a word.
func freeOnHost(all []binding) error {
	var taken errorSet
	for _, b := range all {
		if err := b.tryBind(); err != nil {
			taken.add(err)
		}
	}
	return taken.join()
}

// tryBind binds a socket to the port for a moment.
func (b binding) tryBind() error {
	socket, err := b.socket()
	if errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.ESOCKTNOSUPPORT) {
		return nil // then no process has one either: no SCTP, or no IPv6, in this kernel
	}
	if err != nil {
		return fmt.Errorf("check port %s: %w", describe(b.Port), err)
	}
	defer unix.Close(socket)
	if err := b.bindOptions(socket); err != nil {
		return fmt.Errorf("check port %s: %w", describe(b.Port), err)
	}
	err = unix.Bind(socket, b.socketAddress())
	if errors.Is(err, unix.EADDRINUSE) {
		return fmt.Errorf("port %s: %w by %s", describe(b.Port), ErrPortTaken, listener(b.Port))
	}
	if err != nil {
		return fmt.Errorf("check port %s: %w", describe(b.Port), err)
	}
	return nil
}

func (b binding) socket() (int, error) {
	domain, kind, protocol := unix.AF_INET, unix.SOCK_STREAM, 0
	if b.family.protocol == unix.NFPROTO_IPV6 {
		domain = unix.AF_INET6
	}
	switch b.Protocol {
	case config.UDP:
		kind = unix.SOCK_DGRAM
	case config.SCTP:
		protocol = unix.IPPROTO_SCTP
	}
	return unix.Socket(domain, kind|unix.SOCK_CLOEXEC, protocol)
}

func (b binding) socketAddress() unix.Sockaddr {
	if b.family.protocol == unix.NFPROTO_IPV6 {
		address := &unix.SockaddrInet6{Port: int(b.HostPort)}
		if !wildcard(b.Port) {
			address.Addr = b.HostAddress.As16()
		}
		return address
	}
	address := &unix.SockaddrInet4{Port: int(b.HostPort)}
	if !wildcard(b.Port) {
		address.Addr = b.HostAddress.As4()
	}
	return address
}

// bindOptions makes bind fail for listeners only: not for the remains of closed
// TCP connections (UDP has none, and would share the port), not for an
// address that the host gets later, and not for one of the other family.
func (b binding) bindOptions(socket int) error {
	if b.Protocol != config.UDP {
		if err := unix.SetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
			return err
		}
	}
	if b.family.protocol == unix.NFPROTO_IPV6 {
		return errors.Join(
			unix.SetsockoptInt(socket, unix.SOL_IPV6, unix.IPV6_V6ONLY, 1),
			unix.SetsockoptInt(socket, unix.SOL_IPV6, unix.IPV6_FREEBIND, 1))
	}
	return unix.SetsockoptInt(socket, unix.SOL_IP, unix.IP_FREEBIND, 1)
}
