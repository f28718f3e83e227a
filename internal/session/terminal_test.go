package session

import (
	"os"
	"testing"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// A container sends the other end of a terminal, or what it likes: a file that hangs who
// reads it, a device of its own, the end whose input is the container's to push.
func TestOnlyATerminalsMasterIsTaken(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer CloseAll(pair[:])
	open := func(file *os.File, err error) *os.File {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { file.Close() })
		return file
	}
	pipe, other, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	master, slave, err := pty.Open()
	if err != nil {
		t.Skip("no terminals here: ", err)
	}
	for name, file := range map[string]*os.File{
		"a pipe":                            open(pipe, nil),
		"a pipe's other end":                open(other, nil),
		"a file":                            open(os.CreateTemp(t.TempDir(), "")),
		"a directory":                       open(os.Open("/")),
		"the null device":                   open(os.Open("/dev/null")),
		"a terminal's end":                  open(slave, nil),
		"a descriptor that has only a path": open(os.OpenFile("/dev/ptmx", unix.O_PATH, 0)),
	} {
		if err := SendTerminal(pair[0], int(file.Fd())); err != nil {
			t.Fatal(err)
		}
		if r, err := ReceiveReport(pair[1]); err == nil {
			t.Errorf("%s is taken for a terminal: %+v", name, r)
		}
	}
	if err := SendTerminal(pair[0], int(open(master, nil).Fd())); err != nil {
		t.Fatal(err)
	}
	r, err := ReceiveReport(pair[1])
	if err != nil {
		t.Fatal(err)
	}
	if r.File == nil {
		t.Fatal("no terminal came")
	}
	r.File.Close()
	// None at all.
	if err := send(pair[0], []byte{Terminal}, nil); err != nil {
		t.Fatal(err)
	}
	if r, err := ReceiveReport(pair[1]); err == nil {
		t.Errorf("nothing is taken for a terminal: %+v", r)
	}
}
