package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// The pages in the repository are what the commands say of themselves.
func TestPagesAreUpToDate(t *testing.T) {
	dir := t.TempDir()
	if err := write(dir); err != nil {
		t.Fatal(err)
	}
	made, err := filepath.Glob(filepath.Join(dir, "*.1"))
	if err != nil || len(made) < 10 {
		t.Fatalf("%d pages, %v", len(made), err)
	}
	const kept = "../../../docs/man"
	for _, page := range made {
		want, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(kept, filepath.Base(page)))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not up to date (%v); run: make man", filepath.Base(page), err)
		}
	}
	all, _ := filepath.Glob(filepath.Join(kept, "cocker*.1"))
	if len(all) != len(made) {
		t.Errorf("%d pages in %s, %d commands", len(all), kept, len(made))
	}
}
