package cli

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// patch(1) makes the new text of the old one.
func TestUnifiedDiff(t *testing.T) {
	if _, err := exec.LookPath("patch"); err != nil {
		t.Skip("needs patch")
	}
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 1))
		before, after := randomLines(r)
		dir := t.TempDir()
		file := filepath.Join(dir, "x.toml")
		if err := os.WriteFile(file, []byte(before), 0o600); err != nil {
			t.Fatal(err)
		}
		diff := unifiedDiff("x.toml", before, after)
		if diff == "" {
			if before != after {
				t.Errorf("seed %d: no difference", seed)
			}
			continue
		}
		patch := exec.Command("patch", "-s", "--fuzz=0", "-p0")
		patch.Dir, patch.Stdin = dir, strings.NewReader(diff)
		if out, err := patch.CombinedOutput(); err != nil {
			t.Fatalf("seed %d: %v: %s\n%s", seed, err, out, diff)
		}
		if got, _ := os.ReadFile(file); string(got) != after {
			t.Errorf("seed %d: got\n%s\nwant\n%s\n%s", seed, got, after, diff)
		}
	}
}

func randomLines(r *rand.Rand) (before, after string) {
	for i := range 3 + r.IntN(40) {
		line := fmt.Sprintf("line %d\n", i)
		switch {
		case r.IntN(12) == 0:
			after += "new " + line
		case r.IntN(12) == 0:
			before += line
			continue
		}
		before, after = before+line, after+line
	}
	if r.IntN(4) == 0 {
		after = strings.TrimSuffix(after, "\n")
	}
	return before, after
}
