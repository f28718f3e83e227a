package units

import (
	"os"
	"path/filepath"
	"testing"
)

func TestPruneTimer(t *testing.T) {
	dir := unitDir(t)
	timer, err := os.ReadFile("cocker-prune.timer")
	if err != nil {
		t.Fatal(err)
	}
	if err := Write(filepath.Join(dir, "cocker-prune.timer"), timer); err != nil {
		t.Fatal(err)
	}
	if got := verify(t, dir, "cocker-prune.service", "cocker-prune.timer"); got != "" {
		t.Error(got)
	}
	if name, ok := ContainerOf("cocker-prune.service"); ok || !Taken("prune") || Taken("web") {
		t.Errorf("the timer's service is taken for container %q", name)
	}
}
