package netsetup

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"net/netip"

	"github.com/cocker/cocker/config"
)

// completed fills in what a file leaves out: the gateway is the first address, and
// all others are for leases.
func completed(c config.Subnet) Subnet {
	s := Subnet{Prefix: c.Prefix.Masked(), Gateway: c.Gateway, First: c.First, Last: c.Last}
	if !s.Gateway.IsValid() {
		s.Gateway = config.Gateway(s.Prefix)
	}
	if !s.First.IsValid() {
		s.First = s.Prefix.Addr().Next()
	}
	if !s.Last.IsValid() {
		s.Last = s.end()
		if s.Last.Is4() {
			s.Last = s.Last.Prev() // broadcast
		}
	}
	return s
}

func (s Subnet) valid() bool { return s.Prefix.IsValid() }

func (s Subnet) hostBits() int { return s.Prefix.Addr().BitLen() - s.Prefix.Bits() }

func (s Subnet) check() error {
	switch {
	case s.Prefix != s.Prefix.Masked() || s.Prefix.Addr().Is4In6():
		return fmt.Errorf("subnet %s is no masked prefix", s.Prefix)
	case s.hostBits() < 2:
		return fmt.Errorf("subnet %s has no room for containers", s.Prefix)
	case !s.usable(s.Gateway):
		return fmt.Errorf("gateway %s is no host address of %s", s.Gateway, s.Prefix)
	case !s.usable(s.First) || !s.usable(s.Last) || s.Last.Less(s.First):
		return fmt.Errorf("range %s-%s is not one of host addresses of %s", s.First, s.Last, s.Prefix)
	}
	return nil
}

// usable tells whether a host may have the address: not the network's own address,
// which is that of all routers in IPv6 (RFC 4291, 2.6.1), and not IPv4's broadcast.
func (s Subnet) usable(address netip.Addr) bool {
	return s.Prefix.Contains(address) && address != s.Prefix.Addr() && !(address.Is4() && address == s.end())
}

// forContainers tells whether a container may have the address.
func (s Subnet) forContainers(address netip.Addr) bool {
	return s.usable(address) && address != s.Gateway
}

// leased tells whether the address may be given to a container that asks for none.
func (s Subnet) leased(address netip.Addr) bool {
	return s.forContainers(address) && !address.Less(s.First) && !s.Last.Less(address)
}

// end is the last address of the subnet.
func (s Subnet) end() netip.Addr {
	bytes := s.Prefix.Addr().AsSlice()
	for bit := s.Prefix.Bits(); bit < len(bytes)*8; bit++ {
		bytes[bit/8] |= 1 << (7 - bit%8)
	}
	end, _ := netip.AddrFromSlice(bytes)
	return end
}

// number is the host number of an address of the subnet. There are more of them in
// a large subnet of IPv6 than are ever needed: the last one stands for the rest.
func (s Subnet) number(address netip.Addr) uint64 {
	high, low := words(address)
	baseHigh, baseLow := words(s.Prefix.Addr())
	difference, borrow := bits.Sub64(low, baseLow, 0)
	if above, _ := bits.Sub64(high, baseHigh, borrow); above != 0 {
		return math.MaxUint64
	}
	return difference
}

// at is the address with the host number.
func (s Subnet) at(number uint64) netip.Addr {
	high, low := words(s.Prefix.Addr())
	low, carry := bits.Add64(low, number, 0)
	var bytes [16]byte
	binary.BigEndian.PutUint64(bytes[:8], high+carry)
	binary.BigEndian.PutUint64(bytes[8:], low)
	if s.Prefix.Addr().Is4() {
		return netip.AddrFrom4([4]byte(bytes[12:]))
	}
	return netip.AddrFrom16(bytes)
}

func (s Subnet) prefix(address netip.Addr) netip.Prefix {
	return netip.PrefixFrom(address, s.Prefix.Bits())
}

// words are the two halves of an address; an IPv4 one has its number in the second.
func words(address netip.Addr) (high, low uint64) {
	if address.Is4() {
		bytes := address.As4()
		return 0, uint64(binary.BigEndian.Uint32(bytes[:]))
	}
	bytes := address.As16()
	return binary.BigEndian.Uint64(bytes[:8]), binary.BigEndian.Uint64(bytes[8:])
}
