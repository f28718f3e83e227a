package netsetup

import (
	"encoding/binary"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Offsets in the IPv4 header, RFC 791 section 3.1, and of the destination port
// in the header of TCP and UDP.
const (
	offsetSource      = 12
	offsetDestination = 16
	offsetPort        = 2
)

// Of linux/netfilter/nf_conntrack_common.h and linux/rtnetlink.h.
const (
	statusDNAT     = 1 << 5 // IPS_DST_NAT
	routeTypeLocal = unix.RTN_LOCAL
)

// rule joins matches and a statement, each of one or more expressions.
func rule(parts ...[]expr.Any) []expr.Any {
	var all []expr.Any
	for _, part := range parts {
		all = append(all, part...)
	}
	return all
}

// in matches packets whose input or output interface is a bridge of cocker.
func (t table) in(key expr.MetaKey) []expr.Any    { return t.interfaceIn(key, false) }
func (t table) notIn(key expr.MetaKey) []expr.Any { return t.interfaceIn(key, true) }

func (t table) interfaceIn(key expr.MetaKey, invert bool) []expr.Any {
	return []expr.Any{&expr.Meta{Key: key, Register: 1}, lookup(t.bridges, invert)}
}

func (t table) inSubnets(offset uint32) []expr.Any {
	return []expr.Any{network(offset, 4, 1), lookup(t.subnets, false)}
}

func lookup(set *nftables.Set, invert bool) expr.Any {
	return &expr.Lookup{SourceRegister: 1, SetName: set.Name, SetID: set.ID, Invert: invert}
}

func isIPv4() []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1}, compare(expr.CmpOpEq, []byte{unix.NFPROTO_IPV4})}
}

// loopback compares the address at the offset with 127.0.0.0/8.
func loopback(offset uint32, op expr.CmpOp) []expr.Any {
	return []expr.Any{network(offset, 1, 1), compare(op, []byte{127})}
}

// toHost matches packets for an address of the host.
func toHost() []expr.Any {
	return []expr.Any{
		&expr.Fib{Register: 1, FlagDADDR: true, ResultADDRTYPE: true},
		compare(expr.CmpOpEq, binaryutil.NativeEndian.PutUint32(routeTypeLocal)),
	}
}

func stateNew() []expr.Any {
	return append([]expr.Any{&expr.Ct{Key: expr.CtKeySTATE, Register: 1}}, maskedBits(expr.CtStateBitNEW, expr.CmpOpNeq)...)
}

// dnatted compares the connection's DNAT flag with zero.
func dnatted(op expr.CmpOp) []expr.Any {
	return append([]expr.Any{&expr.Ct{Key: expr.CtKeySTATUS, Register: 1}}, maskedBits(statusDNAT, op)...)
}

// maskedBits compares the masked register with zero: Neq means set.
func maskedBits(mask uint32, op expr.CmpOp) []expr.Any {
	zero := make([]byte, 4)
	return []expr.Any{
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binary.NativeEndian.AppendUint32(nil, mask), Xor: zero},
		compare(op, zero),
	}
}

func compare(op expr.CmpOp, data []byte) expr.Any {
	return &expr.Cmp{Op: op, Register: 1, Data: data}
}

func network(offset, length, register uint32) expr.Any {
	return &expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: length}
}

func destinationAddress(register uint32) expr.Any { return network(offsetDestination, 4, register) }

func protocol(register uint32) expr.Any {
	return &expr.Meta{Key: expr.MetaKeyL4PROTO, Register: register}
}

func destinationPort(register uint32) expr.Any {
	return &expr.Payload{DestRegister: register, Base: expr.PayloadBaseTransportHeader, Offset: offsetPort, Len: 2}
}

// dnat rewrites the destination to what the map has for the key that the given
// expressions load. Registers of 4 bytes begin at 8, so 1 is 8 to 11: the key's
// parts go to 1, 9 and 10, and the map's answer to 1 (address) and 9 (port).
func (t table) dnat(ports *nftables.Set, key ...expr.Any) []expr.Any {
	return rule(isIPv4(), key, []expr.Any{
		&expr.Lookup{SourceRegister: 1, DestRegister: 1, IsDestRegSet: true, SetName: ports.Name, SetID: ports.ID},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4,
			RegAddrMin: 1, RegAddrMax: 1, RegProtoMin: 9, RegProtoMax: 9, Specified: true},
	})
}

func jumpPublish() []expr.Any {
	return []expr.Any{&expr.Verdict{Kind: expr.VerdictJump, Chain: "publish"}}
}

func masquerade() []expr.Any { return []expr.Any{&expr.Masq{}} }

func drop() []expr.Any { return []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}} }
