package launch

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"

	"github.com/cocker/cocker/cni"
	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/internal/paths"
	"github.com/cocker/cocker/netsetup"
)

// Connection is what a container, or a pod, has of networks outside of its namespaces: what
// is to be given back. Network, Address and HostInterface are those of the first join.
type Connection struct {
	Network       string        `json:"network,omitempty"`
	Address       string        `json:"address,omitempty"` // IPv4, with the prefix length
	HostInterface string        `json:"host_interface,omitempty"`
	Ports         []config.Port `json:"ports,omitempty"` // with the host's ports that were chosen
	Joins         []JoinState   `json:"joins,omitempty"`
	Namespace     netsetup.Mark `json:"namespace,omitempty"` // leads to links that have nothing on the host
	Rates
}

// JoinState is the part in one network.
type JoinState struct {
	Network       string   `json:"network"`
	Address       string   `json:"address,omitempty"`  // IPv4, with the prefix length
	Address6      string   `json:"address6,omitempty"` // IPv6, with the prefix length
	MAC           string   `json:"mac,omitempty"`
	Interface     string   `json:"interface,omitempty"` // in the container
	HostInterface string   `json:"host_interface,omitempty"`
	Aliases       []string `json:"aliases,omitempty"`
	CNI           string   `json:"cni,omitempty"` // the name of the CNI network whose plugins have made the interface
	DNS           *cni.DNS `json:"dns,omitempty"` // what they say of it
}

// Parts are the joins. A state that an older cocker has written has none, and one network.
func (c *Connection) Parts() []JoinState {
	if len(c.Joins) == 0 && c.Network != "" {
		return []JoinState{{Network: c.Network, Address: c.Address, HostInterface: c.HostInterface}}
	}
	return c.Joins
}

// lease is what was leased for a join, but for the gateways.
func (j JoinState) lease() netsetup.Lease {
	lease := netsetup.Lease{Network: j.Network}
	lease.V4, _ = netip.ParsePrefix(j.Address) // the zero value where there is none
	lease.V6, _ = netip.ParsePrefix(j.Address6)
	return lease
}

// connector connects a container or a pod to its networks.
type connector struct {
	owner    string // whose leases, links and ports they are
	joins    []config.Join
	ports    []config.Port
	rates    Rates
	state    *Connection
	write    func() error // keeps the state: before there is anything that it has to name
	networks []netsetup.Network
	leases   []netsetup.Lease
	// namespace makes a network namespace that has a path, for plugins of CNI, and gives that.
	namespace  func() (path string, err error)
	lists      []*cni.List // of each network that is CNI's, else nil
	noDNS      []bool      // of each network
	interfaces []int       // the host's ends of the links that plugins have made
}

// lend leases an address in each network; those of CNI make their interfaces in the same
// step. The state names all of them before that, so that Cleanup finds the leases whatever
// happens next.
func (c *connector) lend() error {
	for i, join := range c.joins {
		if err := c.load(join); err != nil {
			return err
		}
		c.state.Joins = append(c.state.Joins, JoinState{Network: join.Name, Interface: interfaceName(join, i), Aliases: join.Aliases})
		if c.lists[i] != nil {
			c.state.Joins[i].CNI = c.lists[i].Name
		}
	}
	c.state.Network, c.state.Ports, c.state.Rates = c.joins[0].Name, c.ports, c.rates
	if err := c.write(); err != nil {
		return err
	}
	if c.usesCNI() {
		reportCNI(cniHost().Del(context.Background(), c.owner)) // what a DEL that failed has left
	}
	for i := range c.joins {
		if err := c.lendOne(i); err != nil {
			return err
		}
	}
	c.state.Address, c.state.HostInterface = c.state.Joins[0].Address, c.state.Joins[0].HostInterface
	if !c.usesCNI() { // whose plugins' links have had the kernel number the namespace
		c.state.Namespace = netsetup.NewMark(c.networks)
	}
	return c.write()
}

func (c *connector) usesCNI() bool {
	return slices.ContainsFunc(c.lists, func(l *cni.List) bool { return l != nil })
}

// load reads the file of a network, and of CNI's the plugins' configuration.
func (c *connector) load(join config.Join) (err error) {
	definition, err := config.FindNetwork(paths.ConfigDirs(), join.Name)
	if err != nil {
		return err
	}
	network, list := netsetup.Network{Name: definition.Name, Kind: definition.Kind}, (*cni.List)(nil)
	if definition.Kind == config.KindCNI {
		list, err = findCNI(definition)
	} else {
		network, err = netsetup.Resolve(paths.Networks, *definition)
	}
	c.networks, c.lists = append(c.networks, network), append(c.lists, list)
	c.noDNS = append(c.noDNS, definition.NoDNS)
	return err
}

