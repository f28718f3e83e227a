package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"
)

// unpackText is an unpacker for the blobs of stage: "gzip of TEXT" has the file "file".
func unpackText(_ context.Context, blob io.Reader, dir string) (string, error) {
	data, err := io.ReadAll(blob)
	text, ok := strings.CutPrefix(string(data), "gzip of ")
	if !ok {
		return "", errors.Join(err, fmt.Errorf("%q is no layer", data))
	}
	return DigestOf([]byte("tar of " + text)), writeLayer(dir, text)
}

func checkOf(t *testing.T, s *Store, o CheckOptions) []Finding {
	t.Helper()
	o.Unpack = unpackText
	found, err := s.Check(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// summary has a line for each finding.
func summary(found []Finding) string {
	var lines []string
	for _, f := range found {
		line := f.Kind + ": " + f.Problem
		if f.Repaired {
			line += " (repaired)"
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

func TestCheck(t *testing.T) {
	garbage := func(path string) error { return os.WriteFile(path, []byte("garbage"), 0o600) }
	cut := func(digest string) string { return strings.TrimPrefix(digest, digestPrefix) }
	tests := []struct {
		name     string
		damage   func(s *Store, img *Image, manifest string) error
		deep     bool
		want     string // of the check
		repaired string // of the repair; "clean": all is
	}{
		{"clean", func(*Store, *Image, string) error { return nil }, true, "", "clean"},
		{"no layer", func(_ *Store, img *Image, _ string) error { return os.RemoveAll(img.Layers[0]) }, false, "layer: it is not unpacked", "clean"},
		{"layer a file", func(_ *Store, img *Image, _ string) error {
			return errors.Join(os.RemoveAll(img.Layers[0]), garbage(img.Layers[0]))
		}, false, "layer: it is not a directory", "clean"},
		{"layer damaged, not looked at", func(_ *Store, img *Image, _ string) error { return garbage(img.Layers[0] + "/file") }, false, "", "clean"},
		{"layer with one file more", func(_ *Store, img *Image, _ string) error { return garbage(img.Layers[0] + "/more") }, true, "layer: \".\": its time of modification is another one", "clean"},
		{"one bit of a layer", func(_ *Store, img *Image, _ string) error {
			file, then := img.Layers[1]+"/file", time.Unix(1e9, 0)
			return errors.Join(os.WriteFile(file, []byte("c"), 0o600), os.Chtimes(file, then, then))
		}, true, "layer: \"file\": its content is another one", "clean"},
		{"layer and blob lost", func(s *Store, img *Image, _ string) error {
			return errors.Join(os.RemoveAll(img.Layers[0]), os.Remove(s.blob(cut(img.Blobs[0].Digest))))
		}, false, "blob: it is missing\nlayer: it is not unpacked", "blob: it is missing\nlayer: it is not unpacked"},
		{"blob damaged", func(s *Store, img *Image, _ string) error { return garbage(s.blob(cut(img.Blobs[0].Digest))) }, false,
			"blob: it is damaged: its content has another digest", "blob: it was damaged, and is put aside as QUARANTINE"},
		{"blob damaged, layer lost", func(s *Store, img *Image, _ string) error {
			return errors.Join(os.RemoveAll(img.Layers[0]), garbage(s.blob(cut(img.Blobs[0].Digest))))
		}, false, "blob: it is damaged: its content has another digest\nlayer: it is not unpacked", "blob: it was damaged, and is put aside as QUARANTINE\nlayer: it is not unpacked"},
		{"manifest damaged", func(s *Store, _ *Image, manifest string) error { return garbage(s.blob(manifest)) }, false,
			"manifest: it is damaged: its content has another digest", "manifest: it was damaged, and is put aside as QUARANTINE"},
		{"strays", func(s *Store, _ *Image, _ string) error {
			return errors.Join(garbage(s.blob(strings.Repeat("0", 64))), os.MkdirAll(s.layer(strings.Repeat("1", 64))+"/a/b", 0o755))
		}, false, "stray: no image needs it\nstray: no image needs it", "clean"},
		{"foreign", func(s *Store, _ *Image, _ string) error { return garbage(s.OCI() + "/notes") }, false, "stray: cocker has not made it", "stray: cocker has not made it"},
		{"half a staging area", func(s *Store, _ *Image, _ string) error { return os.Mkdir(s.layers()+"/.staging-1", 0o700) }, false,
			"stray: a process that added or removed images was killed", "clean"},
		{"a staging area", func(s *Store, _ *Image, _ string) error { return os.Mkdir(s.OCI()+"/.staging-1", 0o700) }, false,
			"leftover: a process that added or removed images was killed", "clean"},
		{"half an index", func(s *Store, _ *Image, _ string) error { return garbage(s.index() + ".tmp") }, false, "leftover: a process was killed while it wrote the file", "clean"},
		{"index damaged", func(s *Store, _ *Image, _ string) error { return garbage(s.index()) }, false, "index: ", "index: "},
		{"no marker", func(s *Store, _ *Image, _ string) error { return os.Remove(s.names() + "/one:1") }, false, "marker: it is missing", "clean"},
		{"marker of nothing", func(s *Store, _ *Image, _ string) error { return garbage(s.names() + "/two:2") }, false, "marker: there is no such image", "clean"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := Open(t.TempDir())
			d := add(t, s, "one:1", "a", "b")
			add(t, s, "two:1", "b", "c")
			img, err := s.Resolve("one:1")
			if err != nil {
				t.Fatal(err)
			}
			if err := tt.damage(s, img, cut(d.Digest)); err != nil {
				t.Fatal(err)
			}
			tidy := func(text string) string {
				if at := strings.Index(text, s.Quarantine()); at >= 0 {
					end := at + len(s.Quarantine()) + 65
					text = text[:at] + "QUARANTINE" + text[end:]
				}
				if strings.HasPrefix(text, "index: ") {
					return "index: "
				}
				return text
			}
			if got := tidy(summary(checkOf(t, s, CheckOptions{Deep: tt.deep}))); got != tt.want {
				t.Errorf("found:\n%s\nwant:\n%s", got, tt.want)
			}
			var left []Finding
			for _, f := range checkOf(t, s, CheckOptions{Deep: tt.deep, Repair: true}) {
				if f.Repaired {
					continue
				}
				if left = append(left, f); f.Advice == "" {
					t.Errorf("%s %s: neither repaired nor an advice", f.Kind, f.Object)
				}
			}
			got := tidy(summary(left))
			if len(left) == 0 {
				got = "clean"
			}
			if got != tt.repaired {
				t.Errorf("after the repair:\n%s\nwant:\n%s", got, tt.repaired)
			}
			if tt.name != "index damaged" {
				if list, err := s.List(); err != nil || len(list) != 2 {
					t.Errorf("images: %+v, %v", list, err)
				}
			}
			if _, err := s.Resolve("two:1"); err != nil && tt.name != "index damaged" {
				t.Errorf("the other image: %v", err)
			}
		})
	}
}
