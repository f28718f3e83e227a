package netsetup

import (
	"errors"
	"fmt"
	"hash/fnv"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/cocker/cocker/config"
)

// Lease is what a container holds in a network: an address of each family that the
// network has.
type Lease struct {
	Network            string
	V4, V6             netip.Prefix // the container's addresses with the subnets' lengths; zero: none
	Gateway4, Gateway6 netip.Addr
}

// Address is the container's address, of IPv4 if it has one.
func (l Lease) Address() netip.Addr {
	if l.V4.IsValid() {
		return l.V4.Addr()
	}
	return l.V6.Addr()
}

// Acquire leases addresses of the network for the container: the fixed ones of the
// join, or if it has none the one that the container's name hashes to or another
// free one that the host has not either; its address of IPv6 has the same host number. A container that holds a
// lease already, be it from a start that was killed, gets it again. It fails with
// ErrAddressTaken (and the holder's name) or ErrNoAddress. Addresses that are fixed in
// the files of containers that don't run are not known here.
//
// There is no lock and no daemon. A lease is the symbolic link
//
//	DIR/NETWORK/by-address/ADDRESS -> CONTAINER
//
// made by symlink(2), which one caller wins. Before it is made, the intention
//
//	DIR/NETWORK/by-name/CONTAINER -> ADDRESS
//
// (by-name6 for an address of IPv6) is written, so whatever a kill between two system
// calls leaves is found by Release, or by the next Acquire, through the container's
// name alone.
//
// Two calls for one container must not run at once: they are one unit's start
// and ExecStopPost=, which systemd keeps apart. ExecStopPost= also runs after a
// start that failed, so that a lease is never left but by a dead host, whose
// /run is empty when it is back.
func Acquire(dir string, n Network, container string, join config.Join) (Lease, error) {
	leases, err := openLeases(dir, n, container)
	if err != nil {
		return Lease{}, err
	}
	v4, v6, err := leases.acquire(container, join)
	if err != nil {
		return Lease{}, fmt.Errorf("lease an address of %s for %s: %w", n.Name, container, err)
	}
	return n.lease(v4, v6), nil
}

// lease is that of a container with those addresses.
func (n Network) lease(v4, v6 netip.Addr) Lease {
	lease := Lease{Network: n.Name}
	if v4.IsValid() {
		lease.V4, lease.Gateway4 = n.V4.prefix(v4), n.V4.Gateway
	}
	if v6.IsValid() {
		lease.V6, lease.Gateway6 = n.V6.prefix(v6), n.V6.Gateway
	}
	return lease
}

// Release gives the container's addresses back. To hold none is success.
func Release(dir string, n Network, container string) error {
	leases, err := openLeases(dir, n, container)
	if err != nil {
		return err
	}
	if err := errors.Join(leases.v4.release(container), leases.v6.release(container)); err != nil {
		return fmt.Errorf("release the address of %s in %s: %w", container, n.Name, err)
	}
	return nil
}

// Restore writes down again what a running container holds, after somebody has
// removed DIR. It fails with ErrAddressTaken if another one has got the address since.
func Restore(dir string, n Network, container string, lease Lease) error {
	leases, err := openLeases(dir, n, container)
	if err == nil {
		err = leases.makeDirectories()
	}
	if err != nil {
		return err
	}
	var failed []error
	for _, address := range []netip.Addr{lease.V4.Addr(), lease.V6.Addr()} {
		if address.IsValid() {
			failed = append(failed, leases.book(address).claimFixed(container, address))
		}
	}
	if err := errors.Join(failed...); err != nil {
		return fmt.Errorf("restore the lease of %s in %s: %w", container, n.Name, err)
	}
	return nil
}

// Holds tells whether the addresses of a lease are of the network's subnets: these may have
// been changed since.
func (n Network) Holds(lease Lease) bool {
	for _, a := range []struct {
		subnet Subnet
		held   netip.Prefix
	}{{n.V4, lease.V4}, {n.V6, lease.V6}} {
		if a.held.IsValid() && !(a.subnet.valid() && a.subnet.forContainers(a.held.Addr())) {
			return false
		}
	}
	return true
}

// leases is the directory of the leases of one network, a book for each family.
type leases struct {
	network Network
	v4, v6  book
}

func openLeases(dir string, n Network, container string) (leases, error) {
	if err := n.check(); err != nil {
		return leases{}, err
	}
	for _, name := range []string{n.Name, container} {
		if name == "" || strings.HasPrefix(name, ".") || strings.ContainsRune(name, '/') {
			return leases{}, fmt.Errorf("lease in %s: %q is no name", n.Name, name)
		}
	}
	dir = filepath.Join(dir, n.Name)
	return leases{
		network: n,
		v4:      book{subnet: n.V4, dir: dir, names: "by-name"},
		v6:      book{subnet: n.V6, dir: dir, names: "by-name6"},
	}, nil
}

