package config

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
)

// Check reads all containers and networks. The error joins every problem of every
// file, and those that only two files together have. The good containers are returned
// too.
func Check(dirs []string) ([]*Container, error) {
	locations, err := Scan(dirs)
	_, badNetworks := CheckNetworks(dirs)
	var (
		errs  = []error{badNetworks, err}
		good  []*Container
		taken = map[string]*Problem{}
		known = newNetworks(dirs)
	)
	for _, l := range locations {
		c, entries, err := l.read()
		errs = append(errs, err)
		if err != nil {
			continue
		}
		errs = append(errs, clashes(taken, c, entries)...)
		if err := known.checkJoins(c, entries); err != nil {
			errs = append(errs, withoutThose(err, badNetworks))
			continue
		}
		good = append(good, c)
	}
	return good, errors.Join(errs...)
}

// withoutThose leaves out the problems that have been reported.
func withoutThose(err, reported error) error {
	var errs []error
	for _, p := range Problems(err) {
		if !slices.ContainsFunc(Problems(reported), func(r *Problem) bool { return *r == *p }) {
			errs = append(errs, p)
		}
	}
	return errors.Join(errs...)
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
	for i, j := range c.Network.Joins {
		at := placeOf(entries, i, c)
		for k, text := range []string{validAddress(j.Address), validAddress(j.Address6), j.MAC} {
			if text != "" {
				claim("the address "+text+" in "+j.Name, at([]string{"address", "address6", "mac"}[k], ""))
			}
		}
	}
	ports := find(entries, "network", "ports")
	origins := portOrigins(ports)
	for i, port := range c.Network.Ports {
		if port.HostPort != 0 {
			claim(port.place(), ports.problem([]any{origins[i]}, ""))
		}
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

func validAddress(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}
