package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/image/internal/durable"
	"github.com/cocker/cocker/internal/linux"
)

// Recover finishes or takes back what processes that died have left in the store, and
// says how much space that frees. [Store.Begin] does it too.
func (s *Store) Recover(dryRun bool) (freed int64, err error) {
	if !exists(s.OCI()) {
		return 0, nil
	}
	areas, err := s.takeOver(dryRun)
	keep := dryRun || err != nil // the journal of what could not be taken back is still needed
	for _, a := range areas {
		size, sizeErr := linux.DiskUsage(a.oci(), a.layers())
		if freed += size; keep {
			err = errors.Join(err, sizeErr, a.lock.Close())
		} else {
			err = errors.Join(err, sizeErr, a.remove())
		}
	}
	return freed, err
}

func (s *Store) takeOver(dryRun bool) ([]*area, error) {
	lock, err := s.lockExclusive()
	if err != nil {
		return nil, err
	}
	defer lock.Release()
	areas, err := s.leftovers()
	for _, a := range areas {
		if !dryRun {
			err = errors.Join(err, a.takeBack())
		}
	}
	return areas, err
}

func (s *Store) recover(context.Context) error {
	_, err := s.Recover(false)
	return err
}

// remover removes a leftover that nothing refers to. Under the lock nobody is about to
// use it.
func (s *Store) remover(path string) func(context.Context) error {
	return func(context.Context) error {
		lock, err := s.lockExclusive()
		if err != nil {
			return err
		}
		defer lock.Release()
		return os.RemoveAll(path)
	}
}

// Swept is what Sweep has removed.
type Swept struct {
	Layers, Blobs int
	Freed         int64 // bytes of the disk
}

// Sweep removes the layers and blobs that no image needs, but layers that inUse
// returns. Like Prune it does nothing while an image is damaged.
func (s *Store) Sweep(inUse func() ([]string, error), dryRun bool) (swept Swept, err error) {
	if !exists(s.OCI()) {
		return swept, nil
	}
	trash, err := s.sweep(inUse, dryRun, &swept)
	if trash == nil {
		return swept, err
	}
	return swept, errors.Join(err, trash.remove())
}

func (s *Store) sweep(inUse func() ([]string, error), dryRun bool, swept *Swept) (*area, error) {
	lock, err := s.lockExclusive()
	if err != nil {
		return nil, err
	}
	defer lock.Release()
	idx, err := s.readIndex()
	if err != nil {
		return nil, err
	}
	if err := s.checkReadable(idx.Manifests); err != nil {
		return nil, err
	}
	gone, err := s.findStrays(idx)
	if err == nil {
		err = s.spare(gone, inUse)
	}
	if err != nil || len(gone.layers)+len(gone.blobs) == 0 {
		return nil, err
	}
	swept.Layers, swept.Blobs = len(gone.layers), len(gone.blobs)
	if swept.Freed, err = s.sizeOf(gone, s.unpacked()); err != nil || dryRun {
		return nil, err
	}
	if err := s.makeDirs(); err != nil {
		return nil, err
	}
	trash, err := s.newArea()
	if err != nil {
		return nil, err
	}
	if err := trash.writeJournal(gone.journal()); err != nil {
		return trash, err
	}
	return trash, trash.discard(gone)
}

func (s *Store) findStrays(idx *index) (parts, error) {
	found, err := s.present()
	found.subtract(s.partsOf(idx.Manifests))
	return found, err
}

// present is all that there is, whether an image needs it or not.
func (s *Store) present() (parts, error) {
	found := newParts()
	for dir, set := range map[string]map[string]bool{s.unpacked(): found.layers, s.blobs(): found.blobs} {
		names, err := namesIn(dir)
		if err != nil {
			return found, err
		}
		for _, name := range names {
			if isDigestName(name) {
				set[name] = true
			}
		}
	}
	return found, nil
}