func (l leases) book(address netip.Addr) book {
	if address.Is4() {
		return l.v4
	}
	return l.v6
}

func (l leases) makeDirectories() error {
	for _, b := range []book{l.v4, l.v6} {
		for _, sub := range []string{b.names, "by-address"} {
			if err := os.MkdirAll(filepath.Join(b.dir, sub), 0o755); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l leases) acquire(container string, join config.Join) (v4, v6 netip.Addr, err error) {
	if join.Address6.IsValid() && !l.network.V6.valid() {
		return v4, v6, fmt.Errorf("address6 %s: the network has no IPv6", join.Address6)
	}
	if err := l.makeDirectories(); err != nil {
		return v4, v6, err
	}
	fixed := join.Address
	if !l.network.V4.valid() {
		if fixed.IsValid() {
			return v4, v6, fmt.Errorf("address %s: the network has no IPv4", fixed)
		}
		fixed = join.Address6
	}
	if fixed.IsValid() {
		return l.claimPair(container, fixed, join.Address6)
	}
	first, err := l.held(container)
	if err != nil {
		return v4, v6, err
	}
	if first.IsValid() {
		v4, v6, err = l.claimPair(container, first, join.Address6)
		if !errors.Is(err, ErrAddressTaken) {
			return v4, v6, err
		}
	}
	return l.probe(container, join.Address6)
}

// held is the address that the container has a lease of, if that is still right; a
// lease that is not, since the network was changed, is given back.
func (l leases) held(container string) (netip.Addr, error) {
	b := l.book(l.network.primary().Gateway)
	address, ok := b.intended(container)
	if !ok || b.subnet.forContainers(address) {
		return address, nil
	}
	return netip.Addr{}, b.release(container)
}

// probe goes through the subnet from the address that the name hashes to, in steps
// that the name hashes to as well: so the first try wins nearly always, and in a
// subnet that is almost full, other than side by side, no long rows of leases grow
// that each new one has to walk along.
func (l leases) probe(container string, fixed6 netip.Addr) (v4, v6 netip.Addr, err error) {
	subnet := l.network.primary()
	first := subnet.number(subnet.First)
	count := min(subnet.number(subnet.Last)-first, 1<<32-2) + 1
	start, step := sequence(container, count)
	for i := range count {
		address := subnet.at(first + (start+i*step)%count)
		if !subnet.leased(address) {
			continue
		}
		v4, v6, err := l.claimPair(container, address, fixed6)
		if errors.Is(err, ErrAddressTaken) && !l.fixedTaken(container, fixed6) {
			continue
		}
		return v4, v6, err
	}
	return v4, v6, fmt.Errorf("%w in %s", ErrNoAddress, subnet.Prefix)
}

// fixedTaken: to try another address would not help.
func (l leases) fixedTaken(container string, fixed6 netip.Addr) bool {
	if !fixed6.IsValid() {
		return false
	}
	holder := l.v6.holder(fixed6)
	return holder != "" && holder != container || CheckHost(fixed6) != nil
}

// sequence is a start below count, and a step that comes by all numbers below it.
func sequence(container string, count uint64) (start, step uint64) {
	sum := fnv.New32a()
	sum.Write([]byte(container))
	start = uint64(sum.Sum32()) % count
	sum.Write([]byte{0})
	for step = uint64(sum.Sum32())%count | 1; divisor(step, count) != 1; {
		step++
	}
	return start, step
}

func divisor(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// claimPair claims an address of the first family that the network has, and what
// belongs to it in the other. It holds both or, of what it did not hold before, none.
func (l leases) claimPair(container string, first, fixed6 netip.Addr) (v4, v6 netip.Addr, err error) {
	b := l.book(first)
	if err := CheckHost(first); err != nil {
		return v4, v6, err
	}
	if !first.Is4() {
		return v4, first, b.claimFixed(container, first)
	}
	if err := b.claimFixed(container, first); err != nil || !l.network.V6.valid() {
		return first, v6, err
	}
	second := fixed6
	if !second.IsValid() {
		second = l.network.V6.at(l.network.V4.number(first))
		if !l.network.V6.forContainers(second) { // the gateway's
			err = fmt.Errorf("%w: %s by the gateway", ErrAddressTaken, second)
		}
	}
	if err == nil {
		err = CheckHost(second)
	}
	if err == nil {
		err = l.v6.claimFixed(container, second)
	}
	if err != nil {
		return v4, v6, errors.Join(err, b.release(container))
	}
	return first, second, nil
}
