package registry

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cocker/cocker/image"
	"github.com/cocker/cocker/image/importer"
	"github.com/cocker/cocker/image/transfer"
)

// wantRepairable asserts that a repair leaves nothing to be found, not even by a deep
// check.
func wantRepairable(t testing.TB, store *image.Store) {
	t.Helper()
	options := image.CheckOptions{Repair: true, Unpack: importer.Unpack}
	found, err := store.Check(t.Context(), options)
	for _, f := range found {
		if !f.Repaired {
			t.Errorf("not repaired: %s %s: %s", f.Kind, f.Object, f.Problem)
		}
	}
	if err != nil {
		t.Errorf("repair: %v", err)
	}
	wantNothingFound(t, store)
}

func wantNothingFound(t testing.TB, store *image.Store) {
	t.Helper()
	found, err := store.Check(t.Context(), image.CheckOptions{Deep: true, Unpack: importer.Unpack})
	if len(found) != 0 || err != nil {
		t.Errorf("check: %+v, %v", found, err)
	}
}

// runs are the images on which starts of containers stand at the moment.
type runs struct {
	mu      sync.Mutex
	digests map[string]int
}

func (r *runs) add(digest string, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.digests[digest] += n
}

func (r *runs) uses() (u image.Uses, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for digest, n := range r.digests {
		if n > 0 {
			u.Digests = append(u.Digests, digest)
		}
	}
	return u, nil
}

// Two pulls of tags that move on, a prune and starts, all at once and again and again:
// each pull gets its image, no start loses a layer below it, and the store is clean.
func TestPullsPruneAndStartsTogether(t *testing.T) {
	const rounds = 12
	store := image.Open(needRoot(t))
	s := newServer(t)
	base := layerOf(t, map[string]string{"base": "x"}, image.MediaTypeLayerGzip)
	for round := range rounds {
		for _, name := range []string{"one", "two"} {
			text := name + strconv.Itoa(round)
			s.putImage(t, name, strconv.Itoa(round), false, "", base, layerOf(t, map[string]string{"own": text}, image.MediaTypeLayerZstd))
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg, pulls sync.WaitGroup
	running := &runs{digests: map[string]int{}}
	var pruned, started atomic.Int64
	for _, name := range []string{"one", "two"} {
		pulls.Go(func() {
			for round := range rounds {
				if err := pullAs(t, store, s, name, round); err != nil {
					t.Errorf("pull of %s, round %d: %v", name, round, err)
				}
			}
		})
		wg.Go(func() {
			for ctx.Err() == nil {
				n, err := startOn(store, running, name+":now")
				if started.Add(n); err != nil {
					t.Errorf("start on %s: %v", name, err)
				}
			}
		})
	}
	wg.Go(func() {
		for ctx.Err() == nil {
			p, err := store.Prune(image.PrunePolicy{}, running.uses)
			if pruned.Add(int64(len(p.Images))); err != nil {
				t.Errorf("prune: %v", err)
			}
		}
	})
	pulls.Wait()
	cancel()
	wg.Wait()
	if pruned.Load() == 0 || started.Load() == 0 {
		t.Errorf("%d images pruned, %d starts: nothing was tested", pruned.Load(), started.Load())
	}
	t.Logf("%d images pruned, %d starts", pruned.Load(), started.Load())
	wantNothingFound(t, store)
	for _, name := range []string{"one", "two"} {
		img, err := store.Resolve(name + ":now")
		if err != nil {
			t.Fatal(err)
		}
		if text, err := os.ReadFile(filepath.Join(img.Layers[1], "own")); err != nil || string(text) != name+strconv.Itoa(rounds-1) {
			t.Errorf("%s is %q, %v", name, text, err)
		}
	}
}

// pullAs pulls a tag and lets the tag "now" move on to it, as one that is built again.
func pullAs(t *testing.T, store *image.Store, s *server, name string, round int) error {
	t.Helper()
	c, _ := newClient(t, nil)
	ref := fmt.Sprintf("%s/%s:%d", s.host(), name, round)
	if _, err := c.Pull(t.Context(), store, ref, transfer.HostPlatform()); err != nil {
		return err
	}
	_, err := store.Rename(ref, name+":now")
	return err
}

// startOn does with the store what a launcher does: it holds it from before it finds the
// image until what it stands on is written down.
func startOn(store *image.Store, running *runs, name string) (started int64, err error) {
	hold, err := store.Hold()
	if err != nil {
		return 0, err
	}
	img, err := store.Resolve(name)
	if err != nil {
		hold.Release()
		if errors.Is(err, image.ErrNotFound) {
			return 0, nil // nothing was pulled yet
		}
		return 0, err
	}
	running.add(img.Digest, 1)
	defer running.add(img.Digest, -1)
	hold.Release()
	for range 20 { // it runs for a while
		for _, layer := range img.Layers {
			files, err := os.ReadDir(layer)
			if err != nil || len(files) == 0 {
				return 0, fmt.Errorf("layer %s: %d files, %w", layer, len(files), err)
			}
			if text, err := os.ReadFile(filepath.Join(layer, files[0].Name())); err != nil || strings.TrimSpace(string(text)) == "" {
				return 0, fmt.Errorf("layer %s: %q, %w", layer, text, err)
			}
		}
	}
	return 1, nil
}
