// Package volume owns named volumes, the directories of /var/lib/cocker/volumes. It
// may import config for names, image/unpack, internal/linux and internal/quota.
//
// A volume is DIR/NAME, and its content DIR/NAME/data with owners as containers see
// them. Content is staged as DIR/NAME/data.new and gets its name when it is complete
// and on disk, so that after a crash a volume has all of it or none yet. A volume
// without content gets that of the image of the first container. flock(2) on DIR/NAME
// keeps those apart who make, fill and remove it; containers that run hold no lock.
package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/internal/linux"
	"github.com/cocker/cocker/internal/quota"
)

// Errors that a caller may tell apart.
var (
	ErrNotFound = errors.New("no such volume")
	ErrExists   = errors.New("the volume exists")
	ErrInUse    = errors.New("the volume is in use")
)

// Store is the directory of all volumes.
type Store struct {
	state string // the directory of cocker's data; who chooses a project id locks it
	users func(volume string) ([]string, error)
}

// Open returns the store below state. users tells which containers have a volume
// mounted, or are about to.
func Open(state string, users func(volume string) ([]string, error)) *Store {
	return &Store{state: state, users: users}
}

func (s *Store) dir() string               { return filepath.Join(s.state, "volumes") }
func (s *Store) path(volume string) string { return filepath.Join(s.dir(), volume) }

// Volume is a volume that nobody else makes, fills or removes until it is closed.
type Volume struct {
	Name  string
	store *Store
	lock  *os.File
	made  bool // by this call of Hold
}

// Hold locks a volume, and makes it if it is missing and create is set.
func (s *Store) Hold(name string, create bool) (*Volume, error) {
	if err := config.ValidVolume(name); err != nil {
		return nil, err
	}
	for {
		made := false
		if create {
			var err error
			if made, err = s.makeDir(name); err != nil {
				return nil, err
			}
		}
		lock, err := openDir(s.path(name))
		if errors.Is(err, fs.ErrNotExist) {
			if create {
				continue // removed just now
			}
			return nil, fmt.Errorf("%w as %q; \"cocker volume ls\" lists them", ErrNotFound, name)
		}
		if err != nil {
			return nil, err
		}
		v := &Volume{Name: name, store: s, lock: lock, made: made}
		if err := flock(lock, unix.LOCK_EX); err != nil {
			lock.Close()
			return nil, fmt.Errorf("lock volume %s: %w", name, err)
		}
		if isStill(s.path(name), lock) {
			return v, nil
		}
		lock.Close() // another process has removed it before we had the lock
	}
}

// Close lets others have the volume.
func (v *Volume) Close() error { return v.lock.Close() }

// Data is the directory with the volume's content.
func (v *Volume) Data() string { return filepath.Join(v.dir(), "data") }

func (v *Volume) dir() string { return v.store.path(v.Name) }

// Filled tells whether the volume has its content.
func (v *Volume) Filled() bool {
	_, err := os.Lstat(v.Data())
	return err == nil
}

// makeDir makes the directory of a volume. What lies in it belongs to unshifted ids, so
// that a set-user-ID program of a container's root would be the host's root's: the
// directory above must be closed to everybody else, whoever made it.
func (s *Store) makeDir(name string) (made bool, err error) {
	if err := os.MkdirAll(s.dir(), 0o700); err != nil {
		return false, err
	}
	info, err := os.Stat(s.dir())
	if err == nil && info.Mode().Perm()&0o077 != 0 {
		err = os.Chmod(s.dir(), 0o700)
	}
	if err != nil {
		return false, err
	}
	err = os.Mkdir(s.path(name), 0o700)
	if errors.Is(err, fs.ErrExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("make volume %s: %w", name, err)
	}
	_ = s.sweep() // a new volume can do without
	return true, syncDir(s.dir())
}

// Create makes a volume without content, which the first container brings. limit is in
// bytes; 0: none.
func (s *Store) Create(name string, limit uint64) (err error) {
	if err := config.ValidVolume(name); err != nil {
		return err
	}
	made, err := s.makeDir(name)
	if err != nil {
		return err
	}
	if !made {
		return fmt.Errorf("%w: %s; \"cocker volume set\" changes its limit", ErrExists, name)
	}
	v, err := s.Hold(name, false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	if err := v.Limit(limit); err != nil {
		return errors.Join(err, os.Remove(v.dir()))
	}
	return nil
}

// Limit sets how many bytes the volume may hold; 0: as many as there are.
func (v *Volume) Limit(bytes uint64) error {
	err := v.limitable(bytes)
	if err == nil {
		err = quota.Limit(v.store.state, v.dir(), bytes)
	}
	if err != nil {
		return fmt.Errorf("limit volume %s: %w", v.Name, err)
	}
	return nil
}

// limitable is an error if the volume cannot have a limit, or not now: a first one needs
// that nobody else writes to it (quota.Limit).
func (v *Volume) limitable(bytes uint64) error {
	if bytes == 0 || quota.Assigned(v.dir()) {
		return nil
	}
	if err := quota.Check(v.dir()); err != nil {
		return err
	}
	return v.unused()
}

// unused is an error if a container has the volume mounted.
func (v *Volume) unused() error {
	users, err := v.store.users(v.Name)
	if err != nil {
		return err
	}
	if len(users) > 0 {
		return fmt.Errorf("%w: %s is mounted by %s; stop that first", ErrInUse, v.Name, strings.Join(users, ", "))
	}
	return nil
}

// Remove removes a volume that no container has mounted.
func (s *Store) Remove(name string) error {
	v, err := s.Hold(name, false)
	if err != nil {
		return err
	}
	defer v.Close()
	if err := v.unused(); err != nil {
		return err
	}
	if err := quota.Release(v.dir()); err != nil {
		return err
	}
	removed := s.path("." + name + ".removed") // no volume's name begins with a dot
	if err := s.sweep(); err != nil {
		return err
	}
	if err := os.Rename(v.dir(), removed); err != nil {
		return fmt.Errorf("remove volume %s: %w", name, err)
	}
	if err := syncDir(s.dir()); err != nil {
		return err
	}
	return linux.RemoveTree(removed)
}

// sweep removes what a removal that was killed has left. One that goes on has its lock.
func (s *Store) sweep() error {
	left, err := filepath.Glob(s.path(".*.removed"))
	for _, path := range left {
		dir, openErr := openDir(path)
		if openErr != nil {
			continue // somebody has just done it
		}
		if flock(dir, unix.LOCK_EX|unix.LOCK_NB) == nil {
			err = errors.Join(err, linux.RemoveTree(path))
		}
		dir.Close()
	}
	return err
}

func openDir(path string) (*os.File, error) {
	fd, err := linux.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), path), nil
}

func flock(f *os.File, how int) error {
	for {
		if err := unix.Flock(int(f.Fd()), how); err != unix.EINTR {
			return err
		}
	}
}

func isStill(path string, file *os.File) bool {
	there, err := os.Lstat(path)
	if err != nil {
		return false
	}
	held, err := file.Stat()
	return err == nil && os.SameFile(there, held)
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
