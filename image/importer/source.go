package importer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/cocker/cocker/image"
	"github.com/cocker/cocker/image/pack"
)

// Open returns the uncompressed tar of a source that [Import] takes.
func Open(ctx context.Context, store *image.Store, source string, opts Options) (io.ReadCloser, error) {
	if source == "-" {
		stdin := opts.Stdin
		if stdin == nil {
			stdin = os.Stdin
		}
		return decompress(newAhead(ctx, stdin), io.NopCloser(stdin).Close)
	}
	info, err := os.Stat(source)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return openDir(ctx, store, source, opts)
	}
	f, err := os.Open(source)
	if err != nil {
		return nil, err
	}
	return decompress(newAhead(ctx, f), f.Close)
}

// openDir packs a directory in a goroutine that ends, at the latest, in Close.
func openDir(ctx context.Context, store *image.Store, dir string, opts Options) (io.ReadCloser, error) {
	if err := checkOutside(store, dir); err != nil {
		return nil, err
	}
	note := opts.Note
	if note == nil {
		note = func(string) {}
	}
	r, w := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		big := newPieces(w)
		err := pack.Dir(ctx, big, dir, note)
		if err == nil {
			err = big.Flush()
		}
		_ = w.CloseWithError(err) // it never fails
	}()
	return &closer{Reader: r, close: func() error {
		err := r.Close()
		<-done
		return err
	}}, nil
}

// checkOutside keeps the store out of the tree that goes into it.
func checkOutside(store *image.Store, dir string) error {
	tree, err := filepath.EvalSymlinks(dir)
	if err == nil {
		tree, err = filepath.Abs(tree)
	}
	if err != nil {
		return err
	}
	own, err := filepath.EvalSymlinks(store.OCI())
	if errors.Is(err, os.ErrNotExist) {
		own, err = filepath.Abs(store.OCI())
	}
	if err != nil {
		return err
	}
	rel, err := filepath.Rel(tree, own)
	if err == nil && rel != ".." && !strings.HasPrefix(rel, "../") {
		return fmt.Errorf("the image store %s is in it", own)
	}
	return nil
}

type closer struct {
	io.Reader
	close func() error
}

func (c *closer) Close() error { return c.close() }
