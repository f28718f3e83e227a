package config

import (
	"errors"
	"net/netip"
	"slices"
)

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
	File        string   // absolute path; "": the built-in definition of DefaultNetwork
	Sources     []string // absolute paths: the file first, then its drop-ins in merge order
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
	Temporary   bool   // keep = false: it goes when its last container has stopped
}

// Subnet is one address range of a network.
type Subnet struct {
	Prefix  netip.Prefix
	Gateway netip.Addr // zero: the first address
	First   netip.Addr // of those that are leased; zero: all
	Last    netip.Addr
}

// gateway is the gateway with its default.
func (s Subnet) gateway() netip.Addr {
	if s.Gateway.IsValid() {
		return s.Gateway
	}
	return Gateway(s.Prefix)
}

// Subnet is the subnet that the file gives for IPv4, or for IPv6.
func (d *NetworkDefinition) Subnet(v4 bool) (Subnet, bool) {
	for _, s := range d.Subnets {
		if s.Prefix.Addr().Is4() == v4 {
			return s, true
		}
	}
	return Subnet{}, false
}

// FindNetwork reads, merges and checks the network of a name. DefaultNetwork exists
// without a file. The error joins every problem, each with file and line; it is
// ErrNotFound if there is no such network.
func FindNetwork(dirs []string, name string) (*NetworkDefinition, error) {
	l, err := locateNetwork(dirs, name)
	if err != nil {
		return nil, err
	}
	d, _, err := l.readNetwork()
	if err != nil {
		return nil, err
	}
	return d, nil
}

func locateNetwork(dirs []string, name string) (Location, error) {
	if err := ValidNetwork(name); err != nil {
		return Location{}, err
	}
	l := locate(dirs, networksDir, name)
	if l.File == "" && name == DefaultNetwork {
		return l, nil
	}
	if l.File == "" || isMasked(l.File) {
		return Location{}, notFound(errNoNetwork, dirs, networksDir, l)
	}
	return l, nil
}

// ScanNetworks locates every network, sorted by name; the names are not checked.
// DefaultNetwork is one of them, without a file if it has none. Errors are as those of
// Scan.
func ScanNetworks(dirs []string) ([]Location, error) {
	files, dropIns, err := scan(dirs, networksDir)
	all := locations(files, dropIns)
	if _, ok := files[DefaultNetwork]; !ok {
		i, _ := slices.BinarySearchFunc(all, DefaultNetwork, compareName)
		all = slices.Insert(all, i, Location{Name: DefaultNetwork, DropInDirs: dropIns[DefaultNetwork]})
	}
	return all, err
}

// ListNetworks gives the sorted names of all networks, good or bad.
func ListNetworks(dirs []string) ([]string, error) {
	all, err := ScanNetworks(dirs)
	names := make([]string, len(all))
	for i, l := range all {
		names[i] = l.Name
	}
	return names, err
}

// ParseNetwork checks a text as if it were the file of a network.
func ParseNetwork(name, file, text string) (*NetworkDefinition, error) {
	d, _, err := buildNetwork(Location{Name: name, File: file}, []*source{{file: file, text: text}}, nil)
	if err != nil {
		return nil, err
	}
	return d, nil
}

// ReadNetwork reads and checks the network. With an error, the definition holds what
// was right in its file.
func (l Location) ReadNetwork() (*NetworkDefinition, error) {
	d, _, err := l.readNetwork()
	return d, err
}

func (l Location) readNetwork() (*NetworkDefinition, []*entry, error) {
	paths, sources, err := l.sources()
	d, entries, err := buildNetwork(l, sources, err)
	d.Sources = paths
	return d, entries, err
}

// buildNetwork merges the sources and fills in a definition, never nil, as build does
// for a container.
func buildNetwork(l Location, sources []*source, unread error) (*NetworkDefinition, []*entry, error) {
	b := newNetworkBuilder(l)
	for _, s := range sources {
		b.c.Sources = append(b.c.Sources, s.file)
		b.d.Sources = append(b.d.Sources, s.file)
	}
	entries, err := mergeAll(sources)
	for _, e := range entries {
		b.set(e)
	}
	if err := errors.Join(unread, err); err != nil {
		return b.d, entries, errors.Join(err, b.joined())
	}
	b.checkNetworkFile(entries)
	return b.d, entries, b.joined()
}
