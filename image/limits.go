package image

import (
	"errors"
	"fmt"
	"sync/atomic"
)

// Limits bound what one transaction takes in: all layers together, as they are
// unpacked. Zero means that there is no limit but the disk's.
type Limits struct {
	Size  int64 // bytes: the sum of the sizes of files, holes included
	Files int64 // files, directories and everything else
}

// ErrTooLarge says that an image has more in it than the limits allow.
var ErrTooLarge = errors.New("the image is larger than it may be")

// Limit returns the same store with limits for what is added to it.
func (s *Store) Limit(l Limits) *Store {
	limited := *s
	limited.limits = l
	return &limited
}

// Limits are those of the store.
func (t *Transaction) Limits() Limits { return t.area.store.limits }

// charged is what layers have taken of the limits; they are unpacked side by side.
type charged struct{ size, files atomic.Int64 }

// Charge takes one file of a layer off the limits, before it is unpacked.
func (l *StagedLayer) Charge(size int64) error {
	limits := l.tx.area.store.limits
	l.size, l.files = l.size+size, l.files+1
	total, files := l.tx.charged.size.Add(size), l.tx.charged.files.Add(1)
	switch {
	case limits.Size > 0 && (total > limits.Size || total < 0):
		return fmt.Errorf("%w: its files have more than %d bytes together", ErrTooLarge, limits.Size)
	case limits.Files > 0 && files > limits.Files:
		return fmt.Errorf("%w: there are more than %d files in it", ErrTooLarge, limits.Files)
	}
	return nil
}

// refund takes back what the layer was charged: it is to be fetched once more.
func (l *StagedLayer) refund() {
	l.tx.charged.size.Add(-l.size)
	l.tx.charged.files.Add(-l.files)
	l.size, l.files = 0, 0
}
