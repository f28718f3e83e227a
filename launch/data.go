package launch

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/internal/handoff"
	"github.com/cocker/cocker/internal/linux"
	"github.com/cocker/cocker/internal/paths"
	"github.com/cocker/cocker/rootfs"
)

// Data is the directory of what a container wrote, opened by a reader.
type Data struct {
	Upper   string // the writable layer; it may not exist
	Running *State // what runs on it; nil: nothing does

	name string
	dir  *os.File // nil: the container has never been started
}

// readPatience is how long OpenData waits for a start, an end or a removal.
const readPatience = time.Minute

// OpenData opens the data of a container to be read. If the container does not run,
// nothing starts or removes it until Close: a start waits. If it runs, it writes, may
// end and may be removed meanwhile; Check tells.
func OpenData(ctx context.Context, container string) (*Data, error) {
	if err := config.ValidName(container); err != nil {
		return nil, err
	}
	deadline := time.Now().Add(readPatience)
	for {
		d, err := openData(container)
		if err == nil || !errors.Is(err, errLocked) || time.Now().After(deadline) {
			return d, err
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// openData holds the lock of a container that does not run only: its cleanup, which
// does not wait for a lock, must find none.
func openData(container string) (*Data, error) {
	d := &Data{name: container, Upper: filepath.Join(writable(container), "upper")}
	dir, err := os.Open(writable(container))
	if errors.Is(err, fs.ErrNotExist) {
		return d, nil
	}
	if err != nil {
		return nil, err
	}
	state, err := ReadState(container)
	if err == nil && state.Running() {
		d.Running, d.dir = state, dir
		return d, nil
	}
	err = unix.Flock(int(dir.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	if err == nil {
		// It may have been started, or have ended, before there was the lock.
		_, err = ReadState(container)
	}
	if errors.Is(err, fs.ErrNotExist) && isStill(writable(container), dir) {
		d.dir = dir
		return d, nil
	}
	dir.Close()
	cleanUpAfterReader(container)
	return nil, fmt.Errorf("container %s %w", container, errLocked)
}

// cleanUpAfterReader does, once a reader has given up its lock, the work of a cleanup that
// came meanwhile: it leaves a container whose lock is taken to the holder.
func cleanUpAfterReader(container string) {
	if state, err := ReadState(container); err == nil && !state.Running() {
		_ = Cleanup(container)
	}
}

// Check says whether what is read is still the container's: that it runs as it did,
// and was not removed.
func (d *Data) Check() error {
	if d.dir == nil {
		return nil
	}
	if !isStill(writable(d.name), d.dir) {
		return fmt.Errorf("container %s was removed meanwhile", d.name)
	}
	if d.Running == nil {
		return nil
	}
	now, err := ReadState(d.name)
	if err != nil || !now.Running() || now.Leader != d.Running.Leader || now.LeaderStart != d.Running.LeaderStart {
		return fmt.Errorf("container %s has ended meanwhile", d.name)
	}
	return nil
}

// Close ends the hold; it may be called twice, and for nil.
func (d *Data) Close() {
	if d != nil && d.dir != nil {
		_ = d.dir.Close()
		d.dir = nil
	}
}

// Filled is what a start writes into the writable layer of a container; see
// pack.Filled.
type Filled struct {
	Files  []string
	Links  map[string]string
	Points []string
	Edited map[string]func([]byte) []byte
}

// FilledIn says what a start writes into the writable layer of a container.
func FilledIn(c *config.Container) Filled {
	f := Filled{
		Files:  []string{"/etc/hostname", "/etc/machine-id"},
		Points: rootfs.MountPoints(c.Mounts),
		Edited: map[string]func([]byte) []byte{"/etc/hosts": withoutBlock},
	}
	for i := range c.Templates { // they may hold what is secret
		f.Files = append(f.Files, c.Templates[i].Target)
	}
	if c.Init == config.InitCocker { // which makes them
		f.Links = map[string]string{handoff.OldRun: "/run"}
		f.Points = append(f.Points, filepath.Dir(handoff.OldBusSocket))
	}
	if m := c.Network.Mode; m != config.NetworkNone && m != config.NetworkCustom { // then it is the container's own
		f.Files = append(f.Files, "/etc/resolv.conf")
	}
	return f
}

// CheckedOut is the data directory of a container that is being made: nobody else
// sees it before Place.
type CheckedOut struct {
	dir  string
	lock *os.File
}

// checkoutPrefix marks a directory that is being made; no container has such a name.
const checkoutPrefix = ".checkout-"

// NewData makes a directory that becomes a container's data by Place, and removes
// those that killed callers have left. The caller holds the names.
func NewData() (*CheckedOut, error) {
	if err := sweepCheckouts(); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(paths.Writable, checkoutPrefix)
	if err != nil {
		return nil, err
	}
	lock, err := os.Open(dir)
	if err == nil {
		err = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	}
	c := &CheckedOut{dir, lock}
	if err == nil {
		err = os.Mkdir(c.Upper(), 0o755)
	}
	if err != nil {
		return nil, errors.Join(err, linux.RemoveTree(dir))
	}
	return c, nil
}

func sweepCheckouts() error {
	left, err := filepath.Glob(filepath.Join(paths.Writable, checkoutPrefix+"*"))
	for _, dir := range left {
		lock, openErr := os.Open(dir)
		if openErr != nil {
			continue // its maker has just removed it
		}
		if unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			err = errors.Join(err, linux.RemoveTree(dir))
		}
		lock.Close()
	}
	return err
}

// Dir is the directory, Upper its writable layer.
func (c *CheckedOut) Dir() string   { return c.dir }
func (c *CheckedOut) Upper() string { return filepath.Join(c.dir, "upper") }

// Place syncs the data and gives it to a container that has none. The lock stays:
// nothing starts the container before Close.
func (c *CheckedOut) Place(container string) error {
	if err := unix.Syncfs(int(c.lock.Fd())); err != nil {
		return fmt.Errorf("syncfs %s: %w", c.dir, err)
	}
	if err := unix.Renameat2(unix.AT_FDCWD, c.dir, unix.AT_FDCWD, writable(container), unix.RENAME_NOREPLACE); err != nil {
		return fmt.Errorf("rename %s to %s: %w", c.dir, writable(container), err)
	}
	c.dir = writable(container)
	parent, err := os.Open(paths.Writable)
	if err != nil {
		return err
	}
	return errors.Join(parent.Sync(), parent.Close())
}

// Remove takes it all back.
func (c *CheckedOut) Remove() error { return linux.RemoveTree(c.dir) }

// Close ends the hold.
func (c *CheckedOut) Close() { _ = c.lock.Close() }
