package pid1

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// output stands between the command's standard output and error and init's own.
// The journal's are sockets, and a socket cannot be opened through
// /proc/self/fd/1 (ENXIO, open(2)), which is what images do that log to
// /dev/stdout; a pipe can. Where init has no socket the command gets its files.
type output struct {
	writers [2]*os.File // for the command; nil: init's own
	copies  sync.WaitGroup
}

// drainTimeout bounds the wait for the journal to take the last lines, a pipe full of
// them at most (64 KiB, pipe(7)): a busy one takes its time, a stopped one for ever.
const drainTimeout = 10 * time.Second

func newOutput(id *identity) (*output, error) {
	o := new(output)
	originals := [2]*os.File{os.Stdout, os.Stderr}
	for i, original := range originals {
		if !isSocket(original) {
			continue
		}
		if i == 1 && o.writers[0] != nil && sameFile(originals[0], originals[1]) {
			o.writers[1] = o.writers[0] // keeps the order of both
			continue
		}
		writer, err := o.pipeTo(original, id)
		if err != nil {
			return nil, err
		}
		o.writers[i] = writer
	}
	return o, nil
}

// pipeTo returns a pipe that is copied to original. It belongs to the command's
// user: opening /dev/stdout checks the pipe's owner.
func (o *output) pipeTo(original *os.File, id *identity) (*os.File, error) {
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make output pipe: %w", err)
	}
	if err := writer.Chown(int(id.uid), int(id.gid)); err != nil {
		return nil, fmt.Errorf("chown output pipe: %w", err)
	}
	o.copies.Go(func() {
		defer reader.Close()
		_, _ = io.Copy(original, reader) // the journal is gone: there is nobody to tell
		_, _ = io.Copy(io.Discard, reader)
	})
	return writer, nil
}

func (o *output) stdout() int { return o.descriptor(0) }
func (o *output) stderr() int { return o.descriptor(1) }

func (o *output) descriptor(i int) int {
	if o.writers[i] == nil {
		return i + 1
	}
	return int(o.writers[i].Fd())
}

// journalOutput makes the stream of a process to the journal both of its outputs.
func journalOutput(stream *os.File, id *identity) (*output, error) {
	o := new(output)
	writer, err := o.pipeTo(stream, id)
	o.writers = [2]*os.File{writer, writer}
	return o, err
}

// closeWriters leaves the writing ends to the command.
func (o *output) closeWriters() {
	for i, writer := range o.writers {
		if writer != nil && (i == 0 || writer != o.writers[0]) {
			_ = writer.Close()
		}
	}
}

// drain waits until everything that was written has been copied.
func (o *output) drain() {
	o.closeWriters()
	done := make(chan struct{})
	go func() { o.copies.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(drainTimeout):
	}
}

func isSocket(file *os.File) bool {
	var stat unix.Stat_t
	return unix.Fstat(int(file.Fd()), &stat) == nil && stat.Mode&unix.S_IFMT == unix.S_IFSOCK
}

func sameFile(a, b *os.File) bool {
	var first, second unix.Stat_t
	return unix.Fstat(int(a.Fd()), &first) == nil && unix.Fstat(int(b.Fd()), &second) == nil &&
		first.Dev == second.Dev && first.Ino == second.Ino
}
