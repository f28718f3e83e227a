package image

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/image/internal/durable"
)

const (
	stagingPrefix = ".staging-"
	journalName   = "commit.json"
)

// area is the staging place of one process: a directory in oci/ for blobs and
// one of the same name in layers/. The process holds a flock on the first; one
// that nobody holds was left by a process that died.
type area struct {
	store *Store
	name  string
	lock  *os.File
}

func (a *area) oci() string    { return filepath.Join(a.store.OCI(), a.name) }
func (a *area) layers() string { return filepath.Join(a.store.layers(), a.name) }

// newArea makes an area. The caller holds the exclusive lock: so no other process
// takes the directory for a leftover before it is locked.
func (s *Store) newArea() (*area, error) {
	dir, err := os.MkdirTemp(s.OCI(), stagingPrefix)
	if err != nil {
		return nil, err
	}
	a := &area{store: s, name: filepath.Base(dir)}
	if a.lock, err = os.Open(dir); err != nil {
		return nil, errors.Join(err, os.Remove(dir))
	}
	err = flock(a.lock, unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		err = os.Mkdir(a.layers(), 0o700)
	}
	if err != nil {
		return nil, errors.Join(err, a.remove())
	}
	return a, nil
}

// remove deletes the area and all in it. oci/ goes last, because it is what
// shows a later process that there is something left in layers/.
func (a *area) remove() error {
	if a.lock == nil {
		return nil
	}
	err := os.RemoveAll(a.layers())
	if err == nil {
		err = os.RemoveAll(a.oci())
	}
	err = errors.Join(err, a.lock.Close())
	a.lock = nil
	return err
}

// sync makes the content of all staged layers durable: one syncfs(2), because an
// fsync for each file takes minutes. Kernels from 5.8 report write errors here.
func (a *area) sync() error {
	f, err := os.Open(a.layers())
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return os.NewSyscallError("syncfs "+a.layers(), err)
	}
	return nil
}

// leftovers takes over every area whose process died. The caller holds the
// exclusive lock, and may release it before it removes them.
func (s *Store) leftovers() ([]*area, error) {
	entries, err := os.ReadDir(s.OCI())
	if err != nil {
		return nil, err
	}
	var areas []*area
	for _, e := range entries {
		if !e.IsDir() || !strings.HasPrefix(e.Name(), stagingPrefix) {
			continue
		}
		a := &area{store: s, name: e.Name()}
		a.lock, err = os.Open(a.oci())
		if errors.Is(err, fs.ErrNotExist) {
			continue // its process has just removed it, which needs no lock
		}
		if err != nil {
			return areas, err
		}
		if flock(a.lock, unix.LOCK_EX|unix.LOCK_NB) != nil {
			_ = a.lock.Close() // its process is alive
			continue
		}
		areas = append(areas, a)
	}
	return areas, nil
}

// journal says which final names a commit creates. It is on disk before the
// first of them exists, so that a commit cut short can be taken back.
type journal struct {
	Layers []string `json:"layers"`
	Blobs  []string `json:"blobs"`
}

func (a *area) writeJournal(j journal) error {
	data, err := json.Marshal(j)
	if err != nil {
		return err
	}
	if err := durable.WriteFile(filepath.Join(a.oci(), journalName), data); err != nil {
		return err
	}
	return durable.SyncDir(a.store.OCI()) // the area's own name
}

func (a *area) readJournal() (j journal, err error) {
	data, err := os.ReadFile(filepath.Join(a.oci(), journalName))
	if errors.Is(err, fs.ErrNotExist) {
		return j, nil
	}
	if err != nil {
		return j, err
	}
	return j, json.Unmarshal(data, &j)
}

// takeBack undoes a commit that did not reach the index: what the journal names
// and no image needs loses its final name. The caller holds the exclusive lock.
func (a *area) takeBack() error {
	j, err := a.readJournal()
	if err != nil || len(j.Layers)+len(j.Blobs) == 0 {
		return err
	}
	idx, err := a.store.readIndex()
	if err != nil {
		return err
	}
	gone := parts{layers: setOf(j.Layers), blobs: setOf(j.Blobs)}
	gone.subtract(a.store.partsOf(idx.Manifests))
	if err := a.discard(gone); err != nil {
		return fmt.Errorf("take back an import that was cut short: %w", err)
	}
	return nil
}

// discard moves layers into the area, where [area.remove] deletes them without
// the lock, and deletes blobs. What is gone already is fine. Of an area whose process
// died, the directory for layers may be gone, and may have what was moved there before.
func (a *area) discard(p parts) error {
	if len(p.layers)+len(p.blobs) == 0 {
		return nil
	}
	if err := os.MkdirAll(a.layers(), 0o700); err != nil {
		return err
	}
	var errs []error
	for hex := range p.layers {
		to := filepath.Join(a.layers(), hex)
		for exists(to) {
			to += "+"
		}
		errs = append(errs, ignoreMissing(os.Rename(a.store.layer(hex), to)))
	}
	for hex := range p.blobs {
		errs = append(errs, ignoreMissing(os.Remove(a.store.blob(hex))))
	}
	return errors.Join(append(errs, durable.SyncDir(a.store.unpacked()), durable.SyncDir(a.store.blobs()))...)
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
