package netsetup

import (
	"fmt"

	"github.com/cocker/cocker/config"
)

// Resolve is the network of a definition: what its file leaves out is filled in.
func Resolve(dir string, d config.NetworkDefinition) (Network, error) {
	if d.Name == config.DefaultNetwork && d.File == "" {
		return Default(), nil
	}
	n := Network{Name: d.Name, Link: d.Name, Kind: d.Kind, MTU: d.MTU, Internal: d.Internal, Isolated: d.Isolated,
		Parent: d.Parent, VLAN: d.VLAN, Mode: d.Mode, NoDNS: d.NoDNS}
	for _, s := range d.Subnets {
		if s.Prefix.Addr().Is4() {
			n.V4 = completed(s)
		} else {
			n.V6 = completed(s)
		}
	}
	if err := n.check(); err != nil {
		return Network{}, fmt.Errorf("%s: %w", d.File, err)
	}
	return n, nil
}
