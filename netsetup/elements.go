package netsetup

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/config"
)

// elements is the connection to the kernel for the maps of published ports.
type elements struct {
	table
	getter
	batch *nftables.Conn
}

func openElements() (*elements, error) {
	batch, err := nftables.New()
	if err != nil {
		return nil, fmt.Errorf("open nftables: %w", err)
	}
	get, err := openGetter()
	return &elements{table: newTable(), getter: get, batch: batch}, err
}

// add publishes all ports or none.
func (e *elements) add(container string, address netip.Addr, ports []config.Port) error {
	err := e.dropStale(container, address, ports)
	if err == nil {
		err = e.tryAdd(container, address, ports)
	}
	switch {
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("publish ports of %s: %w: %w", container, ErrNotUp, err)
	case clash(err):
		return errors.Join(e.free(container, ports), fmt.Errorf("publish ports of %s: %w: %w", container, ErrPortTaken, err))
	case err != nil:
		return fmt.Errorf("publish ports of %s: %w", container, err)
	}
	return nil
}

// clash: the key is there with another value. Kernels differ in how they say so.
func clash(err error) bool { return errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EEXIST) }

func (e *elements) tryAdd(container string, address netip.Addr, ports []config.Port) error {
	for _, port := range ports {
		set, element := e.element(container, address, port)
		if err := e.batch.SetAddElements(set, []nftables.SetElement{element}); err != nil {
			return err
		}
	}
	return e.batch.Flush()
}

// dropStale deletes the elements at the ports' places that keep the container
// from nothing, but lead elsewhere or have another's name on them: about to
// expire, or its own from a run whose cleanup was killed. An element of its own
// that is about to expire and leads where it should stays when it is added again.
func (e *elements) dropStale(container string, address netip.Addr, ports []config.Port) error {
	var stale []placed
	for _, port := range ports {
		set, wanted := e.element(container, address, port)
		element, err := e.one(set, wanted.Key)
		if err != nil {
			return err
		}
		right := element.owner == container && bytes.Equal(element.value, wanted.Val)
		if element.owner != "" && !right && !element.keeps(container) {
			stale = append(stale, placed{set, element})
		}
	}
	return e.delete(stale)
}

// free returns an error for each port that another container has, on the same
// address or, as with sockets, if one of the two is on every address.
func (e *elements) free(container string, ports []config.Port) error {
	var taken []error
	for _, port := range ports {
		holder, err := e.holder(container, port)
		if err != nil {
			taken = append(taken, err)
		} else if holder != "" {
			taken = append(taken, fmt.Errorf("port %s: %w by container %s", describe(port), ErrPortTaken, holder))
		}
	}
	return errors.Join(taken...)
}

// holder is the other container that has the port, "" if there is none.
func (e *elements) holder(container string, port config.Port) (string, error) {
	if !wildcard(port) {
		set, key := e.place(port)
		if exact, err := e.one(set, key); err != nil || exact.keeps(container) {
			return exact.owner, err
		}
	}
	everywhere, err := e.one(e.ports, portKey(port))
	if err != nil || everywhere.keeps(container) {
		return everywhere.owner, err
	}
	if !wildcard(port) {
		return "", nil
	}
	// All ports on one address, as a rule few.
	published, err := e.all(e.addressPorts)
	for _, element := range published {
		if element.keeps(container) && bytes.HasSuffix(element.key, portKey(port)) {
			return element.owner, nil
		}
	}
	return "", err
}

// keeps tells whether the element keeps its port from the container.
func (o owned) keeps(container string) bool {
	return o.owner != "" && o.owner != container && !o.expiring
}
