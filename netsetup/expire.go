package netsetup

import (
	"errors"
	"fmt"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// placed is an element and the map it is in.
type placed struct {
	set *nftables.Set
	owned
}

// remove takes the container's own elements away. Others' are left alone: the
// cleanup after a start that failed because of a taken port must not take the
// port from its holder.
//
// Deleting an element costs nothing, but when a process that has deleted one then
// closes its netfilter socket, by exiting at the latest, the kernel makes it wait
// for RCU: 13 ms of each stop. So the elements are given a timeout of a
// millisecond instead, which costs 0.1 ms. Kernels before 6.12 cannot change the
// timeout of an element and say nothing; there it is deleted after all.
func (e *elements) remove(container string, all []binding) error {
	own, err := e.own(container, all)
	if len(own) == 0 {
		return err
	}
	left, expireErr := e.expire(own)
	if err := errors.Join(err, expireErr, e.delete(left)); err != nil {
		return fmt.Errorf("take back the ports of %s: %w", container, err)
	}
	return nil
}

// own are the elements of the container at the places of its ports.
func (e *elements) own(container string, all []binding) ([]placed, error) {
	var found []placed
	var failed []error
	for _, b := range all {
		set, key := b.place()
		element, err := e.one(set, key)
		failed = append(failed, err)
		if err == nil && element.owner == container && !element.expiring {
			found = append(found, placed{set, element})
		}
	}
	return found, errors.Join(failed...)
}

// expire makes the elements end within a tick of the kernel's clock, and returns
// those for which that did not work.
func (e *elements) expire(all []placed) (left []placed, err error) {
	for _, one := range all {
		update := nftables.SetElement{Key: one.key, Val: one.value, Comment: one.owner, Timeout: time.Millisecond}
		if err := e.batch.SetAddElements(one.set, []nftables.SetElement{update}); err != nil {
			return nil, err
		}
	}
	if err := e.batch.Flush(); err != nil {
		return nil, nothingIf(errors.Is(err, unix.ENOENT), err) // the table is gone, and they with it
	}
	for _, one := range all {
		now, err := e.one(one.set, one.key)
		if err != nil {
			return nil, err
		}
		if now.owner == one.owner && !now.expiring {
			left = append(left, one)
		}
	}
	return left, nil
}

// delete deletes elements; that somebody has flushed the ruleset is success.
func (e *elements) delete(all []placed) error {
	for _, one := range all {
		if err := e.batch.SetDeleteElements(one.set, []nftables.SetElement{{Key: one.key}}); err != nil {
			return err
		}
	}
	err := e.batch.Flush()
	return nothingIf(errors.Is(err, unix.ENOENT), err)
}
