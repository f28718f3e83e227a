package importer

import (
	"bufio"
	"context"
	"io"
)

// ahead reads a source in a goroutine, some pieces ahead. Its Read returns when
// ctx is cancelled, even if the source (a terminal, a pipe) blocks.
type ahead struct {
	ctx    context.Context
	pieces chan piece
	now    piece
}

type piece struct {
	data []byte
	err  error
}

func newAhead(ctx context.Context, source io.Reader) *ahead {
	a := &ahead{ctx: ctx, pieces: make(chan piece, buffers)}
	go a.run(source)
	return a
}

func (a *ahead) run(source io.Reader) {
	for {
		data := make([]byte, chunk)
		n, err := source.Read(data)
		select {
		case a.pieces <- piece{data[:n], err}:
		case <-a.ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

func (a *ahead) Read(p []byte) (int, error) {
	for len(a.now.data) == 0 {
		if a.now.err != nil {
			return 0, a.now.err
		}
		select {
		case a.now = <-a.pieces:
		case <-a.ctx.Done():
			return 0, context.Cause(a.ctx)
		}
	}
	n := copy(p, a.now.data)
	a.now.data = a.now.data[n:]
	return n, nil
}

// newPieces gathers small writes: each one into a pipe wakes the other side.
func newPieces(w io.Writer) *bufio.Writer { return bufio.NewWriterSize(w, chunk) }
