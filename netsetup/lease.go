package netsetup

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// Lease is an address that a container holds in a network.
type Lease struct {
	Address netip.Prefix // the container's address with the subnet's length
	Gateway netip.Addr   // where its default route goes
}

// Acquire leases an address of the network for the container: the fixed one, or
// if that is zero the one that the container's name hashes to or the next free
// one. A container that holds a lease already, be it from a start that was
// killed, gets it again. It fails with ErrAddressTaken (and the holder's name) or
// ErrNoAddress. Addresses that are fixed in the files of containers that don't
// run are not known here.
//
// There is no lock and no daemon. A lease is the symbolic link
//
//	DIR/NETWORK/by-address/ADDRESS -> CONTAINER
//
// made by symlink(2), which one caller wins. Before it is made, the intention
//
//	DIR/NETWORK/by-name/CONTAINER -> ADDRESS
//
// is written, so whatever a kill between two system calls leaves is found by
// Release, or by the next Acquire, through the container's name alone.
//
// Two calls for one container must not run at once: they are one unit's start
// and ExecStopPost=, which systemd keeps apart. ExecStopPost= also runs after a
// start that failed, so that a lease is never left but by a dead host, whose
// /run is empty when it is back.
func Acquire(dir string, n Network, container string, fixed netip.Addr) (Lease, error) {
	leases, err := openLeases(dir, n, container)
	if err != nil {
		return Lease{}, err
	}
	address, err := leases.acquire(container, fixed)
	if err != nil {
		return Lease{}, fmt.Errorf("lease an address of %s for %s: %w", n.Name, container, err)
	}
	return Lease{Address: n.prefix(address), Gateway: n.Gateway}, nil
}

// Release gives the container's address back. To hold none is success.
func Release(dir string, n Network, container string) error {
	leases, err := openLeases(dir, n, container)
	if err != nil {
		return err
	}
	if err := leases.release(container); err != nil {
		return fmt.Errorf("release the address of %s in %s: %w", container, n.Name, err)
	}
	return nil
}

// leases is the directory of the leases of one network.
type leases struct {
	network Network
	dir     string
}

func openLeases(dir string, n Network, container string) (leases, error) {
	if err := n.check(); err != nil {
		return leases{}, err
	}
	if container == "" || strings.HasPrefix(container, ".") || strings.ContainsRune(container, '/') {
		return leases{}, fmt.Errorf("lease in %s: %q is no container name", n.Name, container)
	}
	return leases{network: n, dir: filepath.Join(dir, n.Name)}, nil
}

func (l leases) acquire(container string, fixed netip.Addr) (netip.Addr, error) {
	for _, sub := range []string{"by-name", "by-address"} {
		if err := os.MkdirAll(filepath.Join(l.dir, sub), 0o755); err != nil {
			return netip.Addr{}, err
		}
	}
	held, ok := l.intended(container)
	if ok && (!l.forContainers(held) || fixed.IsValid() && held != fixed) {
		if err := l.release(container); err != nil {
			return netip.Addr{}, err
		}
		ok = false
	}
	if fixed.IsValid() {
		return fixed, l.claimFixed(container, fixed)
	}
	if ok {
		if won, err := l.claim(container, held); won || err != nil {
			return held, err
		}
	}
	return l.probe(container)
}

func (l leases) claimFixed(container string, fixed netip.Addr) error {
	if !l.forContainers(fixed) {
		return fmt.Errorf("%s is no address for a container in %s", fixed, l.network.Subnet)
	}
	won, err := l.claim(container, fixed)
	if err != nil || won {
		return err
	}
	return fmt.Errorf("%w: %s by container %s", ErrAddressTaken, fixed, l.holder(fixed))
}

// probe walks the subnet from the address that the name hashes to, so that with
// few containers the first try wins, however many leases there are.
func (l leases) probe(container string) (netip.Addr, error) {
	sum := fnv.New32a()
	sum.Write([]byte(container))
	size := l.network.size()
	for i := range size {
		address := l.network.host((sum.Sum32()%size + i) % size)
		if !l.forContainers(address) {
			continue
		}
		if won, err := l.claim(container, address); won || err != nil {
			return address, err
		}
	}
	return netip.Addr{}, fmt.Errorf("%w in %s", ErrNoAddress, l.network.Subnet)
}

// claim makes the container the holder of the address; false means that another
// one is.
func (l leases) claim(container string, address netip.Addr) (bool, error) {
	if holder := l.holder(address); holder != "" && holder != container {
		return false, nil
	}
	if err := l.intend(container, address); err != nil {
		return false, err
	}
	err := os.Symlink(container, l.byAddress(address))
	if errors.Is(err, fs.ErrExist) {
		return l.holder(address) == container, nil
	}
	return err == nil, err
}

// intend points by-name/CONTAINER at the address; an older intention is replaced
// in one step.
func (l leases) intend(container string, address netip.Addr) error {
	if held, ok := l.intended(container); ok && held == address {
		return nil
	}
	name := l.byName(container)
	err := os.Symlink(address.String(), name)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	next := filepath.Join(l.dir, "by-name", "."+container) // no container name begins with a dot
	if err := remove(next); err != nil {
		return err
	}
	if err := os.Symlink(address.String(), next); err != nil {
		return err
	}
	return os.Rename(next, name)
}

// release removes the lease before the intention: see Acquire.
func (l leases) release(container string) error {
	if address, ok := l.intended(container); ok && l.holder(address) == container {
		if err := remove(l.byAddress(address)); err != nil {
			return err
		}
	}
	return errors.Join(
		remove(filepath.Join(l.dir, "by-name", "."+container)),
		remove(l.byName(container)),
	)
}

// intended is the address that by-name has for the container. It may be of
// another subnet, if the network was changed.
func (l leases) intended(container string) (netip.Addr, bool) {
	target, err := os.Readlink(l.byName(container))
	if err != nil {
		return netip.Addr{}, false
	}
	address, err := netip.ParseAddr(target)
	return address, err == nil
}

func (l leases) forContainers(address netip.Addr) bool {
	return l.network.usable(address) && address != l.network.Gateway
}

// holder is the container that has the address, "" if none has.
func (l leases) holder(address netip.Addr) string {
	target, err := os.Readlink(l.byAddress(address))
	if err != nil {
		return ""
	}
	return target
}

func (l leases) byName(container string) string {
	return filepath.Join(l.dir, "by-name", container)
}

func (l leases) byAddress(address netip.Addr) string {
	return filepath.Join(l.dir, "by-address", address.String())
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
