package cli

import (
	"errors"
	"fmt"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/internal/paths"
	"github.com/cocker/cocker/internal/quota"
)

// limitless warns of containers that will not start, because the file system keeps no
// limits of disk space. It may be another by then, so that is no problem of the file.
func limitless(containers []*config.Container) []checkWarning {
	problem := quota.Check(paths.State)
	if !errors.Is(problem, quota.ErrUnsupported) {
		return nil
	}
	var warnings []checkWarning
	for _, c := range containers {
		if limitsDisk(c) {
			warnings = append(warnings, checkWarning{c.Name, fmt.Sprintf("disk_max: %v", problem)})
		}
	}
	return warnings
}

func limitsDisk(c *config.Container) bool {
	for _, m := range c.Mounts {
		if m.DiskMax != 0 {
			return true
		}
	}
	return c.Resources.DiskMax != 0
}
