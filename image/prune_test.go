package image

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// aged adds an image that was last used so long ago.
func aged(t *testing.T, s *Store, age time.Duration, name string, layers ...string) Descriptor {
	t.Helper()
	d := add(t, s, name, layers...)
	then := time.Now().Add(-age)
	if err := os.Chtimes(s.blob(strings.TrimPrefix(d.Digest, digestPrefix)), then, then); err != nil {
		t.Fatal(err)
	}
	return d
}

func using(u Uses) func() (Uses, error) { return func() (Uses, error) { return u, nil } }

func referencesOf(list []Summary) string {
	var names []string
	for _, i := range list {
		names = append(names, i.Reference)
	}
	return strings.Join(names, " ")
}

func TestPrune(t *testing.T) {
	const day = 24 * time.Hour
	week := time.Now().Add(-7 * day)
	tests := []struct {
		name   string
		policy PrunePolicy
		uses   func(s *Store) Uses
		want   string // names of what goes; the nameless one is ""
	}{
		{"without a name only", PrunePolicy{}, nil, ""},
		{"all", PrunePolicy{Named: true}, nil, " app:latest app:1.9 app:1.10 base@ base:1"},
		{"a week old", PrunePolicy{Named: true, Before: week}, nil, " app:latest app:1.9 base@"},
		{"all but the two highest", PrunePolicy{Named: true, Keep: 2}, nil, " app:1.9 base@"},
		{"a week old, but the highest", PrunePolicy{Named: true, Before: week, Keep: 1}, nil, " app:1.9 base@"},
		{"a file names one", PrunePolicy{Named: true}, func(*Store) Uses { return Uses{References: []string{"app:1.9", "nothing:1"}} }, " app:latest app:1.10 base@ base:1"},
		{"a file names the newest", PrunePolicy{Named: true}, func(*Store) Uses { return Uses{References: []string{"app"}} }, " app:1.9 app:1.10 base@ base:1"},
		{"a file names a digest", PrunePolicy{Named: true}, func(s *Store) Uses {
			list, _ := s.List()
			i := slices.IndexFunc(list, func(i Summary) bool { return strings.HasPrefix(i.Reference, "base@") })
			return Uses{References: []string{list[i].Reference}}
		}, " app:latest app:1.9 app:1.10 base:1"},
		{"a writable layer stands on one", PrunePolicy{Named: true}, func(s *Store) Uses {
			list, _ := s.List()
			return Uses{Digests: []string{list[0].Digest}} // the nameless one
		}, "app:latest app:1.9 app:1.10 base@ base:1"},
		{"a layer is mounted", PrunePolicy{Named: true}, func(s *Store) Uses {
			i, _ := s.Resolve("app:1.9")
			return Uses{Layers: i.Layers[1:]}
		}, " app:latest app:1.10 base@ base:1"},
		{"nobody knows", PrunePolicy{}, func(*Store) Uses { return Uses{Unknown: errors.New("no record")} }, "-"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := Open(t.TempDir())
			aged(t, s, 30*day, "app:1.10", "lower", "replaced")
			aged(t, s, 30*day, "app:1.9", "lower", "nine")
			aged(t, s, 0, "app:1.10", "lower", "ten")
			aged(t, s, 8*day, "app:latest", "lower", "latest")
			aged(t, s, 6*day, "base:1", "lower")
			pinned := stagePinned(t, s)
			then := time.Now().Add(-30 * day)
			if err := os.Chtimes(s.blob(strings.TrimPrefix(pinned, digestPrefix)), then, then); err != nil {
				t.Fatal(err)
			}
			uses := Uses{}
			if tt.uses != nil {
				uses = tt.uses(s)
			}
			dry := tt.policy
			dry.DryRun = true
			planned, err := s.Prune(dry, using(uses))
			if err != nil {
				t.Fatal(err)
			}
			before, _ := s.List()
			done, err := s.Prune(tt.policy, using(uses))
			if err != nil {
				t.Fatal(err)
			}
			got := "-"
			if len(done.Images) > 0 {
				got = strings.ReplaceAll(referencesOf(done.Images), pinned, "")
			}
			if got != tt.want || referencesOf(planned.Images) != referencesOf(done.Images) || planned.Freed != done.Freed {
				t.Errorf("went: %q, %d bytes; want %q; planned: %q, %d bytes", got, done.Freed, tt.want, referencesOf(planned.Images), planned.Freed)
			}
			after, _ := s.List()
			for _, i := range after {
				if i.Problem != nil {
					t.Errorf("%s: %v", i.Reference, i.Problem)
				}
			}
			if len(before)-len(after) != len(done.Images) {
				t.Errorf("%d images before, %d after", len(before), len(after))
			}
			wantNoStrays(t, s)
		})
	}
}

