package image

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/cocker/cocker/image/internal/durable"
)

// Transaction adds one image to the store: all of it or nothing. Its parts are
// written below staging names; [Transaction.Commit] gives them their final ones.
// It is for one goroutine, except that several may add layers and blobs and keep layers,
// each with its own.
type Transaction struct {
	area *area

	mu     sync.Mutex // of what follows
	layers []*StagedLayer
	blobs  []*StagedBlob
	kept   []Layer

	charged   charged
	preserved []string // see Preserve
}

// Begin starts a transaction. It makes the store if there is none yet and clears
// away what transactions of processes that died left behind. Close ends it.
func (s *Store) Begin() (*Transaction, error) {
	old, a, err := s.enter()
	for _, o := range old {
		if a == nil { // the journal of what could not be taken back is still needed
			err = errors.Join(err, o.lock.Close())
		} else {
			err = errors.Join(err, o.remove())
		}
	}
	if err != nil {
		if a != nil {
			err = errors.Join(err, a.remove())
		}
		return nil, fmt.Errorf("begin import into %s: %w", s.root, err)
	}
	return &Transaction{area: a}, nil
}

// enter does what needs the lock, so that the rest does not hold up others.
func (s *Store) enter() (old []*area, own *area, err error) {
	if err := s.makeDirs(); err != nil {
		return nil, nil, err
	}
	lock, err := s.lockExclusive()
	if err != nil {
		return nil, nil, err
	}
	defer lock.Release()
	if err := s.makeLayout(); err != nil {
		return nil, nil, err
	}
	old, err = s.leftovers()
	for _, o := range old {
		err = errors.Join(err, o.takeBack())
	}
	if err != nil {
		return old, nil, err
	}
	own, err = s.newArea()
	return old, own, err
}

// makeDirs lets only root in: layers hold set-uid programs and devices, and
// blobs hold whatever secrets an imported tree had.
func (s *Store) makeDirs() error {
	if err := os.MkdirAll(s.root, 0o755); err != nil {
		return err
	}
	for _, dir := range []string{s.OCI(), s.blobs(), s.layers(), s.unpacked()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	return nil
}

// makeLayout writes the file that marks an OCI layout; it comes last, so that
// where it is all directories are durable.
func (s *Store) makeLayout() error {
	path := filepath.Join(s.OCI(), "oci-layout")
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, dir := range []string{filepath.Dir(s.root), s.root, s.OCI(), filepath.Dir(s.blobs()), s.layers()} {
		if err := durable.SyncDir(dir); err != nil {
			return err
		}
	}
	return durable.WriteFile(path, []byte(`{"imageLayoutVersion":"1.0.0"}`))
}

// Close removes what was staged and not committed. It may be called twice.
func (t *Transaction) Close() error {
	for _, b := range t.blobs {
		_ = b.file.Close() // a sealed blob is closed already; another one is thrown away
	}
	return t.area.remove()
}

// StagedLayer is a layer being unpacked.
type StagedLayer struct {
	path    string
	hex     string
	dropped bool

	tx          *Transaction
	size, files int64 // charged
}

// CreateLayer makes an empty directory for a layer: mode 0755, owned by root.
func (t *Transaction) CreateLayer() (*StagedLayer, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	path := filepath.Join(t.area.layers(), strconv.Itoa(len(t.layers)))
	if err := os.Mkdir(path, 0o755); err != nil {
		return nil, err
	}
	l := &StagedLayer{path: path, tx: t}
	t.layers = append(t.layers, l)
	return l, nil
}

// Path is the directory to unpack into.
func (l *StagedLayer) Path() string { return l.path }

// Seal says that the layer is complete and what its uncompressed tar's digest is.
func (l *StagedLayer) Seal(diffID string) (err error) {
	l.hex, err = digestHex(diffID)
	return err
}

// StagedBlob is a blob being written.
type StagedBlob struct {
	path string
	file *os.File
	hash hash.Hash
	size int64
	hex  string

	dropped bool
}

// CreateBlob makes an empty blob.
func (t *Transaction) CreateBlob() (*StagedBlob, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	path := filepath.Join(t.area.oci(), "blob-"+strconv.Itoa(len(t.blobs)))
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	b := &StagedBlob{path: path, file: f, hash: sha256.New()}
	t.blobs = append(t.blobs, b)
	return b, nil
}

// Write appends to the blob.
func (b *StagedBlob) Write(p []byte) (int, error) {
	n, err := b.file.Write(p)
	b.hash.Write(p[:n])
	b.size += int64(n)
	return n, err
}

// Seal syncs the blob and returns what a manifest says about it.
func (b *StagedBlob) Seal(mediaType string) (Descriptor, error) {
	if err := errors.Join(b.file.Sync(), b.file.Close()); err != nil {
		return Descriptor{}, fmt.Errorf("finish blob: %w", err)
	}
	b.hex = hex.EncodeToString(b.hash.Sum(nil))
	return Descriptor{MediaType: mediaType, Digest: digestPrefix + b.hex, Size: b.size}, nil
}

// Drop takes a layer and its blob out of the image again, for another try.
func (t *Transaction) Drop(l *StagedLayer, b *StagedBlob) error {
	l.dropped, b.dropped = true, true
	l.refund()
	_ = b.file.Close() // it may be sealed
	return errors.Join(os.RemoveAll(l.path), os.Remove(b.path))
}

// TempFile makes a file in the store's file system that nobody else sees and that
// is gone when it is closed.
func (t *Transaction) TempFile() (*os.File, error) {
	f, err := os.CreateTemp(t.area.oci(), "temporary-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Layer is a layer as both of its digests name it: the blob of a manifest, and the
// diff id of a configuration.
type Layer struct{ Blob, DiffID string }

// Keep says that the image has a layer that [Store.Layers] named. Commit returns
// ErrVanished if it is there no more; the transaction can go on then.
func (t *Transaction) Keep(l Layer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept = append(t.kept, l)
}

// Preserve says that images, by the digests of their manifests, stay in the store
// even if they lose their name and all of their layers belong to others too: a
// container stands on them.
func (t *Transaction) Preserve(digests ...string) { t.preserved = append(t.preserved, digests...) }

// checkKept is called with the lock held.
func (t *Transaction) checkKept() error {
	for _, l := range t.kept {
		if !t.area.store.hasLayer(l) {
			return fmt.Errorf("layer %s: %w", l.Blob, ErrVanished)
		}
	}
	return nil
}

// Forget takes back what Keep said of all layers.
func (t *Transaction) Forget() { t.kept = nil }
