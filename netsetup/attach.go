package netsetup

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/config"
)

// Endpoint is what Attach made of the host's side.
type Endpoint struct {
	HostInterface string
	HostIndex     int
	Lease         Lease
}

// Attach connects the network namespace of the descriptor to the network:
//   - a veth pair, eth0 inside, the host's end on the bridge,
//   - inside, lo is up and eth0 has the lease's address and the default route,
//   - the ports are published.
//
// A link that is left of the container's previous run is cut or replaced. On an
// error all is undone. ErrNotUp: call Up and try again. ErrPortTaken: the text says who
// has which port.
func Attach(n Network, container string, lease Lease, ports []config.Port, netns int) (endpoint Endpoint, err error) {
	bridge, err := linkIndex(n.Name)
	if errors.Is(err, unix.ENODEV) {
		return Endpoint{}, fmt.Errorf("attach %s to %s: %w: no bridge", container, n.Name, ErrNotUp)
	}
	if err != nil {
		return Endpoint{}, fmt.Errorf("attach %s to %s: %w", container, n.Name, err)
	}
	// The ports come first: they are what fails, and cheaper to undo.
	if err := Publish(container, lease.Address.Addr(), ports); err != nil {
		return Endpoint{}, fmt.Errorf("attach %s to %s: %w", container, n.Name, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, deleteLinks(container), Unpublish(container, ports))
		}
	}()
	name, index, err := createVeth(vethPair{container: container, bridge: bridge, lease: lease, netns: netns})
	if err == nil {
		err = configureInside(netns, lease)
	}
	if err != nil {
		return Endpoint{}, fmt.Errorf("attach %s to %s: %w", container, n.Name, err)
	}
	return Endpoint{HostInterface: name, HostIndex: index, Lease: lease}, nil
}

// Detach takes back what Attach did on the host's side: the ports are no longer
// published, and the link, if the container's namespace has not taken it along
// already, is cut, see cutLinks. It goes on after an error; what is gone already
// is success, so it can follow any start.
func Detach(n Network, container string, _ netip.Addr, ports []config.Port) error {
	err := errors.Join(Unpublish(container, ports), cutLinks(container))
	if err != nil {
		return fmt.Errorf("detach %s from %s: %w", container, n.Name, err)
	}
	return nil
}