// spare takes out of the parts the layers that are mounted.
func (s *Store) spare(p parts, inUse func() ([]string, error)) error {
	if inUse == nil || len(p.layers) == 0 {
		return nil
	}
	dirs, err := inUse()
	if err != nil {
		return fmt.Errorf("find the layers in use: %w", err)
	}
	for _, dir := range dirs {
		if filepath.Dir(dir) == s.unpacked() {
			delete(p.layers, filepath.Base(dir))
		}
	}
	return nil
}

// quarantined is where a damaged blob is put aside: somebody may want to look at it.
func (s *Store) quarantined(hex string) string { return filepath.Join(s.Quarantine(), hex) }

// Quarantine is the directory of damaged blobs.
func (s *Store) Quarantine() string { return filepath.Join(s.root, "quarantine") }

// quarantine puts a blob aside, unless it was replaced by a good one meanwhile.
func (s *Store) quarantine(hex string) error {
	lock, err := s.lockExclusive()
	if err != nil {
		return err
	}
	defer lock.Release()
	if sum, err := hashFile(context.Background(), s.blob(hex)); err == nil && sum == hex {
		return nil
	}
	if err := os.MkdirAll(s.Quarantine(), 0o700); err != nil {
		return err
	}
	if err := os.Rename(s.blob(hex), s.quarantined(hex)); err != nil {
		return err
	}
	return errors.Join(durable.SyncDir(s.blobs()), durable.SyncDir(s.Quarantine()))
}

// unpackBlob unpacks the blob of a layer into a directory that it makes, and checks
// that the layer is the one that it should be.
func (s *Store) unpackBlob(ctx context.Context, o CheckOptions, diffID string, blob Descriptor, dir string) error {
	hex, err := digestHex(blob.Digest)
	if err != nil {
		return err
	}
	f, err := os.Open(s.blob(hex))
	if err != nil {
		return err
	}
	defer f.Close()
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	got, err := o.Unpack(ctx, f, dir)
	if err != nil {
		return err
	}
	if got != diffID {
		return fmt.Errorf("blob %s has the layer %s in it, not %s", blob.Digest, got, diffID)
	}
	return nil
}

// unpackAgain puts a layer in the place of one that is missing or damaged. The order
// is that of [Transaction.Commit]: it has its name only when it is on the disk.
func (s *Store) unpackAgain(ctx context.Context, o CheckOptions, diffID string, blob Descriptor) (err error) {
	hex, err := digestHex(diffID)
	if err != nil {
		return err
	}
	scratch, err := s.newScratch()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, scratch.remove()) }()
	dir := filepath.Join(scratch.layers(), hex)
	if err := s.unpackBlob(ctx, o, diffID, blob, dir); err != nil {
		return err
	}
	if err := scratch.sync(); err != nil {
		return err
	}
	lock, err := s.lockExclusive()
	if err != nil {
		return err
	}
	defer lock.Release()
	return s.put(dir, hex, o.InUse)
}

// put gives a layer its name. An overlay that is mounted must keep what it has.
func (s *Store) put(dir, hex string, inUse func() ([]string, error)) error {
	if err := os.MkdirAll(s.unpacked(), 0o700); err != nil {
		return err
	}
	err := os.Rename(dir, s.layer(hex))
	if err == nil || !exists(s.layer(hex)) {
		return errors.Join(err, durable.SyncDir(s.unpacked()))
	}
	if inUse != nil {
		dirs, err := inUse()
		if err != nil {
			return fmt.Errorf("find the layers in use: %w", err)
		}
		if slices.Contains(dirs, s.layer(hex)) {
			return fmt.Errorf("%w; stop it first", ErrInUse)
		}
	}
	return errors.Join(exchange(dir, s.layer(hex)), durable.SyncDir(s.unpacked()))
}

// exchange swaps two names in one step.
func exchange(a, b string) error {
	if err := unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE); err != nil {
		return &os.LinkError{Op: "exchange", Old: a, New: b, Err: err}
	}
	return nil
}
