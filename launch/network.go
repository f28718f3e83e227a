package launch

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/internal/paths"
	"github.com/cocker/cocker/machine"
	"github.com/cocker/cocker/netsetup"
)

// lend takes an address for the container in each of its networks. Ports that are chosen
// at random are taken at once: the plan of init tells them.
func (l *launcher) lend() error {
	l.connector = &connector{
		owner: l.container.Name, joins: l.container.Network.Joins, ports: l.container.Network.Ports, rates: ratesOf(l.container.Network),
		state: &l.state.Connection, write: l.state.Write, namespace: l.pinNetwork,
	}
	err := l.connector.lend()
	if err != nil || !slices.ContainsFunc(l.state.Ports, isRandom) {
		return err
	}
	return errors.Join(l.connector.publish(), l.state.Write())
}

func isRandom(p config.Port) bool { return p.HostPort == 0 }

// address is the container's own in its first network.
func (l *launcher) address() netip.Addr {
	return addressIn(l.state.Address)
}

// addressIn is the address of a prefix, as a state has it.
func addressIn(text string) netip.Addr {
	prefix, _ := netip.ParsePrefix(text) // the zero value where there is none
	return prefix.Addr()
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

func (l *launcher) connectNetwork() (err error) {
	if !l.container.OwnNetwork() {
		return nil
	}
	netns, err := unix.Open(fmt.Sprintf("/proc/%d/ns/net", l.pid), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open the container's network namespace: %w", err)
	}
	defer unix.Close(netns)
	if l.container.Network.Mode != config.NetworkBridge {
		return netsetup.Loopback(netns)
	}
	l.interfaces, err = l.connector.attach(netns)
	return err
}

// makeNetwork makes what is missing of a network, and what its running containers and pods
// have of it: their ports, which `nft flush ruleset` takes with the rules, and their leases.
// It tells in words what it changed for the host as a whole.
func makeNetwork(network netsetup.Network) (changes []string, err error) {
	changes, err = netsetup.Ensure(network)
	if err != nil {
		return nil, err
	}
	problem, err := serveNames(network)
	if err != nil {
		problem = err.Error() // a container runs as well without names
	}
	if problem != "" {
		warn(problem)
	}
	states, err := States()
	for _, state := range states {
		if state.Pod == "" && state.Running() {
			err = errors.Join(err, state.Connection.renew(state.Name, network), cleanUpIfEnded(state))
		}
	}
	pods, podErr := podStates()
	for _, pod := range pods {
		podErr = errors.Join(podErr, pod.Connection.renew(podOwner(pod.Name), network))
	}
	return changes, errors.Join(err, podErr)
}

// inUse tells whether a container runs, or a pod is up, in the network of that name.
func inUse(network string) bool {
	here := func(c *Connection) bool {
		return slices.ContainsFunc(c.Parts(), func(j JoinState) bool { return j.Network == network })
	}
	states, _ := States()
	pods, _ := podStates()
	return slices.ContainsFunc(states, func(s *State) bool { return s.Pod == "" && s.Running() && here(&s.Connection) }) ||
		slices.ContainsFunc(pods, func(p *PodState) bool { return here(&p.Connection) })
}

// cleanUpIfEnded does once more what its cleanup has done, if a container has ended while
// its leases were made again.
func cleanUpIfEnded(state *State) error {
	if state.Running() {
		return nil
	}
	return Cleanup(state.Name)
}

// renew takes the leases in a network again, and publishes the ports if they lead there.
func (c *Connection) renew(owner string, network netsetup.Network) error {
	for i, join := range c.Parts() {
		if join.Network != network.Name || join.Address == "" && join.Address6 == "" {
			continue
		}
		var err error
		if network.Holds(join.lease()) { // else it runs on with what it has, of the subnet from before
			err = netsetup.Restore(paths.Networks, network, owner, join.lease())
		}
		if i == 0 {
			_, publishErr := netsetup.Publish(owner, join.lease(), c.Ports)
			err = errors.Join(err, publishErr)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// reachable says in one line where a container can be reached.
func reachable(c *config.Container, state *State) string {
	switch {
	case c.Pod != "" && state.Address == "":
		return "Running in pod " + c.Pod
	case c.Pod != "":
		return "Running in pod " + c.Pod + " at " + addressIn(state.Address).String()
	case c.Network.Mode == config.NetworkHost:
		return "Running in the host's network"
	case c.Network.Mode == config.NetworkNone:
		return "Running without network"
	case c.Network.Mode == config.NetworkCustom:
		return "Running in a network of its own, which others set up"
	case c.Network.Mode == config.NetworkContainer:
		return "Running in the network of container " + c.Network.Target
	case c.Network.Mode == config.NetworkNamespace:
		return "Running in the network namespace " + c.Network.Target
	}
	return "Running at " + strings.Join(addresses(state.Joins), ", ") + portList(state.Ports)
}

// addresses are those of all joins, of IPv6 only where there is none of IPv4.
func addresses(joins []JoinState) (all []string) {
	for _, join := range joins {
		if address := firstOf(join.Address, join.Address6); address != "" {
			all = append(all, addressIn(address).String())
		}
	}
	return all
}

func portList(ports []config.Port) (text string) {
	for i, port := range ports {
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
