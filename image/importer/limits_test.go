package importer

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/cocker/cocker/image"
)

// packedTar makes a compressed tar of many files, or of one of zeros.
func packedTar(t testing.TB, files int, size int64) []byte {
	t.Helper()
	var buf bytes.Buffer
	packed, err := gzip.NewWriterLevel(&buf, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(packed)
	for i := range files {
		hdr := tar.Header{Typeflag: tar.TypeReg, Name: fmt.Sprintf("d%d/f%d", i/1000, i), Mode: 0o644, Size: size}
		if err := w.WriteHeader(&hdr); err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(w, zeros{}, size); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), packed.Close()); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// What is over a set limit is refused, and leaves nothing: a bomb of zeros, although it
// would take no space, and very many files.
func TestTooLarge(t *testing.T) {
	bomb := packedTar(t, 1, 256<<20)
	if len(bomb) > 2<<20 {
		t.Fatalf("the bomb has %d bytes", len(bomb))
	}
	many := packedTar(t, 100_000, 0)
	tests := []struct {
		name   string
		data   []byte
		limits image.Limits
		want   string
	}{
		{"bytes", bomb, image.Limits{Size: 256<<20 - 1}, `entry "d0/f0": the image is larger than it may be: its files have more than 268435455 bytes`},
		{"bytes, just enough", bomb, image.Limits{Size: 256 << 20}, ""},
		{"files", many, image.Limits{Files: 99_999}, "there are more than 99999 files in it"},
		{"files, just enough", many, image.Limits{Files: 100_000}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			store := image.Open(needRoot(t))
			_, err := Import(t.Context(), store.Limit(tt.limits), "-", "bomb:1", Options{Stdin: bytes.NewReader(tt.data)})
			if tt.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if !errors.Is(err, image.ErrTooLarge) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Import: %v; want %q", err, tt.want)
			}
			wantEmpty(t, store)
		})
	}
}

// Of a layer that is too large no more is read than it takes to see that.
func TestTooLargeIsNotRead(t *testing.T) {
	store := image.Open(needRoot(t)).Limit(image.Limits{Size: 1 << 20})
	tx, err := store.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Close()
	layer, err1 := tx.CreateLayer()
	blob, err2 := tx.CreateBlob()
	var head bytes.Buffer
	err3 := tar.NewWriter(&head).WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "bomb", Size: 1 << 30, Mode: 0o644})
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	rest := &io.LimitedReader{R: zeros{}, N: 1 << 30}
	_, err = Packed(t.Context(), io.MultiReader(&head, rest), blob, layer, nil)
	if read := 1<<30 - rest.N; !errors.Is(err, image.ErrTooLarge) || read > 64<<20 {
		t.Errorf("%v after %d bytes", err, read)
	}
}