// stagePinned stores an image under its digest, as "cocker image pull base@sha256:..."
// does, and returns the digest.
func stagePinned(t *testing.T, s *Store) string {
	t.Helper()
	tx, err := s.Begin()
	if err != nil {
		t.Fatal(err)
	}
	d := stage(t, tx, RunConfig{Cmd: []string{"pinned"}}, "lower", "pinned")
	if err := errors.Join(tx.Commit("base@"+d.Digest, d), tx.Close()); err != nil {
		t.Fatal(err)
	}
	return d.Digest
}

// What "cocker checkout" made goes with its container, but not before that has its file.
func TestPruneBases(t *testing.T) {
	for _, tt := range []struct {
		name string
		age  time.Duration
		base bool
		uses Uses
		want int
	}{
		{"its container is gone", time.Hour, true, Uses{}, 1},
		{"its container is being made", 0, true, Uses{}, 0},
		{"nobody knows what needs it", time.Hour, true, Uses{Unknown: errors.New("no record")}, 0},
		{"a user has pulled it", time.Hour, false, Uses{}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := Open(t.TempDir())
			aged(t, s, time.Hour, "base:1", "lower")
			pinned := stagePinned(t, s)
			idx, err := s.readIndex()
			if err != nil {
				t.Fatal(err)
			}
			for i, d := range idx.Manifests {
				if d.Digest == pinned && tt.base {
					idx.Manifests[i] = d.Base()
				}
			}
			if err := s.writeIndex(idx); err != nil {
				t.Fatal(err)
			}
			then := time.Now().Add(-tt.age)
			if err := os.Chtimes(s.blob(strings.TrimPrefix(pinned, digestPrefix)), then, then); err != nil {
				t.Fatal(err)
			}
			done, err := s.Prune(PrunePolicy{}, using(tt.uses))
			if err != nil || len(done.Images) != tt.want {
				t.Errorf("went: %v, %v", done.Images, err)
			}
			wantNoStrays(t, s)
		})
	}
}

// wantNoStrays asserts that all there is belongs to an image.
func wantNoStrays(t *testing.T, s *Store) {
	t.Helper()
	idx, err := s.readIndex()
	if err != nil {
		t.Fatal(err)
	}
	needed := s.partsOf(idx.Manifests)
	wantContents(t, s, len(needed.layers), len(needed.blobs))
}

// What an image with a damaged manifest needs is unknown: nothing may go.
func TestPruneBesideADamagedImage(t *testing.T) {
	s := Open(t.TempDir())
	add(t, s, "old:1", "a")
	d := add(t, s, "bad:1", "a", "b")
	if err := os.WriteFile(s.blob(strings.TrimPrefix(d.Digest, digestPrefix)), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Prune(PrunePolicy{Named: true}, using(Uses{References: []string{"bad:1"}})); !errors.Is(err, ErrIncomplete) || !strings.Contains(err.Error(), "bad:1") {
		t.Errorf("Prune: %v; want ErrIncomplete with the name", err)
	}
	wantContents(t, s, 2, 6)
	failed := errors.New("no file")
	s = Open(t.TempDir())
	if p, err := s.Prune(PrunePolicy{Named: true}, func() (Uses, error) { return Uses{}, failed }); err != nil || len(p.Images) != 0 {
		t.Errorf("of no store: %v, %v", p, err)
	}
	add(t, s, "old:1", "a")
	if _, err := s.Prune(PrunePolicy{Named: true}, func() (Uses, error) { return Uses{}, failed }); !errors.Is(err, failed) {
		t.Errorf("Prune: %v; want that of uses", err)
	}
	wantContents(t, s, 1, 3)
}
