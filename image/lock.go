package image

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Lock is a hold on the store. The kernel releases it when the process dies.
type Lock struct {
	file *os.File // nil: there is no store to lock
}

// Hold keeps every image and layer in its place until Release: nothing is added
// or removed meanwhile. A caller that mounts what [Store.Resolve] returned holds
// the store from before the one until after the other. Any number may hold it.
func (s *Store) Hold() (*Lock, error) {
	lock, err := s.lock(os.O_RDONLY, unix.LOCK_SH)
	if errors.Is(err, fs.ErrNotExist) {
		return &Lock{}, nil
	}
	return lock, err
}

// lockExclusive waits until nobody else holds the store.
func (s *Store) lockExclusive() (*Lock, error) {
	return s.lock(os.O_RDWR|os.O_CREATE, unix.LOCK_EX)
}

func (s *Store) lock(flags, how int) (*Lock, error) {
	f, err := os.OpenFile(s.lockFile(), flags, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock image store: %w", err)
	}
	if err := flock(f, how); err != nil {
		return nil, errors.Join(fmt.Errorf("lock image store %s: %w", s.OCI(), err), f.Close())
	}
	return &Lock{file: f}, nil
}

// read calls f with the index, while the store is held.
func (s *Store) read(f func(*index) error) error {
	lock, err := s.Hold()
	if err != nil {
		return err
	}
	defer lock.Release()
	idx, err := s.readIndex()
	if err != nil {
		return err
	}
	return f(idx)
}

// readImage calls f with the image that a reference means, while the store is held.
func (s *Store) readImage(ref string, f func(Descriptor) error) error {
	return s.read(func(idx *index) error {
		d, err := idx.find(ref)
		if err != nil {
			return err
		}
		if err := f(d); err != nil {
			return fmt.Errorf("image %q: %w", ref, err)
		}
		return nil
	})
}

// Release ends the hold; a second call does nothing.
func (l *Lock) Release() {
	if l.file != nil {
		_ = l.file.Close() // closing a descriptor that was only locked loses nothing
		l.file = nil
	}
}

func flock(f *os.File, how int) error {
	for {
		err := unix.Flock(int(f.Fd()), how)
		if err != unix.EINTR {
			return err
		}
	}
}
