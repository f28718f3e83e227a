package config

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// networks are the networks of the host, read when they are asked for.
type networks struct {
	dirs []string
	read map[string]network
}

// network is what reading one has given.
type network struct {
	definition *NetworkDefinition
	err        error
}

func newNetworks(dirs []string) *networks {
	return &networks{dirs: dirs, read: map[string]network{}}
}

func (n *networks) find(name string) (*NetworkDefinition, error) {
	found, ok := n.read[name]
	if !ok {
		found.definition, found.err = FindNetwork(n.dirs, name)
		n.read[name] = found
	}
	return found.definition, found.err
}

// checkJoins checks what a good container says of its networks against their files. A
// network that is bad is not the container's mistake, but its file and line are what
// has to be looked at.
func (n *networks) checkJoins(c *Container, entries []*entry) error {
	var errs []error
	for i, j := range c.Network.Joins {
		d, err := n.find(j.Name)
		at := placeOf(entries, i, c)
		switch {
		case errors.Is(err, ErrNotFound):
			errs = append(errs, at("name", "%s; write that file, see cocker-network.toml(5), or name another network%s", err, n.nearest(j.Name)))
		case err != nil:
			errs = append(errs, err)
		default:
			errs = append(errs, checkAddresses(d, j, at)...)
		}
		if i == 0 && err == nil && len(c.Network.Ports) > 0 && d.onHostsNetwork() {
			errs = append(errs, at("ports", "the network %s is not behind this host, so the host has nothing to publish: the container is reached at its own address; leave this out", d.Name))
		}
	}
	return errors.Join(errs...)
}

// CheckJoins checks what a good container, which has no file yet, says of its networks.
func CheckJoins(dirs []string, c *Container) error { return newNetworks(dirs).checkJoins(c, nil) }

func (n *networks) nearest(name string) string {
	names, _ := ListNetworks(n.dirs)
	if near := nearest(name, names); near != "" {
		return fmt.Sprintf(" (did you mean %q?)", near)
	}
	return ""
}

// placeOf makes problems of join number i.
func placeOf(entries []*entry, i int, c *Container) func(key, format string, args ...any) *Problem {
	return func(key, format string, args ...any) *Problem {
		if e, rest := entryOf(entries, i, key); e != nil {
			return e.problem(rest, format, args...)
		}
		return &Problem{File: c.Sources[0], Key: "network." + key, Text: fmt.Sprintf(format, args...)}
	}
}

func checkAddresses(d *NetworkDefinition, j Join, at func(key, format string, args ...any) *Problem) (errs []error) {
	for i, a := range []netip.Addr{j.Address, j.Address6} {
		if !a.IsValid() {
			continue
		}
		if problem := d.refuses(a); problem != "" {
			errs = append(errs, at([]string{"address", "address6"}[i], "%s", problem))
		}
	}
	return errs
}

// refuses says why no container can have an address in the network, or "".
func (d *NetworkDefinition) refuses(a netip.Addr) string {
	if d.Kind == KindCNI { // its plugins know
		return ""
	}
	s, ok := d.Subnet(a.Is4())
	switch {
	case !ok && a.Is6() && !d.IPv6 || !ok && len(d.Subnets) > 0 && a.Is4():
		return fmt.Sprintf("%s is %s, which the network %s does not have; add a subnet of it to subnets%s", a, family(a), d.Name, d.inFile())
	case !ok:
		return fmt.Sprintf("the subnet of the network %s is picked when it starts; for a fixed address set subnets%s", d.Name, d.inFile())
	case !s.Prefix.Contains(a):
		return fmt.Sprintf("%s is not in the subnet of %s, %s", a, d.Name, s.Prefix)
	case s.unusable(a) != "":
		return fmt.Sprintf("%s is %s; use another of %s", a, s.unusable(a), s.Prefix)
	case a == s.gateway() && d.onHostsNetwork():
		return fmt.Sprintf("%s is the gateway; use another of %s", a, s.Prefix)
	case a == s.gateway():
		return fmt.Sprintf("%s is the bridge's own address, the gateway; use another of %s", a, s.Prefix)
	}
	return ""
}

func (d *NetworkDefinition) inFile() string {
	if d.File == "" {
		return " in /etc/cocker/networks/" + d.Name + extension
	}
	return " in " + d.File
}

// CheckNetworks reads all networks. The error joins every problem of every file, and
// those that only two files together have. The good networks are returned too.
func CheckNetworks(dirs []string) ([]*NetworkDefinition, error) {
	locations, err := ScanNetworks(dirs)
	errs := []error{err}
	var good []*NetworkDefinition
	for _, l := range locations {
		d, entries, err := l.readNetwork()
		errs = append(errs, err)
		if err != nil {
			continue
		}
		for _, earlier := range good {
			if problem := overlap(earlier, d, entries); problem != nil {
				errs = append(errs, problem)
			}
		}
		good = append(good, d)
	}
	return good, errors.Join(errs...)
}

// overlap finds two networks that would have the same addresses: only one way leads
// there. On networks that cocker does not make it may be the same network.
func overlap(earlier, d *NetworkDefinition, entries []*entry) error {
	if earlier.onHostsNetwork() || d.onHostsNetwork() {
		return nil
	}
	for i, s := range d.Subnets {
		for _, other := range earlier.Subnets {
			if !s.Prefix.Overlaps(other.Prefix) {
				continue
			}
			text := fmt.Sprintf("%s overlaps %s of the network %s%s; give one of them another", s.Prefix, other.Prefix, earlier.Name,
				strings.Replace(earlier.inFile(), " in ", ", ", 1))
			if e := find(entries, "", "subnets"); e != nil {
				return e.problem([]any{i}, "%s", text)
			}
			return &Problem{File: d.File, Key: "subnets", Text: text}
		}
	}
	return nil
}
