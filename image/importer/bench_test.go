package importer

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/cocker/cocker/image"
)

// BenchmarkImport measures a tree like a small system's: 3000 files, 100 MB.
func BenchmarkImport(b *testing.B) {
	tree := filepath.Join(needRoot(b), "tree")
	var total int64
	for i := range 3000 {
		dir := filepath.Join(tree, fmt.Sprint(i%30), fmt.Sprint(i%7))
		data := make([]byte, 1000+(i%100)*700)
		for j := range data {
			data[j] = byte(j * i >> (j % 5)) // compresses about as programs do
		}
		total += int64(len(data))
		if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), data, 0o644)); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(total)
	for b.Loop() {
		if _, err := Import(b.Context(), image.Open(b.TempDir()), tree, "a:1", Options{}); err != nil {
			b.Fatal(err)
		}
	}
}
