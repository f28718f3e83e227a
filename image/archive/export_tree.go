package archive

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/cocker/cocker/image"
	"github.com/cocker/cocker/image/pack"
	"github.com/cocker/cocker/image/unpack"
)

// exportTree writes the tree that a container of an image begins with, all layers made
// one, as a tar. The store is held, so that no layer goes meanwhile.
func exportTree(ctx context.Context, store *image.Store, refs []string, w io.Writer, progress func(int64)) error {
	if len(refs) != 1 {
		return fmt.Errorf("a tree is that of one image, not of %d", len(refs))
	}
	lock, err := store.Hold()
	if err != nil {
		return err
	}
	defer lock.Release()
	img, err := store.Resolve(refs[0])
	if err != nil {
		return err
	}
	return pack.Merged(ctx, &counter{w: w, progress: progress}, img.Layers, nil)
}

type counter struct {
	w        io.Writer
	n        int64
	progress func(int64)
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	if c.progress != nil {
		c.progress(c.n)
	}
	return n, err
}

// unpackTree makes the same tree in an empty directory.
func unpackTree(ctx context.Context, store *image.Store, refs []string, dir string, progress func(int64)) error {
	r, w := io.Pipe()
	written := make(chan error, 1)
	go func() {
		err := exportTree(ctx, store, refs, w, progress)
		written <- err
		_ = w.CloseWithError(err) // it never fails
	}()
	_, err := unpack.Tar(dir, r, unpack.Options{Plain: true})
	if err == nil {
		_, err = io.Copy(io.Discard, r) // what comes after the end mark
	}
	_ = r.CloseWithError(err) // it never fails
	if failure := <-written; failure != nil && !errors.Is(failure, err) {
		return failure
	}
	return err
}
