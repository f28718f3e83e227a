package units

import (
	"os"
	"path/filepath"
	"strings"
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
}

// No service of cocker's own is taken for a container's, nor a container's for one.
func TestOwnServicesAreNoContainers(t *testing.T) {
	files, err := filepath.Glob("*.service")
	if err != nil || len(files) < 5 {
		t.Fatal(files, err)
	}
	for _, unit := range files {
		if strings.Contains(unit, "@") {
			continue
		}
		if name, ok := ContainerOf(unit); ok || !Taken(strings.TrimSuffix(strings.TrimPrefix(unit, "cocker-"), ".service")) {
			t.Errorf("%s is taken for container %q, or a container may have its name", unit, name)
		}
	}
	if Taken("web") {
		t.Error("the name web is taken")
	}
}
