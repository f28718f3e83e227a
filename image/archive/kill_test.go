package archive

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/cocker/cocker/image"
	"github.com/cocker/cocker/image/importer"
	"github.com/cocker/cocker/image/internal/helper"
)

func TestMain(m *testing.M) {
	helper.Main(m, func(root string, _ []string) error {
		if _, err := Import(context.Background(), image.Open(root), "-", "", Options{}); err != nil {
			return err
		}
		return helper.PrintPeakMemory()
	})
}

// several is an archive of two images with a layer in common.
func several(t *testing.T, version string) []byte {
	t.Helper()
	var e entries
	base := layerOf(t, "base")
	e.index(t, e.image(t, base, layerOf(t, "web "+version)).Named("web:1"), e.image(t, base, layerOf(t, "db "+version)).Named("db:1"))
	return gzipped(t, e.tar(t))
}

// Killed at each step of an import that replaces two images: the store then has both
// old ones or both new ones, whole, once the next transaction has begun.
func TestKilledAtEveryStep(t *testing.T) {
	before, after := several(t, "old"), several(t, "new")
	helper.EveryStep(t, 10, helper.Calls(), func(call string, step int) bool { return killAt(t, before, after, call, step) })
}

// killAt kills an import at a thread's Nth call; false if no thread made so many.
func killAt(t *testing.T, before, after []byte, call string, step int) bool {
	t.Helper()
	store := newStore(t)
	if _, err := Import(t.Context(), store, "-", "", Options{Options: importer.Options{Stdin: bytes.NewReader(before)}}); err != nil {
		t.Fatal(err)
	}
	cmd := helper.Injected(t, storeRoot(store), nil, call, fmt.Sprintf("signal=KILL:when=%d", step))
	cmd.Stdin = bytes.NewReader(after)
	err := cmd.Run()
	wantBothOldOrNew(t, store, call+" "+strconv.Itoa(step))
	return err != nil
}

func wantBothOldOrNew(t *testing.T, store *image.Store, step string) {
	t.Helper()
	tx, err := store.Begin()
	if err == nil {
		err = tx.Close()
	}
	if err != nil {
		t.Fatalf("%s: %v", step, err)
	}
	got := strings.Join(append(texts(t, store, "web:1"), texts(t, store, "db:1")...), ",")
	if got != "base,web old,base,db old" && got != "base,web new,base,db new" {
		t.Errorf("%s: %s", step, got)
	}
	// The one thing that may be left is the temporary file of an index, which the next
	// one overwrites.
	for _, options := range []image.CheckOptions{{Repair: true, Unpack: importer.Unpack}, {Deep: true, Unpack: importer.Unpack}} {
		found, err := store.Check(t.Context(), options)
		for _, f := range found {
			if !f.Repaired || !strings.HasSuffix(f.Object, ".tmp") {
				t.Errorf("%s: check: %+v", step, f)
			}
		}
		if err != nil {
			t.Errorf("%s: check: %v", step, err)
		}
	}
}

func noise(n int) string {
	r := rand.NewChaCha8([32]byte{1})
	data := make([]byte, n)
	_, _ = r.Read(data)
	return string(data)
}

// A small tmpfs in a mount namespace of its own fills up: with the archive itself, with
// what is unpacked of it.
func TestDiskFull(t *testing.T) {
	script := `mount -t tmpfs -o size=4m none "$0" && { "$@"; code=$?; find "$0" -name ".staging*" -o -path "*/sha256/*"; exit $code; }`
	for what, source := range map[string][]byte{
		"archive": gzipped(t, layoutWith(t, "web:1", layerOf(t, noise(6<<20))).tar(t)),
		"layer":   layoutWith(t, "web:1", layerOf(t, strings.Repeat("zip bomb", 1<<20))).tar(t),
	} {
		root := storeRoot(newStore(t))
		cmd := helper.Command(t, root+"/store", nil, "unshare", "-m", "sh", "-c", script, root)
		cmd.Stdin = bytes.NewReader(source)
		var out, errs strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &errs
		err := cmd.Run()
		if text := errs.String(); err == nil || !strings.Contains(text, "no space left on device") {
			t.Errorf("%s: %v, %s", what, err, text)
		}
		if out.String() != "" {
			t.Errorf("%s: left over:\n%s", what, out.String())
		}
	}
}

// However large the archive, an import takes little memory.
func TestMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("100 MB of layers")
	}
	store := newStore(t)
	archive := layoutWith(t, "web:1", layerOf(t, noise(50<<20)), layerOf(t, noise(51<<20))).tar(t)
	cmd := helper.Command(t, storeRoot(store), nil)
	cmd.Stdin = bytes.NewReader(archive)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	used, err := strconv.Atoi(string(out))
	if err != nil || used > 60<<10 {
		t.Errorf("an import of 100 MB took %s kB of memory, %v; want at most 60 MB", out, err)
	}
	t.Logf("%d kB", used)
}
