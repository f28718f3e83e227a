package dns

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/internal/names"
)

// defaultIdle is how long a server waits for the next question before it ends;
// idleVariable sets another time.
const (
	defaultIdle  = 30 * time.Second
	idleVariable = "COCKER_DNS_IDLE"
)

// Main runs cocker-dns with its arguments and returns the exit status.
func Main(arguments []string, stderr io.Writer) int {
	if err := run(arguments); err != nil {
		fmt.Fprintln(stderr, "cocker-dns:", err)
		return 1
	}
	return 0
}

func run(arguments []string) error {
	if len(arguments) != 1 {
		return errors.New("usage: cocker-dns NETWORK; it is started by its socket unit, cocker-dns@NETWORK.socket")
	}
	idle, err := idleTime()
	if err != nil {
		return err
	}
	zone, err := names.Read(arguments[0])
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("nothing is known of network %q; make it again: systemctl reload cocker-network@%[1]s", arguments[0])
	}
	if err != nil {
		return err
	}
	files := activation.Files(true)
	for _, file := range files {
		if err := bindToLink(file, zone.Link); err != nil {
			return err
		}
	}
	return Serve(zone, files, idle)
}

func idleTime() (time.Duration, error) {
	text := os.Getenv(idleVariable)
	if text == "" {
		return defaultIdle, nil
	}
	idle, err := time.ParseDuration(text)
	if err != nil || idle <= 0 {
		return 0, fmt.Errorf("%s=%q is no time such as \"30s\"", idleVariable, text)
	}
	return idle, nil
}

// bindToLink lets a socket hear only what comes from the network's link: not another
// network's containers, not the host, whose resolver may have this server for its own,
// and nobody outside. It needs no right where the socket has no link yet (Linux 5.7),
// and the first server of a socket does it for all that follow. BindToDevice= of the
// unit would wait for udev, which a host need not have.
func bindToLink(file *os.File, link string) error {
	fd := int(file.Fd())
	bound, err := unix.GetsockoptString(fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE)
	if err == nil && bound == link {
		return nil
	}
	if err == nil {
		err = unix.SetsockoptString(fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, link)
	}
	if err != nil {
		return fmt.Errorf("bind socket to %s: %w; make the network again: systemctl reload cocker-network@%[1]s", link, err)
	}
	return nil
}