func (c *connector) lendOne(i int) (err error) {
	join, state := c.joins[i], &c.state.Joins[i]
	lease := netsetup.Lease{}
	if c.lists[i] != nil {
		lease, err = c.addCNI(i)
	} else if lease, err = netsetup.Acquire(paths.Networks, c.networks[i], c.owner, join); err == nil {
		state.MAC = netsetup.MAC(lease, join)
	}
	if err != nil {
		return err
	}
	c.leases = append(c.leases, lease)
	state.Address, state.Address6 = text(lease.V4), text(lease.V6)
	return nil
}

// interfaceName is the name of a link in the container.
func interfaceName(join config.Join, index int) string {
	return firstOf(join.Interface, fmt.Sprintf("eth%d", index))
}

// text is a prefix as it is written; "" if there is none.
func text(prefix netip.Prefix) string {
	if !prefix.IsValid() {
		return ""
	}
	return prefix.String()
}

// publish makes the ports of the host lead to the first join. It may be repeated. Plugins
// of CNI have done that already.
func (c *connector) publish() (err error) {
	if c.lists[0] != nil {
		return nil
	}
	if err := c.networks[0].CheckPorts(c.state.Ports); err != nil {
		return err
	}
	if err := ensure(c.networks[0]); err != nil {
		return err
	}
	published, err := netsetup.Publish(c.owner, c.leases[0], c.state.Ports)
	if err != nil {
		return fmt.Errorf("attach %s to %s: %w", c.owner, c.networks[0].Name, err)
	}
	c.state.Ports = published
	return nil
}

// attach connects a network namespace and returns the host's ends of the links. The ports
// come first: they are what fails, and cheaper to undo.
func (c *connector) attach(netns int) (interfaces []int, err error) {
	if err := errors.Join(c.state.Namespace.Set(netns), c.publish()); err != nil {
		return nil, err
	}
	for i, network := range c.networks {
		if c.lists[i] != nil {
			continue
		}
		if i > 0 { // publish has seen to the first
			if err := ensure(network); err != nil {
				return nil, err
			}
		}
		endpoint, err := netsetup.Attach(network, c.owner, c.leases[i], c.joins[i], i, netns)
		if err != nil {
			return nil, err
		}
		c.state.Joins[i].HostInterface = endpoint.HostInterface
		if endpoint.HostIndex != 0 {
			interfaces = append(interfaces, endpoint.HostIndex)
		}
	}
	c.state.HostInterface = c.state.Joins[0].HostInterface
	if err := c.write(); err != nil {
		return nil, err
	}
	return append(c.interfaces, interfaces...), c.state.limitRates(c.rates)
}

// ensure makes a network again that is not there, or that somebody has flushed.
func ensure(network netsetup.Network) error {
	up, err := netsetup.IsUp(network)
	if err == nil && !up {
		_, err = makeNetwork(network)
	}
	return err
}

// disconnect gives everything back. It frees ports before the address: another container
// may take the address at once, and must not get this one's ports with it.
func (c *Connection) disconnect(owner string) error {
	errs := []error{c.freeRates(), c.Namespace.Cut()}
	for i, join := range c.Parts() {
		if join.CNI != "" {
			continue
		}
		network, ports := leftNetwork(join.Network), c.Ports
		if i > 0 {
			ports = nil
		}
		errs = append(errs, netsetup.Detach(network, owner, ports), netsetup.Release(paths.Networks, network, owner))
	}
	return errors.Join(append(errs, releaseCNI(owner))...)
}

// loadNetwork is the network of a name as its file describes it.
func loadNetwork(name string) (netsetup.Network, error) {
	definition, err := config.FindNetwork(paths.ConfigDirs(), name)
	if err != nil {
		return netsetup.Network{}, err
	}
	return netsetup.Resolve(paths.Networks, *definition)
}

// leftNetwork is the network of a name as far as giving back needs it. Its file may be gone
// by now, or bad.
func leftNetwork(name string) netsetup.Network {
	network, err := loadNetwork(name)
	if err != nil {
		network = netsetup.Default()
		network.Name = name
	}
	return network
}

// anyConnection is what a container could have whose state cannot be read: a lease in any
// network. Ports without an address that they lead to reach nobody.
func anyConnection() (c Connection) {
	networks, _ := os.ReadDir(paths.Networks)
	for _, network := range networks {
		c.Joins = append(c.Joins, JoinState{Network: network.Name()})
	}
	return c
}
