package image

import (
	"errors"
	"testing"
)

// A layer that is fetched twice, as the first place had damaged it, counts once.
func TestDroppedLayersAreNotCharged(t *testing.T) {
	s := Open(t.TempDir()).Limit(Limits{Size: 10, Files: 2})
	tx, err := s.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Close()
	for range 3 {
		l, err := tx.CreateLayer()
		if err != nil {
			t.Fatal(err)
		}
		b, err := tx.CreateBlob()
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(l.Charge(4), l.Charge(6)); err != nil {
			t.Error(err)
		}
		if err := l.Charge(0); !errors.Is(err, ErrTooLarge) {
			t.Errorf("a third file: %v", err)
		}
		if err := tx.Drop(l, b); err != nil {
			t.Fatal(err)
		}
	}
}
