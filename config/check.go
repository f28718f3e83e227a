package config

import (
	"errors"
	"fmt"
	"strconv"
)

// Check reads all containers. The error joins every problem of every file, and
// those that only two files together have. The good containers are returned too.
func Check(dirs []string) ([]*Container, error) {
	locations, err := Scan(dirs)
	var (
		errs  = []error{err}
		good  []*Container
		taken = map[string]*Problem{}
	)
	for _, l := range locations {
		c, entries, err := l.read()
		errs = append(errs, err)
		if err == nil {
			good = append(good, c)
			errs = append(errs, clashes(taken, c, entries)...)
		}
	}
	return good, errors.Join(errs...)
}

// clashes reports what c claims of the host that another container has in taken,
// and adds the rest to taken.
func clashes(taken map[string]*Problem, c *Container, entries []*entry) []error {
	var errs []error
	claim := func(what string, p *Problem) {
		if other := taken[what]; other != nil {
			p.Text = fmt.Sprintf("%s is taken by %s; give one of them another", what, place(other))
			errs = append(errs, p)
			return
		}
		taken[what] = p
	}
	errs = append(errs, unequalLimits(taken, c, entries)...)
	if a := c.Network.Primary().Address; a.IsValid() {
		claim("the address "+a.String(), find(entries, "network", "address").problem(nil, ""))
	}
	for i, port := range c.Network.Ports {
		claim(port.place(), find(entries, "network", "ports").problem([]any{i}, ""))
	}
	return errs
}

// unequalLimits reports a volume that two containers would limit in turn: which
// limit it has would be a matter of who has started last.
func unequalLimits(taken map[string]*Problem, c *Container, entries []*entry) []error {
	var errs []error
	for i, m := range c.Mounts {
		if m.DiskMax == 0 {
			continue
		}
		p := find(entries, "", "mount").problem([]any{i, "disk_max"}, "volume %s", m.Source)
		limit := FormatSize(m.DiskMax)
		other := taken["limit "+m.Source]
		if other == nil {
			p.Text = limit
			taken["limit "+m.Source] = p
		} else if other.Text != limit {
			p.Text = fmt.Sprintf("the volume %s has another limit in %s, %s; give it one", m.Source, place(other), other.Text)
			errs = append(errs, p)
		}
	}
	return errs
}

func place(p *Problem) string { return p.File + ":" + strconv.Itoa(p.Line) }
