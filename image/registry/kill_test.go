package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cocker/cocker/image"
	"github.com/cocker/cocker/image/internal/helper"
	"github.com/cocker/cocker/image/transfer"
)

// A helper pulls the image that it is given.
func TestMain(m *testing.M) {
	helper.Main(m, func(root string, words []string) error {
		c := New(Config{AuthFiles: []string{}, Version: "test"})
		if _, err := c.Pull(context.Background(), image.Open(root), words[0], transfer.HostPlatform()); err != nil {
			return err
		}
		return helper.PrintPeakMemory()
	})
}

// Killed at each step of a pull that replaces an image: the store then has the old
// image or the new one, whole, once the next transaction has begun.
func TestKilledAtEveryStep(t *testing.T) {
	if _, err := exec.LookPath("strace"); err != nil {
		t.Skip("needs strace: apt-get install strace")
	}
	s := newServer(t)
	base := layerOf(t, map[string]string{"base": "x"}, image.MediaTypeLayerGzip)
	s.putImage(t, "a", "old", false, "", base, layerOf(t, map[string]string{"own": "old"}, image.MediaTypeLayerGzip))
	s.putImage(t, "a", "new", false, "", base, layerOf(t, map[string]string{"own": "new"}, image.MediaTypeLayerZstd))
	helper.EveryStep(t, 10, helper.Calls(), func(call string, step int) bool { return killAt(t, s, call, step) })
}

// killAt kills a pull at a thread's Nth call; false if no thread made so many.
func killAt(t *testing.T, s *server, call string, step int) bool {
	t.Helper()
	root := needRoot(t)
	store := image.Open(root)
	c, _ := newClient(t, nil)
	var current atomic.Value
	current.Store("old")
	s.misbehave(func(_ http.ResponseWriter, r *http.Request) bool { // the tag moves on
		r.URL.Path = strings.Replace(r.URL.Path, "/manifests/1", "/manifests/"+current.Load().(string), 1)
		return false
	})
	ref := s.host() + "/a:1"
	if _, err := c.Pull(t.Context(), store, ref, transfer.HostPlatform()); err != nil {
		t.Fatal(err)
	}
	current.Store("new")
	cmd := helper.Injected(t, root, []string{ref}, call, fmt.Sprintf("signal=KILL:when=%d", step))
	err := cmd.Run()
	wantOldOrNew(t, store, ref, call+" "+strconv.Itoa(step))
	return err != nil
}

func wantOldOrNew(t *testing.T, store *image.Store, ref, step string) {
	t.Helper()
	wantRepairable(t, store)
	tx, err := store.Begin()
	if err == nil {
		err = tx.Close()
	}
	if err != nil {
		t.Fatalf("%s: %v", step, err)
	}
	img, err := store.Resolve(ref)
	if err != nil {
		t.Fatalf("%s: %v", step, err)
	}
	data, err := os.ReadFile(img.Layers[1] + "/own")
	if err != nil || string(data) != "old" && string(data) != "new" {
		t.Errorf("%s: %q, %v", step, data, err)
	}
	list, err := store.List()
	for _, i := range list { // the old one stays without a name: containers may run on it
		err = errors.Join(err, i.Problem, store.Remove(i.Digest, nil))
	}
	if err != nil {
		t.Errorf("%s: %v", step, err)
	}
	wantClean(t, store, 0)
}

// A small tmpfs in a mount namespace of its own fills up, at the blob or at what is
// unpacked of it.
func TestDiskFull(t *testing.T) {
	if _, err := exec.LookPath("unshare"); err != nil {
		t.Skip("needs unshare: apt-get install util-linux")
	}
	s := newServer(t)
	s.putImage(t, "full", "blob", false, "", layerOf(t, map[string]string{"f": noise(6 << 20)}, image.MediaTypeLayerZstd))
	s.putImage(t, "full", "layer", false, "", layerOf(t, map[string]string{"f": strings.Repeat("zip bomb", 2<<20)}, image.MediaTypeLayerZstd))
	for _, tag := range []string{"blob", "layer"} {
		root := needRoot(t)
		script := `mount -t tmpfs -o size=4m none "$0" && { "$@"; code=$?; find "$0" -name ".staging*" -o -path "*/sha256/*"; exit $code; }`
		cmd := helper.Command(t, root+"/store", []string{s.host() + "/full:" + tag}, "unshare", "-m", "sh", "-c", script, root)
		var out, errs strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &errs
		err := cmd.Run()
		text := errs.String()
		if err == nil || !strings.Contains(text, "no space left on device") && !strings.Contains(text, "more than") {
			t.Errorf("%s: %v, %s", tag, err, text)
		}
		if out.String() != "" {
			t.Errorf("%s: left over:\n%s", tag, out.String())
		}
	}
}

// However large the layers, a pull takes little memory.
func TestMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("100 MB of layers")
	}
	root, s := needRoot(t), newServer(t)
	var layers []testLayer
	for i, mediaType := range []string{image.MediaTypeLayerZstd, image.MediaTypeLayerGzip, image.MediaTypeLayer, image.MediaTypeLayerZstd} {
		layers = append(layers, layerOf(t, map[string]string{strconv.Itoa(i): noise(24 << 20)}, mediaType))
	}
	s.putImage(t, "big", "1", false, "", layers...)
	cmd := helper.Command(t, root, []string{s.host() + "/big:1"})
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	const most = 100 << 10 // kB
	used, err := strconv.Atoi(string(out))
	if err != nil || used > most {
		t.Errorf("the pull took %s kB at its peak, %v", out, err)
	}
	t.Logf("%d kB", used)
	wantClean(t, image.Open(root), 1)
}
