package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/internal/handoff"
	"github.com/cocker/cocker/internal/paths"
	"github.com/cocker/cocker/launch"
	"github.com/cocker/cocker/scope"
	"github.com/cocker/cocker/units"
)

// container is one container as its file and systemd know it.
type container struct {
	Name    string
	File    string            // "": it has none
	Config  *config.Container // what is right in the file; nil without a file
	Problem error             // what is wrong with the file
	Unit    scope.Unit        // of the possible units the one that counts
	Data    bool              // there is nothing but what it wrote
	Run     *launch.State     // what was started; nil if it does not run
	Pull    string            // its start waits for this unit, which pulls; "": it does not
}

// unitPatterns match the units of all containers.
func unitPatterns() []string {
	return []string{units.Service("*"), units.TransientService("*"), units.Scope("*")}
}

// collect finds every container that has a file, a loaded unit or data, by name.
func collect(ctx context.Context, m *scope.Manager) ([]container, error) {
	byName := map[string]*container{}
	locations, err := config.Scan(paths.ConfigDirs())
	for _, l := range locations {
		c := &container{Name: l.Name, File: l.File}
		c.Config, c.Problem = l.Read()
		byName[l.Name] = c
	}
	loaded, listErr := m.List(ctx, unitPatterns()...)
	for _, u := range loaded {
		name, ok := units.ContainerOf(u.Name)
		if !ok || config.ValidName(name) != nil {
			continue
		}
		if byName[name] == nil {
			if !u.Running() && (u.ActiveState != "failed" || u.Name == units.Service(name) && !leftData(name)) {
				continue // some unit, or a person, has named a container that does not exist
			}
			byName[name] = &container{Name: name}
		}
		byName[name].Unit = moreTelling(byName[name].Unit, u)
	}
	pulls, pullErr := m.List(ctx, units.Pull("*"))
	for _, u := range pulls {
		if c := byName[units.PulledFor(u.Name)]; c != nil && u.Running() && c.Unit.ActiveState != "active" {
			c.Pull = u.Name
		}
	}
	left, dataErr := dataNames()
	for _, name := range left {
		if byName[name] == nil {
			byName[name] = &container{Name: name, Data: true}
		}
	}
	all := make([]container, 0, len(byName))
	for _, c := range byName {
		if c.Unit.Name == "" {
			c.Unit = scope.Unit{Name: units.Service(c.Name), ActiveState: "inactive"}
		}
		if state, err := launch.ReadState(c.Name); err == nil && state.Running() {
			c.Run = state
		}
		all = append(all, *c)
	}
	slices.SortFunc(all, func(a, b container) int { return cmp.Compare(a.Name, b.Name) })
	return all, errors.Join(err, listErr, pullErr, dataErr)
}

// moreTelling picks the unit that says more about a container: one that runs,
// then one that failed.
func moreTelling(a, b scope.Unit) scope.Unit {
	weight := func(u scope.Unit) int {
		switch {
		case u.Running():
			return 3
		case u.ActiveState == "failed":
			return 2
		case u.Name != "":
			return 1
		}
		return 0
	}
	if weight(b) > weight(a) {
		return b
	}
	return a
}

// unitOf finds the unit of a container's name: the one that runs, or the one
// that would be started.
func unitOf(ctx context.Context, m *scope.Manager, name string) (scope.Unit, error) {
	if err := config.ValidName(name); err != nil {
		return scope.Unit{}, err
	}
	loaded, err := m.List(ctx, units.Service(name), units.TransientService(name), units.Scope(name))
	if err != nil {
		return scope.Unit{}, err
	}
	best := scope.Unit{}
	for _, u := range loaded {
		best = moreTelling(best, u)
	}
	if best.Name == "" {
		best.Name = units.Service(name)
	}
	return m.Unit(ctx, best.Name)
}

// state is the word that people read.
func (c container) state() string {
	switch {
	case c.Data:
		return "no file"
	case c.Pull != "":
		return "pulling"
	}
	return stateWord(c.Unit.ActiveState)
}

func stateWord(active string) string {
	words := map[string]string{"active": "running", "inactive": "stopped", "": "stopped", "activating": "starting",
		"deactivating": "stopping"}
	if word, ok := words[active]; ok {
		return word
	}
	return active // failed, reloading, maintenance, ...
}

// health is "starting", "healthy" or "unhealthy", read back from what its init says to
// systemd; "" if it is not checked, or does not run.
func (c container) health() string {
	if c.Run == nil || !c.Run.Health || !c.Unit.Running() {
		return ""
	}
	return handoff.HealthWord(c.Unit.StatusText)
}

// images is what the container is made of, lowest first. What runs counts, as the
// file may have changed since, or be gone.
func (c container) images() []string {
	switch {
	case c.Run != nil:
		return c.Run.Images
	case c.Config != nil:
		return c.Config.Images
	}
	return nil
}

func (c container) ports() []string {
	var published []config.Port
	switch {
	case c.Run != nil:
		published = c.Run.Ports
	case c.Config != nil:
		published = c.Config.Network.Ports
	}
	ports := []string{}
	for _, p := range published {
		ports = append(ports, p.String())
	}
	return ports
}

// addresses are those that the container has now, the first of its first network; none
// if it has none of its own. What one has of its pod is the pod's, and its own here.
func (c container) addresses() (all []string) {
	if c.Run == nil || !c.Run.Running() {
		return nil
	}
	for _, join := range c.Run.Parts() {
		for _, text := range []string{join.Address, join.Address6} {
			if prefix, err := netip.ParsePrefix(text); err == nil {
				all = append(all, prefix.Addr().String())
			}
		}
	}
	return all
}

// notFound says that there is no container of a name, and what was meant.
func notFound(name string) error {
	_, err := config.Find(paths.ConfigDirs(), name)
	if err == nil {
		return nil
	}
	if config.ValidName(name) == nil && leftData(name) {
		return errors.Join(err, fmt.Errorf("what it wrote is still there; \"cocker rm %s\" removes that", name))
	}
	names, _ := config.List(paths.ConfigDirs())
	for _, other := range names {
		if strings.EqualFold(other, name) || strings.HasPrefix(other, name) {
			return errors.Join(err, errors.New("did you mean "+other+"?"))
		}
	}
	return err
}
