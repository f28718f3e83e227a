package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/image"
	"github.com/cocker/cocker/internal/oom"
	"github.com/cocker/cocker/launch"
)

// lost reports whether the file of a container that runs, or has failed, is gone.
func (c container) lost() bool { return c.File == "" && !c.Data }

// problems says in lines what is wrong with the file.
func (c container) problems() []string {
	switch {
	case c.Problem != nil:
		return strings.Split(c.Problem.Error(), "\n")
	case c.lost():
		return []string{lostText(c.Name, c.Unit.Running())}
	}
	return nil
}

func lostText(name string, running bool) string {
	if running {
		return fmt.Sprintf("it runs, but its file is gone; \"cocker stop %s\" stops it, \"cocker rm --force %s\" removes what it wrote too", name, name)
	}
	return fmt.Sprintf("its file is gone; \"cocker rm %s\" removes what it wrote", name)
}

// killed says what the kernel has killed of the container because memory ran out,
// in the run that goes on or was the last one; "": nothing.
func (c container) killed() string {
	if c.Run != nil && c.Unit.CGroup != "" {
		if report := oom.Read(c.Unit.CGroup, c.Run.IDBase); report != nil {
			return report.String()
		}
		return ""
	}
	text, _ := strings.CutPrefix(c.Unit.StatusText, launch.KilledPrefix)
	if text == c.Unit.StatusText {
		return ""
	}
	return text
}

// lostImages warns of containers whose start would fail for want of an image that
// nothing pulls. Who may not read the store is not told.
func lostImages(containers []*config.Container, store *image.Store) []checkWarning {
	var warnings []checkWarning
	for _, c := range containers {
		pulled := c.Pulled()
		for _, reference := range c.Images {
			_, err := store.Resolve(reference)
			if slices.Contains(pulled, reference) || !errors.Is(err, image.ErrNotFound) {
				continue
			}
			reason := "its name does not say where to pull it from"
			if c.Pull == config.PullNever {
				reason = `pull = "never"`
			}
			warnings = append(warnings, checkWarning{c.Name, fmt.Sprintf("the image %q is not here, and no start pulls it: %s", reference, reason)})
		}
	}
	return warnings
}

// lostFiles warns of containers whose files are gone. What cannot be read, as not
// everybody may, is not looked at.
func lostFiles(dirs []string) []checkWarning {
	var warnings []checkWarning
	hasFile := func(name string) bool {
		_, err := config.Find(dirs, name)
		return !errors.Is(err, config.ErrNotFound)
	}
	running := map[string]bool{}
	states, _ := launch.States()
	for _, state := range states {
		running[state.Name] = state.Running()
		if state.Running() && !hasFile(state.Name) {
			warnings = append(warnings, checkWarning{state.Name, lostText(state.Name, true)})
		}
	}
	left, _ := dataNames()
	for _, name := range left {
		if !running[name] && !hasFile(name) && !sweepable(name) {
			warnings = append(warnings, checkWarning{name, lostText(name, false)})
		}
	}
	return warnings
}
