package importer

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cocker/cocker/image"
	"github.com/cocker/cocker/image/internal/helper"
)

// A killed import leaves staging directories; the next import removes them.
func TestKilled(t *testing.T) {
	root := needRoot(t)
	data := smallTar(t)
	cmd := helper.Command(t, root, nil)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := stdin.Write(data[:len(data)/2]); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(stdout, make([]byte, 8)); err != nil {
		t.Fatal(err)
	}
	staged := func() []string {
		a, _ := filepath.Glob(filepath.Join(root, "oci/.staging*"))
		b, _ := filepath.Glob(filepath.Join(root, "layers/.staging*"))
		return append(a, b...)
	}
	if len(staged()) != 2 {
		t.Fatalf("staging of the live import: %q", staged())
	}
	// Another import leaves a live one alone.
	store := image.Open(root)
	if _, err := Import(t.Context(), store, "-", "b:1", Options{Stdin: bytes.NewReader(data)}); err != nil {
		t.Fatal(err)
	}
	if len(staged()) != 2 {
		t.Fatalf("staging of the live import, after another one: %q", staged())
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	if len(staged()) != 2 {
		t.Fatalf("staging of the killed import: %q", staged())
	}
	if _, err := Import(t.Context(), store, "-", "c:1", Options{Stdin: bytes.NewReader(data)}); err != nil {
		t.Fatal(err)
	}
	if left := staged(); len(left) != 0 {
		t.Errorf("left over: %q", left)
	}
	if err := errors.Join(store.Remove("b:1", nil), store.Remove("c:1", nil)); err != nil {
		t.Fatal(err)
	}
	wantEmpty(t, store)
}

// The order that makes an import safe against a power cut, seen from outside:
// data is synced before it gets its name, and the index comes last.
func TestSyncOrder(t *testing.T) {
	needTool(t, "strace")
	root := needRoot(t)
	trace := filepath.Join(t.TempDir(), "trace")
	cmd := helper.Command(t, root, nil, "strace", "-f", "-y", "-qq", "-o", trace, "-e", "trace=syncfs,fsync,fdatasync,renameat,renameat2,rename")
	cmd.Stdin = bytes.NewReader(smallTar(t))
	if out, err := cmd.CombinedOutput(); err != nil {
		if strings.Contains(string(out), "ptrace") {
			t.Skipf("strace may not trace here: %s", out)
		}
		t.Fatalf("%v\n%s", err, out)
	}
	data, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	order := []string{ // each is the last line with both words, after the one before
		"fsync( blob-2", "syncfs( layers/.staging", "fsync( commit.json", "rename( layers/sha256/", "fsync( layers/sha256>",
		"rename( blobs/sha256/", "fsync( blobs/sha256>", "fsync( index.json.tmp", "rename( index.json\"", "fsync( /oci>",
	}
	at := -1
	for _, step := range order {
		call, object, _ := strings.Cut(step, " ")
		line := lastLine(string(data), strings.TrimSuffix(call, "("), object)
		if line <= at {
			t.Errorf("%s at line %d, not after line %d\n%s", step, line, at, data)
		}
		at = line
	}
}

func lastLine(text, call, object string) int {
	last := -1
	for i, line := range strings.Split(text, "\n") {
		if strings.Contains(line, call) && strings.Contains(line, object) {
			last = i
		}
	}
	return last
}

// Killed at each step of an import, whatever the step: the store then has the
// whole image or nothing of it, once the next import has begun.
func TestKilledAtEveryStep(t *testing.T) {
	needTool(t, "strace")
	data := smallTar(t)
	helper.EveryStep(t, 20, helper.Calls(), func(call string, step int) bool { return killAt(t, data, call, step) })
}

// killAt kills an import at its Nth call; false if it made fewer.
func killAt(t *testing.T, data []byte, call string, step int) bool {
	t.Helper()
	root := needRoot(t)
	cmd := helper.Injected(t, root, nil, call, fmt.Sprintf("signal=KILL:when=%d", step))
	cmd.Stdin = bytes.NewReader(data)
	err := cmd.Run()
	checkWholeOrNothing(t, root, step)
	return err != nil
}

func checkWholeOrNothing(t *testing.T, root string, step int) {
	t.Helper()
	store := image.Open(root)
	wantRepairable(t, store)
	tx, err := store.Begin()
	if err != nil {
		t.Fatalf("step %d: %v", step, err)
	}
	if err := tx.Close(); err != nil {
		t.Fatalf("step %d: %v", step, err)
	}
	if _, err := store.Resolve("a:1"); !errors.Is(err, image.ErrNotFound) {
		if err = errors.Join(err, store.Remove("a:1", nil)); err != nil {
			t.Errorf("step %d: %v", step, err)
		}
	}
	wantEmpty(t, store)
}
