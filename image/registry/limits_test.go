package registry

import (
	"errors"
	"strings"
	"testing"

	"github.com/cocker/cocker/image"
	"github.com/cocker/cocker/image/transfer"
)

// The limit is that of an image, not of each of its layers, which come in side by side.
func TestTooLarge(t *testing.T) {
	const size = 3 << 20
	s := newServer(t)
	s.putImage(t, "bomb", "1", false, "", layerOf(t, map[string]string{"a": strings.Repeat("\x00", size)}, image.MediaTypeLayerGzip),
		layerOf(t, map[string]string{"b": strings.Repeat("\x00", size)}, image.MediaTypeLayerZstd))
	ref := s.host() + "/bomb:1"
	for limit, fits := range map[int64]bool{2*size - 1: false, 2 * size: true} {
		store := image.Open(needRoot(t))
		c, _ := newClient(t, nil)
		_, err := c.Pull(t.Context(), store.Limit(image.Limits{Size: limit}), ref, transfer.HostPlatform())
		switch {
		case fits && err != nil:
			t.Errorf("limit %d: %v", limit, err)
		case !fits && !errors.Is(err, image.ErrTooLarge):
			t.Errorf("limit %d: %v; want ErrTooLarge", limit, err)
		case !fits:
			wantClean(t, store, 0)
		}
	}
}
