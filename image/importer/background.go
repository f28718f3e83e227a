package importer

import (
	"io"
	"sync/atomic"
)

// background is a writer that works in a goroutine of its own, a few buffers
// behind. An error is returned by a later Write, and by Close.
type background struct {
	full, free chan []byte
	failed     atomic.Pointer[error]
	done       chan struct{}
}

const buffers = 4

func newBackground(w io.Writer) *background {
	b := &background{
		full: make(chan []byte, buffers),
		free: make(chan []byte, buffers),
		done: make(chan struct{}),
	}
	for range buffers {
		b.free <- make([]byte, 0, chunk)
	}
	go b.run(w)
	return b
}

func (b *background) run(w io.Writer) {
	defer close(b.done)
	for data := range b.full {
		if b.err() == nil {
			if _, err := w.Write(data); err != nil {
				b.failed.Store(&err)
			}
		}
		b.free <- data[:0]
	}
}

func (b *background) err() error {
	if p := b.failed.Load(); p != nil {
		return *p
	}
	return nil
}

// Write copies p; its caller may use it again at once.
func (b *background) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		if err := b.err(); err != nil {
			return 0, err
		}
		data := <-b.free
		n := copy(data[:cap(data)], rest)
		b.full <- data[:n]
		rest = rest[n:]
	}
	return len(p), nil
}

// Close waits until everything is written. It is called once.
func (b *background) Close() error {
	close(b.full)
	<-b.done
	return b.err()
}
