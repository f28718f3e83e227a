package launch

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/internal/linux"
)

// shared is a namespace that a container does not get of its own. It belongs to a user
// namespace that is not the container's, so that nobody in the container has a
// capability over it (user_namespaces(7), "Interaction of user namespaces and other
// types of namespaces"): addresses, routes, firewall and sysctls of a shared network can
// be seen there and not be changed.
type shared struct {
	kind int // as the flags of clone(2)
	fd   int
}

// openShared opens the namespaces that the container shares with others. They are kept
// open until PID 1 is in them.
func (l *launcher) openShared() error {
	switch {
	case l.container.Pod != "":
		return l.openPod()
	case l.container.Network.Mode == config.NetworkContainer:
		return l.openContainer(l.container.Network.Target)
	case l.container.Network.Mode == config.NetworkNamespace:
		return l.openNamespace(l.container.Network.Target)
	}
	return nil
}

// openContainer opens the network namespace of another container. Its PID 1 is looked at
// again afterwards: the number could have become another's.
func (l *launcher) openContainer(name string) error {
	state, err := ReadState(name)
	if err != nil || !state.Running() {
		return fmt.Errorf("container %s, whose network this one shares, does not run; start it first: systemctl start cocker@%[1]s", name)
	}
	fd, err := linux.Open(fmt.Sprintf("/proc/%d/ns/net", state.Leader), unix.O_RDONLY)
	if err != nil {
		return fmt.Errorf("open the network namespace of container %s: %w", name, err)
	}
	l.shared = append(l.shared, shared{unix.CLONE_NEWNET, fd})
	if !state.Running() {
		return fmt.Errorf("container %s, whose network this one shares, has just ended", name)
	}
	if isHostNetwork(fd) {
		return fmt.Errorf(`container %s is in the host's network, which is no network of its own to share; set mode = "host" here, too`, name)
	}
	return openPing(fd)
}

// openNamespace opens a network namespace that the user has made.
func (l *launcher) openNamespace(path string) error {
	fd, err := linux.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("network namespace %q does not exist; make it before the container starts, as ip netns add does below /run/netns", path)
	}
	if err != nil {
		return fmt.Errorf("network namespace: %w", err)
	}
	l.shared = append(l.shared, shared{unix.CLONE_NEWNET, fd})
	if err := linux.CheckNamespace(fd, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("%q is no network namespace: %w", path, err)
	}
	if isHostNetwork(fd) {
		return fmt.Errorf(`%q is the host's own network namespace; set mode = "host"`, path)
	}
	return nil
}

// isHostNetwork tells whether a network namespace is that of the launcher.
func isHostNetwork(fd int) bool {
	var own, other unix.Stat_t
	return unix.Stat("/proc/thread-self/ns/net", &own) == nil && unix.Fstat(fd, &other) == nil &&
		own.Dev == other.Dev && own.Ino == other.Ino
}

// closeShared lets go of the namespaces; it may be repeated.
func (l *launcher) closeShared() {
	for _, s := range l.shared {
		_ = unix.Close(s.fd)
	}
	l.shared = nil
}

// enterShared takes the calling thread, which is never to be unlocked, to the namespaces
// that the program it starts shall be in.
func enterShared(namespaces []shared) error {
	for _, s := range namespaces {
		if err := unix.Setns(s.fd, s.kind); err != nil {
			return fmt.Errorf("enter a shared namespace: %w", err)
		}
	}
	return nil
}

// sharedKinds are the flags of clone(2) for the namespaces that are shared.
func sharedKinds(namespaces []shared) (flags uintptr) {
	for _, s := range namespaces {
		flags |= uintptr(s.kind)
	}
	return flags
}

// everyGroup is the range of all groups there are (ip_ping_group_range_max of
// net/ipv4/sysctl_net_ipv4.c).
const everyGroup = "0 2147483647"

// openPing lets those ping without a capability who share a network namespace with its
// owner. The owner's init has allowed that to the groups of its own user namespace, and
// each container has others (icmp(7), ping_group_range).
func openPing(netns int) error {
	return inNetwork(netns, func() error { return setSysctl("net/ipv4/ping_group_range", everyGroup) })
}

// inNetwork does something on a thread that is in a network namespace. The thread is never
// unlocked, so that it ends with the goroutine.
func inNetwork(netns int, do func() error) error {
	result := make(chan error, 1)
	go func() {
		err := linux.LockInNamespace(netns, unix.CLONE_NEWNET)
		if err == nil {
			err = do()
		}
		result <- err
	}()
	return <-result
}

// setSysctl sets what the kernel may have been built without.
func setSysctl(name, value string) error {
	return ignoreMissing(os.WriteFile("/proc/sys/"+name, []byte(value), 0))
}
