package netsetup

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
)

// book is the leases of one family in a network; see Acquire.
type book struct {
	subnet Subnet
	dir    string // of the network
	names  string // by-name or by-name6
}

// claimFixed makes the container the holder of the address, and of no other one.
func (b book) claimFixed(container string, fixed netip.Addr) error {
	if !b.subnet.valid() || !b.subnet.forContainers(fixed) {
		return fmt.Errorf("%s is no address for a container in %s", fixed, b.subnet.Prefix)
	}
	if held, ok := b.intended(container); ok && held != fixed {
		if err := b.release(container); err != nil {
			return err
		}
	}
	won, err := b.claim(container, fixed)
	if err != nil || won {
		return err
	}
	return fmt.Errorf("%w: %s by container %s", ErrAddressTaken, fixed, b.holder(fixed))
}

// claim makes the container the holder of the address; false means that another
// one is.
func (b book) claim(container string, address netip.Addr) (bool, error) {
	if holder := b.holder(address); holder != "" && holder != container {
		return false, nil
	}
	if err := b.intend(container, address); err != nil {
		return false, err
	}
	err := os.Symlink(container, b.byAddress(address))
	if errors.Is(err, fs.ErrExist) {
		return b.holder(address) == container, nil
	}
	return err == nil, err
}

// intend points by-name/CONTAINER at the address; an older intention is replaced
// in one step.
func (b book) intend(container string, address netip.Addr) error {
	if held, ok := b.intended(container); ok && held == address {
		return nil
	}
	name := b.byName(container)
	err := os.Symlink(address.String(), name)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	next := filepath.Join(b.dir, b.names, "."+container) // no container name begins with a dot
	if err := remove(next); err != nil {
		return err
	}
	if err := os.Symlink(address.String(), next); err != nil {
		return err
	}
	return os.Rename(next, name)
}

// release removes the lease before the intention: see Acquire.
func (b book) release(container string) error {
	if address, ok := b.intended(container); ok && b.holder(address) == container {
		if err := remove(b.byAddress(address)); err != nil {
			return err
		}
	}
	return errors.Join(
		remove(filepath.Join(b.dir, b.names, "."+container)),
		remove(b.byName(container)),
	)
}

// intended is the address that by-name has for the container. It may be of
// another subnet, if the network was changed.
func (b book) intended(container string) (netip.Addr, bool) {
	target, err := os.Readlink(b.byName(container))
	if err != nil {
		return netip.Addr{}, false
	}
	address, err := netip.ParseAddr(target)
	return address, err == nil
}

// holder is the container that has the address, "" if none has.
func (b book) holder(address netip.Addr) string {
	target, err := os.Readlink(b.byAddress(address))
	if err != nil {
		return ""
	}
	return target
}

func (b book) byName(container string) string {
	return filepath.Join(b.dir, b.names, container)
}

func (b book) byAddress(address netip.Addr) string {
	return filepath.Join(b.dir, "by-address", address.String())
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
