package config

import "net/netip"

// NetworkKind says what connects the containers of a network.
type NetworkKind string

// The values of the key kind of a network's file.
const (
	KindBridge  NetworkKind = "bridge"  // a bridge of the host
	KindMacvlan NetworkKind = "macvlan" // a link of the host, each container with a MAC address of its own
	KindIPvlan  NetworkKind = "ipvlan"  // a link of the host, whose MAC address all containers share
	KindCNI     NetworkKind = "cni"     // the plugins of a CNI configuration
)

// NetworkDefinition is a network as its file networks/NAME.toml describes it. A zero
// value means: not set.
type NetworkDefinition struct {
	Name        string
	File        string // absolute path; "": the built-in definition of DefaultNetwork
	Description string
	Kind        NetworkKind
	Subnets     []Subnet // at most one of IPv4 and one of IPv6; none of IPv4 and IPv6: one of IPv4 is picked
	IPv6        bool     // a subnet of IPv6 is picked if none is given
	MTU         int
	Internal    bool   // no way out of the network
	Isolated    bool   // no way to and from other networks of cocker
	Bridge      string // an existing bridge of the host, which stays; "": one of the network's name is made
	Parent      string // macvlan, ipvlan: the link of the host; bridge with VLAN: the link that the VLAN is taken from
	VLAN        uint16 // 802.1Q id on Parent; 0: none
	Mode        string // macvlan: bridge, private, vepa, passthru; ipvlan: l2, l3, l3s; "": the first
	CNI         string // KindCNI: the name of the CNI network
	NoDNS       bool   // containers get the host's resolvers
}

// Subnet is one address range of a network.
type Subnet struct {
	Prefix  netip.Prefix
	Gateway netip.Addr // zero: the first address
	First   netip.Addr // of those that are leased; zero: all
	Last    netip.Addr
}
