package launch

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/netsetup"
)

// Adjust gives a running container the ports, rates and aliases of a network table, and
// calls commit, which keeps them for its later starts. All of it is done, or nothing: a
// port that somebody else has is an error before commit, and an error of commit takes
// the rest back. A container that does not run is only committed. While Adjust works,
// the container neither starts nor is cleaned up.
func Adjust(ctx context.Context, container string, network config.Network, commit func() error) (running bool, err error) {
	if err := config.ValidName(container); err != nil {
		return false, err
	}
	lock, state, err := lockRunning(ctx, container)
	if err != nil {
		return false, err
	}
	if state == nil {
		return false, commit()
	}
	defer lock.Close()
	if state.Pod != "" || network.Mode != config.NetworkBridge || len(state.Parts()) == 0 {
		return true, commit()
	}
	return true, state.adjust(network, commit)
}

// lockRunning locks the state of a container; the state is nil if it does not run. It
// waits for a launcher, which writes the state without a lock and reads the container's
// file before it has one.
func lockRunning(ctx context.Context, container string) (*os.File, *State, error) {
	for deadline := time.Now().Add(readPatience); ; {
		lock, err := lockState(container)
		if err != nil {
			return nil, nil, err
		}
		if !launching(container) {
			state, err := ReadState(container)
			if lock != nil && err == nil && state.Running() {
				return lock, state, nil
			}
			closeLock(lock)
			if errors.Is(err, fs.ErrNotExist) {
				err = nil
			}
			return nil, nil, err
		}
		closeLock(lock)
		if time.Now().After(deadline) {
			return nil, nil, fmt.Errorf("container %s %w", container, errLocked)
		}
		select {
		case <-ctx.Done():
			return nil, nil, context.Cause(ctx)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func closeLock(lock *os.File) {
	if lock != nil {
		_ = lock.Close()
	}
}

// lockState locks the state file of a container against Adjust and Cleanup; nil if there
// is none. Closing it unlocks. The file is replaced at each Write, so who has waited for
// the lock looks whether it still is that of the state.
func lockState(container string) (*os.File, error) {
	for {
		lock, err := os.Open(statePath(container))
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		for {
			if err = unix.Flock(int(lock.Fd()), unix.LOCK_EX); !errors.Is(err, unix.EINTR) {
				break
			}
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", lock.Name(), err), lock.Close())
		}
		if isStill(statePath(container), lock) {
			return lock, nil
		}
		_ = lock.Close()
	}
}

// launching says whether a launcher is at work. Cleanup would take the lock that this
// needs for a moment for a launcher's; it comes after lockState.
func launching(container string) bool {
	dir, err := os.Open(writable(container))
	if err != nil {
		return false
	}
	defer dir.Close()
	return errors.Is(unix.Flock(int(dir.Fd()), unix.LOCK_SH|unix.LOCK_NB), unix.EWOULDBLOCK)
}

// adjust writes the state twice: first with all that may be there after a crash, so that
// Cleanup finds it, then as it is.
func (s *State) adjust(network config.Network, commit func() error) (err error) {
	before := s.Connection
	change := comparePorts(before.Ports, network.Ports)
	if s.Parts()[0].CNI != "" && len(change.added)+len(change.removed) > 0 {
		return fmt.Errorf("the ports of %s are published by CNI plugins, at its start only; stop it first: systemctl stop cocker@%[1]s", s.Name)
	}
	s.Ports = slices.Concat(before.Ports, change.fixed())
	if s.Rates == (Rates{}) {
		s.Rates = ratesOf(network)
	}
	if err := s.Write(); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			s.Connection = before
			err = errors.Join(err, s.Write())
		}
	}()
	added, err := s.publish(change)
	if err != nil {
		return err
	}
	s.Ports = slices.Concat(before.Ports, added) // with those that were chosen
	if err = errors.Join(s.Write(), s.limitRates(ratesOf(network))); err == nil {
		err = commit()
	}
	if err != nil {
		return errors.Join(err, s.limitRates(before.Rates), s.unpublish(added, change.moved))
	}
	s.Ports, s.Rates, s.Joins = change.result(added), ratesOf(network), withAliases(s.Joins, network.Joins)
	return errors.Join(netsetup.Unpublish(s.Name, change.gone()), s.Write(), netsetup.Disconnect(s.Parts()[0].lease(), change.removed))
}

// portChange is how one list of ports becomes another.
type portChange struct {
	wanted  []config.Port // with the host's ports of those that stay; 0: to be chosen
	added   []config.Port
	removed []config.Port
	moved   []config.Port // of removed, those whose place on the host an added one takes
}

// comparePorts: a wanted port without a number is any published one of the same kind
// that nothing else wants.
func comparePorts(published, wanted []config.Port) (c portChange) {
	left := slices.Clone(published)
	take := func(same func(config.Port) bool) (config.Port, bool) {
		i := slices.IndexFunc(left, same)
		if i < 0 {
			return config.Port{}, false
		}
		p := left[i]
		left = slices.Delete(left, i, i+1)
		return p, true
	}
	c.wanted = slices.Clone(wanted)
	for _, w := range wanted {
		take(func(p config.Port) bool { return p == w })
	}
	for i, w := range wanted {
		switch {
		case w.HostPort == 0:
			if p, ok := take(func(p config.Port) bool { w.HostPort = p.HostPort; return p == w }); ok {
				c.wanted[i] = p
				continue
			}
			w.HostPort = 0
		case slices.Contains(published, w):
			continue
		}
		c.added = append(c.added, w)
	}
	c.removed = left
	for _, p := range left {
		if slices.ContainsFunc(c.added, func(a config.Port) bool { return overlap(a, p) }) {
			c.moved = append(c.moved, p)
		}
	}
	return c
}

// gone are the removed ports that are still published when the added ones are.
func (c portChange) gone() []config.Port {
	return slices.DeleteFunc(slices.Clone(c.removed), func(p config.Port) bool { return slices.Contains(c.moved, p) })
}

// overlap says whether two ports cannot be published side by side.
func overlap(a, b config.Port) bool {
	everywhere := !a.HostAddress.IsValid() || !b.HostAddress.IsValid()
	return a.HostPort == b.HostPort && a.Protocol == b.Protocol && (everywhere || a.HostAddress == b.HostAddress)
}

// fixed are the added ports that have a number already.
func (c portChange) fixed() (ports []config.Port) {
	for _, p := range c.added {
		if p.HostPort != 0 {
			ports = append(ports, p)
		}
	}
	return ports
}

// result is the wanted list with the numbers that were chosen for added ports.
func (c portChange) result(added []config.Port) []config.Port {
	result := slices.Clone(c.wanted)
	for i, w := range result {
		if w.HostPort != 0 {
			continue
		}
		for _, p := range added {
			w.HostPort = p.HostPort
			if p == w && !slices.Contains(result, p) {
				result[i] = p
				break
			}
		}
	}
	return result
}

// publish publishes what is added, and takes those away before that are in its place.
func (s *State) publish(c portChange) (added []config.Port, err error) {
	if len(c.added) == 0 {
		return nil, nil
	}
	first := s.Parts()[0]
	network, err := loadNetwork(first.Network)
	if err == nil {
		err = ensure(network)
	}
	if err != nil {
		return nil, err
	}
	if err := netsetup.Unpublish(s.Name, c.moved); err != nil {
		return nil, err
	}
	added, err = netsetup.Publish(s.Name, first.lease(), c.added)
	if err != nil {
		return nil, errors.Join(err, s.unpublish(nil, c.moved))
	}
	return added, nil
}

// unpublish takes publish back.
func (s *State) unpublish(added, moved []config.Port) error {
	err := netsetup.Unpublish(s.Name, added)
	if len(moved) > 0 {
		_, publishErr := netsetup.Publish(s.Name, s.Parts()[0].lease(), moved)
		err = errors.Join(err, publishErr)
	}
	return err
}

// withAliases gives the joins of a state other aliases; those of networks that the
// container joins at its next start have none yet.
func withAliases(joins []JoinState, wanted []config.Join) []JoinState {
	joins = slices.Clone(joins)
	for i := range joins {
		for _, w := range wanted {
			if w.Name == joins[i].Network {
				joins[i].Aliases = w.Aliases
			}
		}
	}
	return joins
}
