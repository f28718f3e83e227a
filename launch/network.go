package launch

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/internal/paths"
	"github.com/cocker/cocker/machine"
	"github.com/cocker/cocker/netsetup"
)

// lend takes an address for the container. The state names the network before
// that, so that Cleanup finds the lease whatever happens next.
func (l *launcher) lend() (err error) {
	l.network = netsetup.Default()
	l.state.Network = l.network.Name
	if err := l.state.Write(); err != nil {
		return err
	}
	l.lease, err = netsetup.Acquire(paths.Networks, l.network, l.container.Name, l.container.Network.Primary())
	if err != nil {
		return err
	}
	l.state.Address = l.lease.V4.String()
	return l.state.Write()
}

// connect gives the container its network while init completes the root file
// system. Init's own report is the better explanation if both go wrong.
func (l *launcher) connect() error {
	err := l.connectNetwork()
	if err == nil {
		return nil
	}
	if initErr := l.channel.WaitAssembled(); initErr != nil {
		return initErr
	}
	return err
}

func (l *launcher) connectNetwork() error {
	mode := l.container.Network.Mode
	if mode == config.NetworkHost {
		return nil
	}
	netns, err := unix.Open(fmt.Sprintf("/proc/%d/ns/net", l.pid), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open the container's network namespace: %w", err)
	}
	defer unix.Close(netns)
	if mode == config.NetworkNone {
		return netsetup.Loopback(netns)
	}
	return l.attach(netns)
}

// attach connects the container to its bridge. A network that is not there, or
// that somebody has flushed, is made again.
func (l *launcher) attach(netns int) error {
	up, err := netsetup.IsUp(l.network)
	if err == nil && !up {
		_, err = makeNetwork(l.network)
	}
	if err != nil {
		return err
	}
	// The ports come first: they are what fails, and cheaper to undo.
	published, err := netsetup.Publish(l.container.Name, l.lease, l.container.Network.Ports)
	if err != nil {
		return err
	}
	l.state.Ports = published
	endpoint, err := netsetup.Attach(l.network, l.container.Name, l.lease, l.container.Network.Primary(), 0, netns)
	if err != nil {
		return errors.Join(err, netsetup.Unpublish(l.container.Name, published))
	}
	l.state.HostInterface, l.interfaces = endpoint.HostInterface, []int{endpoint.HostIndex}
	return l.state.Write()
}

// makeNetwork makes what is missing of a network, and publishes the ports of its
// running containers again: `nft flush ruleset` takes those with the rules. It
// tells in words what it changed for the host as a whole.
func makeNetwork(network netsetup.Network) (changes []string, err error) {
	changes, err = netsetup.Ensure(network)
	if err != nil {
		return nil, err
	}
	states, err := States()
	for _, state := range states {
		prefix, parseErr := netip.ParsePrefix(state.Address)
		if state.Network != network.Name || parseErr != nil || !state.Running() {
			continue
		}
		_, publishErr := netsetup.Publish(state.Name, netsetup.Lease{Network: network.Name, V4: prefix}, state.Ports)
		err = errors.Join(err, publishErr)
	}
	return changes, err
}

// reachable says in one line where a container can be reached.
func reachable(c *config.Container, address netip.Addr) string {
	switch c.Network.Mode {
	case config.NetworkHost:
		return "Running in the host's network"
	case config.NetworkNone:
		return "Running without network"
	}
	text := "Running at " + address.String()
	for i, port := range c.Network.Ports {
		separator := ", "
		if i == 0 {
			separator = "; ports "
		}
		text += separator + port.String()
	}
	return text
}

// registerTimeout bounds the wait for machined: a container lives without it. At the
// boot of a busy machine the bus and machined may have to be started first; what is
// left of the 90 seconds of systemd's own timeout is for the rest of the start.
const registerTimeout = 30 * time.Second

// introduce tells machined of the container and waits until init has completed
// the root file system, both at once: each takes 1 to 3 ms.
func (l *launcher) introduce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, registerTimeout)
	defer cancel()
	registered := make(chan error, 1)
	go func() { registered <- l.register(ctx) }()
	if err := l.channel.WaitAssembled(); err != nil {
		return err
	}
	return l.judge(<-registered)
}

func (l *launcher) register(ctx context.Context) error {
	return machine.Register(ctx, machine.Registration{
		Name:       l.container.Name,
		ID:         machineID(l.container.Name),
		Leader:     l.pid,
		Interfaces: l.interfaces,
	})
}

// judge says what it means that machined does not know the container. A host
// without machined runs containers as well, so that is worth a warning only; a
// name that another machine has is not: machinectl would reach the wrong one.
func (l *launcher) judge(err error) error {
	if errors.Is(err, machine.ErrExists) {
		return fmt.Errorf("another machine named %s is registered with systemd-machined (machinectl status %[1]s)", l.container.Name)
	}
	if err != nil {
		l.options.Warn(fmt.Sprintf("not registered with systemd-machined, machinectl will not know the container: %v", err))
	}
	return nil
}
