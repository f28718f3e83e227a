package volume

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/image/unpack"
	"github.com/cocker/cocker/internal/linux"
	"github.com/cocker/cocker/internal/quota"
)

// Content is what a volume has at first: a directory of an image.
type Content struct {
	Dir  *os.File // nil: nothing
	Base uint32   // the owners' ids are so much higher than in the container
}

// Prepare makes sure that a volume has content, and sets its limit unless that is 0. After
// an error there is no more of it than before.
func (s *Store) Prepare(ctx context.Context, name string, limit uint64, content Content, note func(string)) (data string, err error) {
	v, err := s.Hold(name, true)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	if err := v.prepareLimit(limit); err != nil {
		return "", errors.Join(err, v.forget())
	}
	if v.Filled() {
		return v.Data(), nil
	}
	if err := v.stage(func(dir string) error { return copyContent(ctx, dir, content, note) }); err != nil {
		return "", errors.Join(fmt.Errorf("fill volume %s with what the image has: %w", name, err), v.forget())
	}
	return v.Data(), v.publish(0)
}

// prepareLimit gives also a volume without a limit a project, if it can: it may get a
// limit while it is in use then.
func (v *Volume) prepareLimit(limit uint64) error {
	if limit != 0 {
		return v.Limit(limit)
	}
	if v.Filled() {
		return nil
	}
	return quota.Assign(v.store.state, v.dir())
}

// forget removes a volume that was made in vain.
func (v *Volume) forget() error {
	if !v.made || v.Filled() {
		return nil
	}
	if err := quota.Release(v.dir()); err != nil {
		return err
	}
	return linux.RemoveTree(v.dir())
}

func (v *Volume) staging() string { return v.Data() + ".new" }

// stage fills a new directory and puts it on disk.
func (v *Volume) stage(fill func(dir string) error) error {
	if err := linux.RemoveTree(v.staging()); err != nil {
		return err
	}
	if err := os.Mkdir(v.staging(), 0o755); err != nil {
		return err
	}
	if err := os.Chmod(v.staging(), 0o755); err != nil { // the umask took some
		return err
	}
	err := fill(v.staging())
	if err == nil {
		err = syncTree(v.staging())
	}
	if err != nil {
		return errors.Join(err, linux.RemoveTree(v.staging()))
	}
	return nil
}

// publish makes what is staged the volume's content. With RENAME_EXCHANGE what was
// there before is staged then, and is removed.
func (v *Volume) publish(flags uint) error {
	if err := unix.Renameat2(unix.AT_FDCWD, v.staging(), unix.AT_FDCWD, v.Data(), flags); err != nil {
		return fmt.Errorf("rename %q: %w", v.staging(), err)
	}
	if err := syncDir(v.dir()); err != nil {
		return err
	}
	return linux.RemoveTree(v.staging())
}

// syncTree writes the file system of a directory to disk: one call for all of its files.
func syncTree(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return fmt.Errorf("sync %q: %w", dir, err)
	}
	return nil
}

// copyContent fills dir by a tar that is never on a disk.
func copyContent(ctx context.Context, dir string, content Content, note func(string)) error {
	if content.Dir == nil {
		return nil
	}
	r, w := io.Pipe()
	written := make(chan error, 1)
	go func() {
		err := archive(ctx, w, content, note)
		written <- err
		_ = w.CloseWithError(err) // of a pipe: always nil
	}()
	_, err := unpack.Tar(dir, r, unpack.Options{Plain: true, Limits: limits(), Note: note})
	_ = r.CloseWithError(errAbandoned)
	if packed := <-written; packed != nil && !errors.Is(packed, errAbandoned) {
		return packed
	}
	return err
}

var errAbandoned = errors.New("nobody reads on")

// limits are higher for devices than those of an image: a volume may hold another
// engine's layers, whose whiteouts are devices.
func limits() unpack.Limits { return unpack.Limits{Devices: 10_000_000} }

func (s *Store) dataOf(name string) string { return filepath.Join(s.path(name), "data") }
