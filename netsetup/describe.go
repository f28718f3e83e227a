package netsetup

import (
	"fmt"

	"github.com/vishvananda/netlink"
)

// LinkState is what is there of a network on the host.
type LinkState struct {
	Name, Type, State string
	MTU               int
	Addresses         []string
}

// Describe tells of the network's link.
func Describe(n Network) (LinkState, error) {
	link, err := netlink.LinkByName(n.Link)
	if err != nil {
		return LinkState{}, fmt.Errorf("look up link %s: %w", n.Link, err)
	}
	s := LinkState{Name: n.Link, Type: link.Type(), State: link.Attrs().OperState.String(), MTU: link.Attrs().MTU}
	addresses, err := netlink.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		return s, fmt.Errorf("list addresses of %s: %w", n.Link, err)
	}
	for _, a := range addresses {
		s.Addresses = append(s.Addresses, a.IPNet.String())
	}
	return s, nil
}
