package cli

import (
	"errors"
	"io"
	"os"
	"os/signal"
	"sync"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// stdio is what a container in the foreground has as its standard descriptors:
// those of this process, or a terminal that this process passes on.
type stdio struct {
	in, out, err *os.File // the container's; nil: /dev/null
	streams      *streams
	interactive  bool
	words        *lastWords // reads master or output; nil: nothing is passed on

	master *os.File // our end of the container's terminal; nil: it has none
	pipe   *os.File // our end of the container's input, where that is a pipe
	output *os.File // our end of its output, where that is a pipe
	raw    *term.State
	leave  func() // what the escape of a login does; nil: there is none
}

func openStdio(s *streams, o runOptions) (*stdio, error) {
	x := &stdio{streams: s, interactive: o.interactive, out: s.out, err: s.err}
	if !o.terminal {
		if err := x.shieldTerminal(); err != nil {
			return nil, err
		}
	}
	switch {
	case o.terminal:
		return x, x.openTerminal()
	case o.interactive && isTerminal(s.in):
		// The user's own terminal stays this process's; without -t the container
		// gets what is typed, not the terminal.
		var err error
		x.in, x.pipe, err = os.Pipe()
		return x, err
	case o.interactive:
		x.in = s.in
	}
	return x, nil
}

// shieldTerminal puts a pipe between the container's output and the user's
// terminal: whoever can write to a terminal can read what is typed there, too.
// One pipe serves both streams, which keeps their order.
func (x *stdio) shieldTerminal() error {
	if !isTerminal(x.out) && !isTerminal(x.err) {
		return nil
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		return err
	}
	x.output = reader
	if x.words, err = newLastWords(reader); err != nil {
		return err
	}
	for _, stream := range []**os.File{&x.out, &x.err} {
		if isTerminal(*stream) {
			*stream = writer
		}
	}
	return nil
}

func (x *stdio) openTerminal() error {
	master, slave, err := pty.Open()
	if err != nil {
		return err
	}
	x.master, x.in, x.out, x.err = master, slave, slave, slave
	if x.words, err = newLastWords(master); err != nil {
		return err
	}
	x.resize()
	if x.interactive {
		x.raw, err = term.MakeRaw(int(x.streams.in.Fd()))
	}
	return err
}

// resize gives the container's terminal the size of ours. Where ours is none,
// its size stays unknown.
func (x *stdio) resize() {
	if size, err := pty.GetsizeFull(x.streams.in); err == nil {
		_ = pty.Setsize(x.master, size) // an open master takes any size
	}
}

// start begins to pass on what is typed and shown; the launcher has inherited
// its ends by now. The function it returns ends that when the container has
// ended, and returns when all output has been shown.
func (x *stdio) start() (stop func()) {
	x.closeTheirs()
	if x.pipe != nil {
		go func() {
			_, _ = io.Copy(x.pipe, x.streams.in)
			_ = x.pipe.Close() // the end of the file is for the container to see
		}()
	}
	if x.master == nil {
		return x.show()
	}
	if x.interactive {
		var typed io.Reader = x.streams.in
		if x.leave != nil {
			typed = &escape{typed: typed, leave: x.leave}
		}
		go func() { _, _ = io.Copy(x.master, typed) }()
	}
	sizes := make(chan os.Signal, 1)
	signal.Notify(sizes, unix.SIGWINCH)
	x.resize() // it may have changed since openTerminal
	go func() {
		for range sizes {
			x.resize()
		}
	}()
	wait := x.show()
	return func() {
		wait()
		signal.Stop(sizes)
	}
}

// show copies what the container says to the user and returns a function that
// waits for the last of it: the end of a pipe, or EIO of a terminal whose other
// descriptors are all closed. With PID 1 all processes of the container are gone;
// for what they have handed on see lastWords.
func (x *stdio) show() (wait func()) {
	if x.words == nil {
		return func() {}
	}
	to := x.streams.out
	if x.words.from == x.output && !isTerminal(to) {
		to = x.streams.err // that one is the terminal, see shieldTerminal
	}
	var shown sync.WaitGroup
	shown.Go(func() { _, _ = io.Copy(to, x.words) })
	return func() {
		x.words.end()
		shown.Wait()
	}
}

// closeTheirs closes our copies of what the container alone shall hold, so that
// its end is seen.
func (x *stdio) closeTheirs() {
	if x.master != nil || x.pipe != nil {
		_ = x.in.Close()
	}
	if x.output == nil {
		return
	}
	for _, stream := range []*os.File{x.out, x.err} {
		if stream != x.streams.out && stream != x.streams.err {
			_ = stream.Close() // the pipe's; the second time it is closed already
		}
	}
}

// restore gives the user's terminal back as it was.
func (x *stdio) restore() error {
	if x.raw == nil {
		return nil
	}
	return errors.Join(term.Restore(int(x.streams.in.Fd()), x.raw))
}
