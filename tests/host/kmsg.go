package host

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// kmsg is the reading end of the pipe that is a host's /dev/kmsg. Generators run
// before the journal does and log there; each message goes to the host's journal, in
// the form of syslog(3), as soon as that listens.
type kmsg struct {
	pipe    *os.File
	mu      sync.Mutex
	pending [][]byte // until the journal listens
	journal net.Conn // nil until then
}

func openKmsg(path string) (*kmsg, error) {
	if err := os.RemoveAll(path); err != nil {
		return nil, err
	}
	if err := unix.Mkfifo(path, 0o600); err != nil {
		return nil, &os.PathError{Op: "mkfifo", Path: path, Err: err}
	}
	// Read-write: the pipe is never without a writer, so reading it never ends early.
	pipe, err := os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	k := &kmsg{pipe: pipe}
	go k.pump()
	return k, nil
}

// pump reads messages until the pipe is closed. As with the kernel's own device, a
// write is a message whether it ends in a newline or not.
func (k *kmsg) pump() {
	buffer := make([]byte, 64<<10)
	for {
		n, err := k.pipe.Read(buffer)
		if err != nil {
			return
		}
		for message := range bytes.Lines(bytes.Clone(buffer[:n])) {
			k.deliver(bytes.TrimRight(message, "\n"))
		}
	}
}

func (k *kmsg) deliver(message []byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.journal == nil {
		k.pending = append(k.pending, message)
		return
	}
	k.journal.Write(message)
}

// connect starts the delivery to the journal of the host whose process 1 is pid.
func (k *kmsg) connect(pid int) error {
	journal, err := net.Dial("unixgram", fmt.Sprintf("/proc/%d/root/run/systemd/journal/dev-log", pid))
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, message := range k.pending {
		journal.Write(message)
	}
	k.pending, k.journal = nil, journal
	return nil
}

func (k *kmsg) Close() {
	k.pipe.Close()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.journal != nil {
		k.journal.Close()
	}
}
