package netsetup

import (
	"fmt"
	"net/netip"

	"github.com/cocker/cocker/config"
)

// Subnet is the addresses of a network in one family.
type Subnet struct {
	Prefix      netip.Prefix // masked
	Gateway     netip.Addr   // inside Prefix
	First, Last netip.Addr   // of those that are leased
}

// Network is one network as it has to be on the host. There are two sorts, see Routed.
type Network struct {
	Name     string             // of the network
	Link     string             // of the host: the bridge, or what macvlan and ipvlan links are made on
	Kind     config.NetworkKind // bridge, macvlan or ipvlan
	V4, V6   Subnet             // zero: the network has none
	MTU      int                // 0: the kernel's
	Internal bool               // no way out
	Isolated bool               // no way to and from other networks of cocker
	Foreign  bool               // Link is the host's own bridge: never made, removed or numbered
	Parent   string             // macvlan, ipvlan: a link of the host; with VLAN: what that is taken from
	VLAN     uint16             // 802.1Q id on Parent; 0: none
	Mode     string             // of macvlan and ipvlan
	NoDNS    bool
}

// Default is the network that exists without a file.
func Default() Network {
	return Network{
		Name: config.DefaultNetwork,
		Link: config.DefaultNetwork,
		Kind: config.KindBridge,
		V4:   completed(config.Subnet{Prefix: config.DefaultSubnet()}),
	}
}

// Routed tells whether the host is the router of the network: its bridge has the
// gateway's address, and the table has the network in its sets, so that ports can be
// published. The others are a part of the network that a link of the host is in: a
// bridge of the host's own, a VLAN, or a link that macvlan and ipvlan links are on.
// There, cocker connects containers and changes neither addresses nor rules.
func (n Network) Routed() bool {
	return n.Kind == config.KindBridge && !n.Foreign && n.VLAN == 0
}

// bridged tells whether containers are connected by veth pairs.
func (n Network) bridged() bool { return n.Kind == config.KindBridge }

// check refuses what the kernel would refuse later with a worse message.
func (n Network) check() error {
	if err := n.checkLink(); err != nil {
		return fmt.Errorf("network %s: %w", n.Name, err)
	}
	if !n.V4.valid() && !n.V6.valid() {
		return fmt.Errorf("network %s: has no subnet", n.Name)
	}
	for _, s := range n.subnets() {
		if err := s.check(); err != nil {
			return fmt.Errorf("network %s: %w", n.Name, err)
		}
	}
	if n.V4.valid() && !n.V4.Prefix.Addr().Is4() || n.V6.valid() && !n.V6.Prefix.Addr().Is6() {
		return fmt.Errorf("network %s: the subnets are of the wrong families", n.Name)
	}
	if n.V4.valid() && n.V6.valid() && n.V4.hostBits() > n.V6.hostBits() {
		return fmt.Errorf("network %s: subnet %s has less room than %s; containers have the same host number in both",
			n.Name, n.V6.Prefix, n.V4.Prefix)
	}
	return nil
}

func (n Network) checkLink() error {
	switch {
	case n.Name == "":
		return fmt.Errorf("has no name")
	case !validInterface(n.Link):
		return fmt.Errorf("%q is no name for an interface", n.Link)
	case n.Kind != config.KindBridge && n.Kind != config.KindMacvlan && n.Kind != config.KindIPvlan:
		return fmt.Errorf("kind %q is none that cocker makes itself", n.Kind)
	case !n.bridged() && n.Parent == "":
		return fmt.Errorf("kind %s needs a parent, a link of the host", n.Kind)
	case n.VLAN != 0 && (n.Parent == "" || n.VLAN > maxVLAN):
		return fmt.Errorf("VLAN %d needs a parent, and an id from 1 to %d", n.VLAN, maxVLAN)
	case n.Parent != "" && !validInterface(n.Parent):
		return fmt.Errorf("parent %q is no name of an interface", n.Parent)
	case n.Isolated && !n.Routed():
		return fmt.Errorf("isolated needs a bridge of cocker's own: the rules of the host do not see what is not routed by it")
	}
	return nil
}

// maxVLAN: 4095 is reserved, IEEE 802.1Q table 9-2.
const maxVLAN = 4094

// subnets are those that the network has.
func (n Network) subnets() (all []Subnet) {
	for _, s := range []Subnet{n.V4, n.V6} {
		if s.valid() {
			all = append(all, s)
		}
	}
	return all
}

// family is the subnet that the address would be of.
func (n Network) family(address netip.Addr) Subnet {
	if address.Is4() {
		return n.V4
	}
	return n.V6
}

// primary is the subnet that host numbers are counted in.
func (n Network) primary() Subnet {
	if n.V4.valid() {
		return n.V4
	}
	return n.V6
}
