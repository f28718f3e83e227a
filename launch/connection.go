package launch

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

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
}

// lend leases an address in each network. The state names all of them before that, so
// that Cleanup finds the leases whatever happens next.
func (c *connector) lend() error {
	for i, join := range c.joins {
		network, err := loadNetwork(join.Name)
		if err != nil {
			return err
		}
		c.networks = append(c.networks, network)
		c.state.Joins = append(c.state.Joins, JoinState{Network: network.Name, Interface: interfaceName(join, i), Aliases: join.Aliases})
	}
	c.state.Network, c.state.Ports, c.state.Rates = c.networks[0].Name, c.ports, c.rates
	if err := c.write(); err != nil {
		return err
	}
	for i, join := range c.joins {
		lease, err := netsetup.Acquire(paths.Networks, c.networks[i], c.owner, join)
		if err != nil {
			return err
		}
		c.leases = append(c.leases, lease)
		c.state.Joins[i].Address, c.state.Joins[i].Address6 = text(lease.V4), text(lease.V6)
		c.state.Joins[i].MAC = netsetup.MAC(lease, join)
	}
	c.state.Address = c.state.Joins[0].Address
	return c.write()
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

// publish makes the ports of the host lead to the first join. It may be repeated.
func (c *connector) publish() (err error) {
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
	if err := c.publish(); err != nil {
		return nil, err
	}
	for i, network := range c.networks {
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
	return interfaces, c.state.limitRates(c.rates)
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
	errs := []error{c.freeRates()}
	for i, join := range c.Parts() {
		network, ports := leftNetwork(join.Network), c.Ports
		if i > 0 {
			ports = nil
		}
		errs = append(errs, netsetup.Detach(network, owner, ports), netsetup.Release(paths.Networks, network, owner))
	}
	return errors.Join(errs...)
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
