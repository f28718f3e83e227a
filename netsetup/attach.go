package netsetup

import (
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/config"
)

// Endpoint is what Attach made on the host's side. There is nothing where the
// container's link is none of a pair: macvlan, ipvlan.
type Endpoint struct {
	HostInterface string
	HostIndex     int
}

// Attach connects the network namespace of the descriptor to the network:
//   - a veth pair, the host's end on the bridge; or a macvlan or ipvlan link,
//   - inside, lo is up, and the link, which is named by the join or else eth and the
//     index, has the lease's addresses,
//   - the link of index 0 has the default routes, unless the network is internal.
//
// A link that is left of the container's previous run is cut or replaced. On an
// error all is undone. ErrNotUp: call Ensure and try again.
func Attach(n Network, container string, lease Lease, join config.Join, index int, netns int) (Endpoint, error) {
	endpoint, err := connect(n, container, lease, join, index, netns)
	if err != nil {
		return Endpoint{}, fmt.Errorf("attach %s to %s: %w", container, n.Name, err)
	}
	return endpoint, nil
}

func connect(n Network, container string, lease Lease, join config.Join, index int, netns int) (endpoint Endpoint, err error) {
	hardware, err := joinMAC(lease, join)
	if err != nil {
		return Endpoint{}, err
	}
	link, err := linkIndex(n.Link)
	if errors.Is(err, unix.ENODEV) {
		return Endpoint{}, fmt.Errorf("%w: no link %s", ErrNotUp, n.Link)
	}
	if err != nil {
		return Endpoint{}, err
	}
	inside := insideLink{name: containerLink(join, index), lease: lease, routes: index == 0 && !n.Internal, netns: netns}
	if err := inside.check(); err != nil {
		return Endpoint{}, err
	}
	if !n.bridged() {
		return Endpoint{}, attachShared(n, link, hardware, inside)
	}
	pair := vethPair{network: n, container: container, index: index, bridge: link, mac: hardware, inside: inside}
	if endpoint.HostInterface, endpoint.HostIndex, err = pair.make(); err == nil {
		err = inside.configure()
	}
	if err != nil {
		return Endpoint{}, errors.Join(err, deleteLinks(n, container))
	}
	return endpoint, nil
}

// joinMAC is the address that the container's link gets.
func joinMAC(lease Lease, join config.Join) (net.HardwareAddr, error) {
	if join.MAC == "" {
		return containerMAC(lease.Address()), nil
	}
	hardware, err := net.ParseMAC(join.MAC)
	if err != nil || len(hardware) != 6 || hardware[0]&1 != 0 {
		return nil, fmt.Errorf("%q is no address that a link can have", join.MAC)
	}
	return hardware, nil
}

// Detach takes back what Attach and Publish did on the host's side: the ports are no
// longer published, and the link, if the container's namespace has not taken it along
// already, is cut, see cutLinks. It goes on after an error; what is gone already
// is success, so it can follow any start.
func Detach(n Network, container string, ports []config.Port) error {
	err := errors.Join(Unpublish(container, ports), cutLinks(n, container))
	if err != nil {
		return fmt.Errorf("detach %s from %s: %w", container, n.Name, err)
	}
	return nil
}
