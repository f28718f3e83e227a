package image

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What could not be read afterwards is not taken in, and the store is as before.
func TestCommitRefusesUnreadable(t *testing.T) {
	change := func(document map[string]any, key string, value any) { document[key] = value }
	tests := []struct {
		name, want string
		change     func(m map[string]any)
	}{
		{"annotation", "cannot unmarshal", func(m map[string]any) { change(m, "annotations", map[string]any{"a": 5}) }},
		{"too long", "longer than", func(m map[string]any) {
			change(m, "annotations", map[string]any{"a": strings.Repeat("x", maxDocument)})
		}},
		{"size of a layer", "by the manifest", func(m map[string]any) { change(m["layers"].([]any)[0].(map[string]any), "size", 1) }},
		{"size of the configuration", "by the manifest", func(m map[string]any) { change(m["config"].(map[string]any), "size", 1) }},
		{"platform", "its platform", func(map[string]any) {}},
		{"a layer fewer", "layers in the manifest", func(m map[string]any) { change(m, "layers", []any{}) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := Open(t.TempDir())
			add(t, s, "good:1", "a")
			tx, err := s.Begin()
			if err != nil {
				t.Fatal(err)
			}
			d := stage(t, tx, RunConfig{}, "a", "b")
			data, err := os.ReadFile(tx.blobs[len(tx.blobs)-1].path)
			if err != nil {
				t.Fatal(err)
			}
			var m map[string]any
			if err := json.Unmarshal(data, &m); err != nil {
				t.Fatal(err)
			}
			tt.change(m)
			d = stageJSON(t, tx, MediaTypeManifest, m)
			if tt.name == "platform" {
				d.Platform = &Platform{OS: "linux", Architecture: strings.Repeat("x", 1<<20)}
			}
			if err := tx.Commit("bad:1", d); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("commit: %v; wanted %q", err, tt.want)
			}
			if err := tx.Close(); err != nil {
				t.Error(err)
			}
			found, err := s.Check(t.Context(), CheckOptions{})
			if err != nil || len(found) != 0 {
				t.Errorf("the store has %+v, %v", found, err)
			}
		})
	}
}

// A take-back that was cut short itself is done again, though the same layer came back
// meanwhile; nor does it matter that a power cut took the directory it goes to.
func TestTakeBackAgain(t *testing.T) {
	for _, lost := range []bool{false, true} {
		s := Open(t.TempDir())
		add(t, s, "good:1", "a")
		hex := strings.Repeat("ab", 32)
		dead, err := s.newArea()
		if err != nil {
			t.Fatal(err)
		}
		half := filepath.Join(dead.layers(), hex)
		if err := errors.Join(dead.writeJournal(journal{Layers: []string{hex}}), os.Mkdir(half, 0o700), writeLayer(half, "x")); err != nil {
			t.Fatal(err)
		}
		if lost {
			err = os.RemoveAll(dead.layers())
		}
		err = errors.Join(err, os.Mkdir(s.layer(hex), 0o700), writeLayer(s.layer(hex), "x"), dead.lock.Close())
		if err != nil {
			t.Fatal(err)
		}
		add(t, s, "good:2", "b")
		found, err := s.Check(t.Context(), CheckOptions{})
		if err != nil || len(found) != 0 {
			t.Errorf("lost %v: the store has %+v, %v", lost, found, err)
		}
	}
}

// While the index cannot be read, what a process left behind stays, with the journal
// that says how it is taken back.
func TestBeginKeepsJournal(t *testing.T) {
	s := Open(t.TempDir())
	add(t, s, "good:1", "a")
	index, err := os.ReadFile(s.index())
	if err != nil {
		t.Fatal(err)
	}
	dead, err := s.newArea()
	if err != nil {
		t.Fatal(err)
	}
	hex := strings.Repeat("ab", 32)
	err = errors.Join(dead.writeJournal(journal{Blobs: []string{hex}}), os.WriteFile(s.blob(hex), nil, 0o600), dead.lock.Close(),
		os.WriteFile(s.index(), []byte("{"), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Begin(); err == nil {
		t.Fatal("begun with an index that cannot be read")
	}
	if err := os.WriteFile(s.index(), index, 0o600); err != nil {
		t.Fatal(err)
	}
	add(t, s, "good:2", "b")
	if exists(s.blob(hex)) {
		t.Error("what a commit had left was not taken back")
	}
}
