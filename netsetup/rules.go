package netsetup

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// family is what differs between IPv4 and IPv6 in a rule.
type family struct {
	suffix   string // of the names of its sets
	protocol byte   // NFPROTO_
	address  nftables.SetDatatype
	length   uint32 // of an address
	offsets  [2]uint32
	local    []byte // what an address of the loopback begins with
}

// Which address: the index into family.offsets.
const (
	offsetSource = iota
	offsetDestination
)

// The offsets are those in the headers, RFC 791 section 3.1 and RFC 8200 section 3.
var (
	ipv4 = family{"4", unix.NFPROTO_IPV4, nftables.TypeIPAddr, 4, [2]uint32{12, 16}, []byte{127}}
	ipv6 = family{"6", unix.NFPROTO_IPV6, nftables.TypeIP6Addr, 16, [2]uint32{8, 24}, netip.IPv6Loopback().AsSlice()}
)

// offsetPort is that of the destination port in the header of TCP, UDP and SCTP.
const offsetPort = 2

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

// bridge matches packets whose input or output interface is a bridge of cocker.
func (t table) bridge(key expr.MetaKey) []expr.Any { return t.interfaceIn(key, t.bridges) }

func (t table) notBridge(key expr.MetaKey) []expr.Any {
	return []expr.Any{&expr.Meta{Key: key, Register: 1},
		&expr.Lookup{SourceRegister: 1, SetName: t.bridges.Name, SetID: t.bridges.ID, Invert: true}}
}

func (t table) interfaceIn(key expr.MetaKey, set *nftables.Set) []expr.Any {
	return []expr.Any{&expr.Meta{Key: key, Register: 1}, lookup(set)}
}

// sameBridge matches packets that leave where they came from: between containers of
// one network. A name fills a register of 16 bytes.
func (t table) sameBridge() []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
		&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 2},
		lookup(t.inside),
	}
}

func lookup(set *nftables.Set) expr.Any {
	return &expr.Lookup{SourceRegister: 1, SetName: set.Name, SetID: set.ID}
}

func (f family) is() []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1}, compare(expr.CmpOpEq, []byte{f.protocol})}
}

// loopback compares an address with 127.0.0.0/8 or ::1.
func (f familySets) loopback(which int, op expr.CmpOp) []expr.Any {
	return []expr.Any{network(f.family.offsets[which], uint32(len(f.family.local)), 1), compare(op, f.family.local)}
}

func (f familySets) is() []expr.Any { return f.family.is() }

func (f familySets) inSubnets(which int) []expr.Any {
	return []expr.Any{network(f.family.offsets[which], f.family.length, 1), lookup(f.subnets)}
}

// destination loads the destination address.
func (f familySets) destination(register uint32) expr.Any {
	return network(f.family.offsets[offsetDestination], f.family.length, register)
}

// word is the register of 4 bytes that follows on an address in register 1, which is
// 8 to 11 in these.
func (f familySets) word() uint32 { return 8 + f.family.length/4 }

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

func protocol(register uint32) expr.Any {
	return &expr.Meta{Key: expr.MetaKeyL4PROTO, Register: register}
}

func destinationPort(register uint32) expr.Any {
	return &expr.Payload{DestRegister: register, Base: expr.PayloadBaseTransportHeader, Offset: offsetPort, Len: 2}
}

// dnat rewrites the destination to what the map has for the key that the given
// expressions load. Registers of 4 bytes begin at 8, so 1 is 8 to 11: the key's
// parts go to 1 and those that follow, and the map's answer to 1 (address) and the
// one after that (port).
func (f familySets) dnat(ports *nftables.Set, key ...expr.Any) []expr.Any {
	return rule(f.is(), key, []expr.Any{
		&expr.Lookup{SourceRegister: 1, DestRegister: 1, IsDestRegSet: true, SetName: ports.Name, SetID: ports.ID},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: uint32(f.family.protocol),
			RegAddrMin: 1, RegAddrMax: 1, RegProtoMin: f.word(), RegProtoMax: f.word(), Specified: true},
	})
}

func jumpPublish() []expr.Any {
	return []expr.Any{&expr.Verdict{Kind: expr.VerdictJump, Chain: publishChain}}
}

func masquerade() []expr.Any { return []expr.Any{&expr.Masq{}} }

func drop() []expr.Any { return []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}} }

// accept ends this chain alone; those of other tables still have their say.
func accept() []expr.Any { return []expr.Any{&expr.Verdict{Kind: expr.VerdictAccept}} }
