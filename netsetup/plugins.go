package netsetup

import (
	"fmt"
	"slices"

	"github.com/vishvananda/netlink"

	"github.com/cocker/cocker/config"
)

// FreePorts are the ports with one of the host chosen where that is 0, for a container
// whose ports others publish. It fails with ErrPortTaken, and who has the port.
func FreePorts(container string, ports []config.Port) ([]config.Port, error) {
	elements, err := openElements()
	if err != nil {
		return nil, err
	}
	defer elements.Close()
	ports, err = elements.choose(container, Lease{}, ports)
	if err != nil {
		return nil, err
	}
	all := elements.bindings(Lease{}, ports)
	if err := freeOnHost(all); err != nil {
		return nil, err
	}
	return ports, elements.free(container, all)
}

// Peer is which of some links of the host is the other end of a link in a network
// namespace, if that is a pair that others have made; else "".
func Peer(netns int, name string, candidates []string) (peer string, index int, err error) {
	var inside *netlink.LinkAttrs
	pair := false
	err = inNamespace(netns, func() error {
		link, err := netlink.LinkByName(name)
		if err == nil {
			inside, pair = link.Attrs(), link.Type() == "veth"
		}
		return err
	})
	if err != nil {
		return "", 0, fmt.Errorf("look up link %s in the container: %w", name, err)
	}
	i := slices.IndexFunc(candidates, func(candidate string) bool {
		link, err := netlink.LinkByName(candidate)
		return pair && err == nil && link.Type() == "veth" && link.Attrs().Index == inside.ParentIndex && link.Attrs().ParentIndex == inside.Index
	})
	if i < 0 {
		return "", 0, nil
	}
	return candidates[i], inside.ParentIndex, nil
}
