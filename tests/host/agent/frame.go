// Package agent runs commands in a virtual machine for the machine outside. It owns
// the protocol between the two and both of its ends: Serve, in the virtual machine,
// and Exec, a process outside that stands for the command. It imports nothing of cocker.
//
// The two are connected by one virtio serial port; yamux makes of it a stream for each
// command. On a stream Exec sends a request, then what the command gets: standard
// input, signals, sizes of its terminal. Serve sends what it writes, then how it ended.
// Each is a frame: a byte that says what, four bytes of length (big endian), the content.
// When the stream ends before the command, all of the command's process group is killed.
package agent

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/hashicorp/yamux"
)

// The kinds of frames.
const (
	frameRequest = 'r' // a request as JSON
	frameStdin   = 'i' // no content: the end of standard input
	frameSignal  = 's' // one byte, the signal's number
	frameSize    = 'w' // rows and columns, two bytes each
	frameStdout  = 'o'
	frameStderr  = 'e'
	frameExit    = 'x' // one byte, the exit status as a shell would say it
	frameFailure = 'f' // why there was no command: a text
)

// maxFrame is the most that one frame carries.
const maxFrame = 64 << 10

// request is a command to run.
type request struct {
	Args     []string
	Env      []string
	Dir      string
	Terminal bool
}

// frames writes and reads frames on a stream. Writing is safe for concurrent use.
type frames struct {
	stream io.ReadWriter
	mu     sync.Mutex
}

func (f *frames) write(kind byte, content []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	frame := binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(content)))
	_, err := f.stream.Write(append(frame, content...))
	return err
}

func (f *frames) writeJSON(kind byte, value any) error {
	content, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return f.write(kind, content)
}

func (f *frames) read() (kind byte, content []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(f.stream, head[:]); err != nil {
		return 0, nil, err
	}
	length := binary.BigEndian.Uint32(head[1:])
	if length > 16*maxFrame {
		return 0, nil, fmt.Errorf("a frame %q of %d bytes", head[0], length)
	}
	content = make([]byte, length)
	_, err = io.ReadFull(f.stream, content)
	return head[0], content, err
}

// writer is an io.Writer whose writes become frames of one kind.
type writer struct {
	frames *frames
	kind   byte
}

func (w writer) Write(p []byte) (int, error) {
	for done := 0; done < len(p); {
		n := min(len(p)-done, maxFrame)
		if err := w.frames.write(w.kind, p[done:done+n]); err != nil {
			return done, err
		}
		done += n
	}
	return len(p), nil
}

// Config is how both ends use yamux: patiently, because the processor of the virtual
// machine is emulated and may stand still for seconds.
func Config(log io.Writer) *yamux.Config {
	config := yamux.DefaultConfig()
	config.EnableKeepAlive = false
	config.ConnectionWriteTimeout = 5 * time.Minute
	config.StreamOpenTimeout = 0 // a stream may be opened long before the other end has booted
	config.StreamCloseTimeout = 5 * time.Minute
	config.LogOutput = log
	return config
}
