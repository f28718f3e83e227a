package launch

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/cni"
	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/internal/linux"
	"github.com/cocker/cocker/internal/paths"
	"github.com/cocker/cocker/netsetup"
)

// cniHost is where the host has what belongs to CNI.
func cniHost() cni.Host {
	return cni.Host{Configs: paths.CNIConfigs, Plugins: paths.CNIPlugins(), State: paths.CNI}
}

// cniNamespace is the file that keeps a container's network namespace while its plugins may
// still have to undo something in it: some forget what they have done outside, such as
// rules of masquerading, if they don't find the interface that it was for.
func cniNamespace(container string) string { return filepath.Join(paths.CNI, container, "netns") }

// findCNI is the configuration that the file of a network names.
func findCNI(definition *config.NetworkDefinition) (*cni.List, error) {
	list, err := cniHost().Find(definition.CNI)
	if err == nil {
		err = cniHost().Installed(list)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", definition.File, err)
	}
	return list, nil
}

// pinNetwork makes a network namespace with a path for a container in networks of CNI.
// Plugins run before the container's PID 1 is there, since its files have the address and
// the name servers that they give. So the namespace belongs to the host's user namespace,
// as that of a pod, and nobody in the container can change what the plugins have made.
func (l *launcher) pinNetwork() (path string, err error) {
	path = cniNamespace(l.container.Name)
	if len(l.shared) > 0 {
		return path, nil // for an earlier join
	}
	if err := errors.Join(os.MkdirAll(paths.Runtime, 0o755), os.MkdirAll(filepath.Dir(path), 0o700), unpin(path)); err != nil {
		return "", err
	}
	if err := onNewThread(func() error { return makeNetworkNamespace(path) }); err != nil {
		return "", err
	}
	fd, err := linux.Open(path, unix.O_RDONLY)
	if err != nil {
		return "", err
	}
	l.shared = append(l.shared, shared{unix.CLONE_NEWNET, fd})
	return path, netsetup.Loopback(fd)
}

func makeNetworkNamespace(path string) error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return linux.CloneError(err)
	}
	return errors.Join(configureNetwork(), pinNamespace("net", path))
}

// addCNI has the plugins of a network make the owner's interface.
func (c *connector) addCNI(i int) (netsetup.Lease, error) {
	join, state, host := c.joins[i], &c.state.Joins[i], cniHost()
	ports, err := c.portsForCNI(i)
	if err != nil {
		return netsetup.Lease{}, err
	}
	namespace, err := c.namespace()
	if err != nil {
		return netsetup.Lease{}, err
	}
	result, err := host.Add(context.Background(), c.lists[i], cni.Request{
		Owner: c.owner, Index: i, Interface: state.Interface, Namespace: namespace,
		Addresses: validAddresses(join.Address, join.Address6), MAC: join.MAC, Aliases: join.Aliases, Ports: ports,
	})
	if err != nil {
		return netsetup.Lease{}, err
	}
	if state.MAC = result.MAC; !c.noDNS[i] {
		state.DNS = &result.DNS
	}
	if err := c.findPeer(namespace, state, result.Host); err != nil {
		return netsetup.Lease{}, err
	}
	return netsetup.Lease{Network: join.Name, V4: result.V4, V6: result.V6, Gateway4: result.Gateway4, Gateway6: result.Gateway6}, nil
}

func validAddresses(all ...netip.Addr) []netip.Addr {
	return slices.DeleteFunc(all, func(a netip.Addr) bool { return !a.IsValid() })
}

// portsForCNI are the ports that the plugins of a join are to publish, all of them with a
// port of the host. Plugins do not ask whether that is taken.
func (c *connector) portsForCNI(i int) ([]config.Port, error) {
	if i > 0 || len(c.ports) == 0 {
		return nil, nil
	}
	ports, err := netsetup.FreePorts(c.owner, c.ports)
	if err != nil {
		return nil, err
	}
	states, err := States()
	for _, s := range states {
		if s.Owner() != c.owner && len(s.Joins) > 0 && s.Joins[0].CNI != "" && s.Running() {
			err = errors.Join(err, taken(ports, s))
		}
	}
	c.state.Ports = ports
	return ports, err
}

// taken tells which ports another container in a network of CNI has.
func taken(ports []config.Port, by *State) error {
	for _, p := range ports {
		if slices.ContainsFunc(by.Ports, func(q config.Port) bool { return overlap(p, q) }) {
			return fmt.Errorf("port %s: %w by container %s", p, netsetup.ErrPortTaken, by.Name)
		}
	}
	return nil
}

// findPeer notes the host's end of a pair that plugins have made.
func (c *connector) findPeer(namespace string, state *JoinState, candidates []string) error {
	fd, err := linux.Open(namespace, unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	name, index, err := netsetup.Peer(fd, state.Interface, candidates)
	if state.HostInterface = name; index != 0 {
		c.interfaces = append(c.interfaces, index)
	}
	return err
}

// releaseTimeout is less than TimeoutStopSec= of the unit, which ends ExecStopPost=: the
// rest of a container's cleanup must not wait for plugins that hang.
const releaseTimeout = 20 * time.Second

// releaseCNI has plugins undo what they have made for a container or a pod. One that cannot
// is told of, and keeps nothing else from being given back, and no start: what it was to
// undo stays written down until it can.
func releaseCNI(owner string) error {
	if _, err := os.Stat(filepath.Join(paths.CNI, owner)); err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), releaseTimeout)
	defer cancel()
	reportCNI(cniHost().Del(ctx, owner))
	if err := unpin(cniNamespace(owner)); err != nil {
		return err
	}
	return cniHost().Tidy(owner)
}

func reportCNI(err error) {
	if err != nil {
		warn("not all that CNI plugins have made could be undone; the next stop tries again: " + err.Error())
	}
}

// CheckCNI tells what is wrong with a network of CNI: its configuration and plugins, and,
// as the plugins see them, the interfaces of those who run in it.
func CheckCNI(ctx context.Context, definition *config.NetworkDefinition, owners map[string]string) (found []netsetup.Finding) {
	list, err := findCNI(definition)
	if err == nil {
		err = cniHost().Verify(ctx, list)
	}
	if err != nil {
		return []netsetup.Finding{{Problem: err.Error(), Advice: "no container can start in it"}}
	}
	for _, owner := range slices.Sorted(maps.Keys(owners)) {
		if err := cniHost().Check(ctx, owner, owners[owner]); err != nil {
			found = append(found, netsetup.Finding{Problem: owner + ": " + err.Error(), Advice: "what the plugins have made for it is not there any more as they made it; restart it"})
		}
	}
	return found
}
