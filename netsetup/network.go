package netsetup

import (
	"fmt"
	"net/netip"

	"github.com/cocker/cocker/config"
)

// Network is one bridge network. Its name is the bridge's.
type Network struct {
	Name    string       // a valid interface name
	Subnet  netip.Prefix // IPv4, masked
	Gateway netip.Addr   // the bridge's own address, inside Subnet
}

// Default is the network that exists without a file.
func Default() Network {
	subnet := config.DefaultSubnet()
	return Network{Name: config.DefaultNetwork, Subnet: subnet, Gateway: config.Gateway(subnet)}
}

// check refuses what the kernel would refuse later with a worse message.
func (n Network) check() error {
	switch {
	case !validInterface(n.Name):
		return fmt.Errorf("network name %q is no name for an interface", n.Name)
	case !n.Subnet.IsValid() || !n.Subnet.Addr().Is4() || n.Subnet != n.Subnet.Masked():
		return fmt.Errorf("network %s: subnet %s is no masked IPv4 prefix", n.Name, n.Subnet)
	case n.Subnet.Bits() > 30:
		return fmt.Errorf("network %s: subnet %s has no room for containers", n.Name, n.Subnet)
	case !n.usable(n.Gateway):
		return fmt.Errorf("network %s: gateway %s is no host address of %s", n.Name, n.Gateway, n.Subnet)
	}
	return nil
}

// usable tells whether a host may have the address: neither the network's own
// address nor the broadcast address.
func (n Network) usable(address netip.Addr) bool {
	return n.Subnet.Contains(address) && address != n.Subnet.Addr() && address != n.broadcast()
}

func (n Network) broadcast() netip.Addr { return config.Broadcast(n.Subnet) }

// size is the number of addresses of the subnet, the unusable ones included.
func (n Network) size() uint32 { return 1 << (32 - n.Subnet.Bits()) }

// host is the address with the given host part.
func (n Network) host(number uint32) netip.Addr {
	return fromUint32(toUint32(n.Subnet.Addr()) + number)
}

func (n Network) prefix(address netip.Addr) netip.Prefix {
	return netip.PrefixFrom(address, n.Subnet.Bits())
}
