package agent

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// Exec asks for a command on a stream, gives it this process's standard streams,
// environment and signals, and returns its exit status.
func Exec(stream io.ReadWriteCloser, dir string, args []string) (status int, err error) {
	defer stream.Close()
	f := &frames{stream: stream}
	terminal := term.IsTerminal(int(os.Stdin.Fd()))
	if err := f.writeJSON(frameRequest, request{Args: args, Env: os.Environ(), Dir: dir, Terminal: terminal}); err != nil {
		return 0, err
	}
	if terminal {
		state, err := term.MakeRaw(int(os.Stdin.Fd()))
		if err != nil {
			return 0, err
		}
		defer term.Restore(int(os.Stdin.Fd()), state)
	}
	go forwardSignals(f, terminal)
	go forwardInput(f)
	return receive(f)
}

// forwardSignals passes on the signals that end or inform a command.
func forwardSignals(f *frames, terminal bool) {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2, unix.SIGWINCH)
	if terminal {
		sendSize(f)
	}
	for s := range signals {
		if s == unix.SIGWINCH {
			sendSize(f)
			continue
		}
		f.write(frameSignal, []byte{byte(s.(syscall.Signal))})
	}
}

func sendSize(f *frames) {
	if size, err := pty.GetsizeFull(os.Stdin); err == nil {
		f.write(frameSize, binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, size.Rows), size.Cols))
	}
}

func forwardInput(f *frames) {
	io.Copy(writer{f, frameStdin}, os.Stdin)
	f.write(frameStdin, nil)
}

// receive writes what the command writes until it has ended.
func receive(f *frames) (status int, err error) {
	for {
		kind, content, err := f.read()
		switch {
		case err != nil:
			return 0, fmt.Errorf("the connection to the host ended before the command: %w", err)
		case kind == frameStdout:
			os.Stdout.Write(content)
		case kind == frameStderr:
			os.Stderr.Write(content)
		case kind == frameFailure:
			return 0, errors.New(string(content))
		case kind == frameExit && len(content) == 1:
			return int(content[0]), nil
		}
	}
}
