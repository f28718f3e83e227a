package netsetup

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
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
func (e *elements) add(container string, all []binding) error {
	err := e.dropStale(container, all)
	if err == nil {
		err = e.tryAdd(container, all)
	}
	switch {
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("publish ports of %s: %w: %w", container, ErrNotUp, err)
	case clash(err):
		return errors.Join(e.free(container, all), fmt.Errorf("publish ports of %s: %w: %w", container, ErrPortTaken, err))
	case err != nil:
		return fmt.Errorf("publish ports of %s: %w", container, err)
	}
	return nil
}

// clash: the key is there with another value. Kernels differ in how they say so.
func clash(err error) bool { return errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EEXIST) }

func (e *elements) tryAdd(container string, all []binding) error {
	for _, b := range all {
		set, element := b.element(container)
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
func (e *elements) dropStale(container string, all []binding) error {
	var stale []placed
	for _, b := range all {
		set, wanted := b.element(container)
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
func (e *elements) free(container string, all []binding) error {
	var taken errorSet
	for _, b := range all {
		holder, err := e.holder(container, b)
		if err != nil {
			taken.add(err)
		} else if holder != "" {
			taken.add(fmt.Errorf("port %s: %w by container %s", describe(b.Port), ErrPortTaken, holder))
		}
	}
	return taken.join()
}

// errorSet has each error once: a port can be taken in both families.
type errorSet []error

func (s *errorSet) add(err error) {
	if !slices.ContainsFunc(*s, func(old error) bool { return old.Error() == err.Error() }) {
		*s = append(*s, err)
	}
}

func (s errorSet) join() error { return errors.Join(s...) }

// holder is the other container that has the port, "" if there is none.
func (e *elements) holder(container string, b binding) (string, error) {
	if !wildcard(b.Port) {
		set, key := b.place()
		if exact, err := e.one(set, key); err != nil || exact.keeps(container) {
			return exact.owner, err
		}
	}
	everywhere, err := e.one(b.ports, portKey(b.Port))
	if err != nil || everywhere.keeps(container) {
		return everywhere.owner, err
	}
	if !wildcard(b.Port) {
		return "", nil
	}
	// All ports on one address, as a rule few.
	published, err := e.all(b.addressPorts)
	for _, element := range published {
		if element.keeps(container) && bytes.HasSuffix(element.key, portKey(b.Port)) {
			return element.owner, nil
		}
	}
	return "", err
}

// keeps tells whether the element keeps its port from the container.
func (o owned) keeps(container string) bool {
	return o.owner != "" && o.owner != container && !o.expiring
}
