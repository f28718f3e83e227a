package netsetup

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// tableName is the one table of all networks of cocker.
const tableName = "cocker"

// table is the handle of everything in the nft table: fixed names, and no state
// but what the kernel has. testdata/table.golden shows it as nft prints it.
type table struct {
	*nftables.Table
	bridges  *nftables.Set // interface names of the networks' bridges
	inside   *nftables.Set // each bridge . itself
	isolated *nftables.Set // the bridges of isolated networks
	internal *nftables.Set // the bridges of internal networks
	loopback *nftables.Set // ::1 if ports can be reached there, see loopback6
	v4, v6   familySets
}

// familySets are the sets of one family.
type familySets struct {
	family       family
	subnets      *nftables.Set // of the networks
	ports        *nftables.Set // protocol . port -> address . port, on every address of the host
	addressPorts *nftables.Set // host address . protocol . port -> address . port
}

// The maps take timeouts for the sake of expire, in elements.go.
func newTable() table {
	t := table{Table: &nftables.Table{Name: tableName, Family: nftables.TableFamilyINet}}
	t.bridges = t.names(1, "bridges", nftables.TypeIFName)
	t.inside = t.names(2, "inside", nftables.TypeIFName, nftables.TypeIFName)
	t.isolated = t.names(3, "isolated", nftables.TypeIFName)
	t.internal = t.names(4, "internal", nftables.TypeIFName)
	t.loopback = &nftables.Set{Table: t.Table, ID: 5, Name: "loopback6", KeyType: nftables.TypeIP6Addr}
	t.v4 = t.familySets(6, ipv4)
	t.v6 = t.familySets(9, ipv6)
	return t
}

// names is a set of interface names.
func (t table) names(id uint32, name string, parts ...nftables.SetDatatype) *nftables.Set {
	return &nftables.Set{Table: t.Table, ID: id, Name: name, KeyType: joined(parts...), Concatenation: len(parts) > 1,
		KeyByteOrder: binaryutil.NativeEndian} // nft prints an empty name else
}

func (t table) familySets(id uint32, f family) familySets {
	target := joined(f.address, nftables.TypeInetService)
	return familySets{
		family:  f,
		subnets: &nftables.Set{Table: t.Table, ID: id, Name: "subnets" + f.suffix, KeyType: f.address, Interval: true},
		ports: &nftables.Set{Table: t.Table, ID: id + 1, Name: "ports" + f.suffix, IsMap: true, HasTimeout: true, Concatenation: true,
			KeyType: joined(nftables.TypeInetProto, nftables.TypeInetService), DataType: target},
		addressPorts: &nftables.Set{Table: t.Table, ID: id + 2, Name: "address_ports" + f.suffix, IsMap: true, HasTimeout: true, Concatenation: true,
			KeyType: joined(f.address, nftables.TypeInetProto, nftables.TypeInetService), DataType: target},
	}
}

func joined(parts ...nftables.SetDatatype) nftables.SetDatatype {
	if len(parts) == 1 {
		return parts[0]
	}
	return nftables.MustConcatSetType(parts...)
}

func (t table) sets() []*nftables.Set {
	return []*nftables.Set{t.bridges, t.inside, t.isolated, t.internal, t.loopback,
		t.v4.subnets, t.v4.ports, t.v4.addressPorts, t.v6.subnets, t.v6.ports, t.v6.addressPorts}
}

// publishChain is what the others jump to.
const publishChain = "publish"

// baseChain is a chain of the table and the rules it has, in order. Only publish
// has no hook.
type baseChain struct {
	name     string
	kind     nftables.ChainType
	hook     *nftables.ChainHook
	priority *nftables.ChainPriority
	rules    [][]expr.Any
}

// chains is the whole of the rules; their number does not depend on the number
// of containers, ports or networks.
func (t table) chains() []baseChain {
	in, out := expr.MetaKeyIIFNAME, expr.MetaKeyOIFNAME
	both := []familySets{t.v4, t.v6}
	var publish, guard, prerouting, output, postrouting [][]expr.Any
	for _, f := range both {
		publish = append(publish,
			f.dnat(f.addressPorts, f.destination(1), protocol(f.word()), destinationPort(f.word()+1)),
			f.dnat(f.ports, protocol(1), destinationPort(9)))
		// Before connection tracking: neither can a container send to the
		// host's loopback, nor pretend to be it. The kernel sees to that itself for
		// ::1, but after the table where br_netfilter is loaded.
		guard = append(guard,
			rule(t.bridge(in), f.is(), f.loopback(offsetSource, expr.CmpOpEq), drop()),
			rule(t.bridge(in), f.is(), f.loopback(offsetDestination, expr.CmpOpEq), drop()))
		// Not for 127.0.0.0/8: a packet from outside with such a destination
		// would be rewritten before routing could refuse it as martian.
		prerouting = append(prerouting, rule(f.is(), f.loopback(offsetDestination, expr.CmpOpNeq), toHost(), jumpPublish()))
		postrouting = append(postrouting,
			// container -> outside
			rule(t.notBridge(out), f.is(), f.inSubnets(offsetSource), masquerade()),
			// container -> port that the host publishes for a container: the
			// answer must come back through the host, which rewrites it
			rule(t.bridge(out), f.is(), f.inSubnets(offsetSource), f.inSubnets(offsetDestination),
				dnatted(expr.CmpOpNeq), masquerade()))
	}
	output = append(output,
		rule(t.v4.is(), toHost(), jumpPublish()),
		rule(t.v6.is(), t.v6.loopback(offsetDestination, expr.CmpOpNeq), toHost(), jumpPublish()),
		rule(t.v6.is(), []expr.Any{t.v6.destination(1), lookup(t.loopback)}, jumpPublish()))
	for _, f := range both { // host -> 127.0.0.1:published
		postrouting = append(postrouting, rule(t.bridge(out), f.is(), f.loopback(offsetSource, expr.CmpOpEq), masquerade()))
	}
	return []baseChain{
		{name: publishChain, rules: publish},
		{"guard", nftables.ChainTypeFilter, nftables.ChainHookPrerouting, nftables.ChainPriorityRaw, guard},
		{"forward", nftables.ChainTypeFilter, nftables.ChainHookForward, nftables.ChainPriorityFilter, [][]expr.Any{
			rule(t.sameBridge(), accept()),
			rule(t.interfaceIn(in, t.internal), drop()),
			rule(t.interfaceIn(out, t.internal), drop()),
			rule(t.interfaceIn(in, t.isolated), t.bridge(out), drop()),
			rule(t.bridge(in), t.interfaceIn(out, t.isolated), drop()),
			// A neighbour that routes 10.88.0.0/16 to this host must not get at what
			// is not published, or is published on 127.0.0.1 only.
			rule(t.notBridge(in), t.bridge(out), stateNew(), dnatted(expr.CmpOpEq), drop()),
		}},
		{"prerouting", nftables.ChainTypeNAT, nftables.ChainHookPrerouting, nftables.ChainPriorityNATDest, prerouting},
		{"output", nftables.ChainTypeNAT, nftables.ChainHookOutput, nftables.ChainPriorityNATDest, output},
		{"postrouting", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource, postrouting},
	}
}

// chainSize is how many rules a chain of the table has.
type chainSize struct {
	name  string
	rules int
}

// chainSizes are those of chains, for each start: to make the rules takes as long as to ask
// for them.
func chainSizes() [6]chainSize {
	return [...]chainSize{{publishChain, 4}, {"guard", 4}, {"forward", 6}, {"prerouting", 2}, {"output", 3}, {"postrouting", 6}}
}

// ensure adds to the batch what makes the table as it has to be. What exists
// stays, the elements of the maps above all; the rules are written anew, so they
// are right whatever was there. All in one transaction: no packet meets a
// half-made table.
func (t table) ensure(batch *nftables.Conn, n Network) error {
	batch.AddTable(t.Table)
	for _, set := range t.sets() {
		if err := batch.AddSet(set, nil); err != nil {
			return err
		}
	}
	batch.FlushSet(t.loopback)
	if loopback6() == nil {
		if err := batch.SetAddElements(t.loopback, []nftables.SetElement{{Key: netip.IPv6Loopback().AsSlice()}}); err != nil {
			return err
		}
	}
	for _, p := range t.elementsOf(n) {
		if err := batch.SetAddElements(p.set, p.elements); err != nil {
			return err
		}
	}
	for _, c := range t.chains() {
		chain := batch.AddChain(&nftables.Chain{Name: c.name, Table: t.Table,
			Type: c.kind, Hooknum: c.hook, Priority: c.priority, Policy: policy(c.hook)})
		batch.FlushChain(chain)
		for _, exprs := range c.rules {
			batch.AddRule(&nftables.Rule{Table: t.Table, Chain: chain, Exprs: exprs})
		}
	}
	return nil
}

// policy is accept: the table adds to the host's own rules and never cuts off
// what is not cocker's.
func policy(hook *nftables.ChainHook) *nftables.ChainPolicy {
	if hook == nil {
		return nil
	}
	accept := nftables.ChainPolicyAccept
	return &accept
}

// membership is what a network has in one set.
type membership struct {
	set      *nftables.Set
	elements []nftables.SetElement
}

// elementsOf is all of the network in the sets.
func (t table) elementsOf(n Network) []membership {
	name := interfaceName(n.Link)
	one := []nftables.SetElement{{Key: name}}
	all := []membership{{t.bridges, one}, {t.inside, []nftables.SetElement{{Key: slices.Concat(name, name)}}}}
	if n.Isolated {
		all = append(all, membership{t.isolated, one})
	}
	if n.Internal {
		all = append(all, membership{t.internal, one})
	}
	if n.V4.valid() {
		all = append(all, membership{t.v4.subnets, subnetElements(n.V4)})
	}
	if n.V6.valid() {
		all = append(all, membership{t.v6.subnets, subnetElements(n.V6)})
	}
	return all
}

// dropStaleSubnets deletes the subnets of which the host has no address, other than those
// of n: of networks that were given another subnet while they were up.
func (t table) dropStaleSubnets(conn *nftables.Conn, n ...Network) error {
	known, err := addressesOf(nil)
	if err != nil {
		return err
	}
	for _, network := range n {
		for _, s := range network.subnets() {
			known = append(known, s.Prefix)
		}
	}
	isKnown := map[netip.Addr]bool{}
	for _, prefix := range known {
		isKnown[prefix.Masked().Addr()] = true
	}
	for _, set := range []*nftables.Set{t.v4.subnets, t.v6.subnets} {
		elements, err := conn.GetSetElements(set)
		if err != nil {
			return fmt.Errorf("list set %s: %w", set.Name, err)
		}
		stale := intervals(elements, func(first netip.Addr) bool { return !isKnown[first] })
		if len(stale) == 0 {
			continue
		}
		err = conn.SetDeleteElements(set, stale)
		if err = errors.Join(err, conn.Flush()); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("remove old subnets from set %s: %w", set.Name, err)
		}
	}
	return nil
}

// intervals are both elements of each interval whose first address is wanted. The kernel
// lists beginnings and ends in any order.
func intervals(elements []nftables.SetElement, wanted func(first netip.Addr) bool) (found []nftables.SetElement) {
	slices.SortFunc(elements, func(a, b nftables.SetElement) int {
		if order := bytes.Compare(a.Key, b.Key); order != 0 || a.IntervalEnd == b.IntervalEnd {
			return order
		}
		if a.IntervalEnd { // of the interval before
			return -1
		}
		return 1
	})
	open := false
	for _, e := range elements {
		if !e.IntervalEnd {
			first, ok := netip.AddrFromSlice(e.Key)
			open = ok && wanted(first)
		}
		if open {
			found = append(found, nftables.SetElement{Key: e.Key, IntervalEnd: e.IntervalEnd})
		}
		if e.IntervalEnd {
			open = false
		}
	}
	return found
}

// interfaceName is a name as the kernel compares it: all of IFNAMSIZ, so that
// cocker0 does not match cocker01.
func interfaceName(name string) []byte {
	return append([]byte(name), make([]byte, maxInterfaceName+1-len(name))...)
}

func subnetElements(s Subnet) []nftables.SetElement {
	first, next := s.Prefix.Addr(), s.end().Next()
	return []nftables.SetElement{{Key: first.AsSlice()}, {Key: next.AsSlice(), IntervalEnd: true}}
}

func networkOrder(port uint16) []byte { return binaryutil.BigEndian.PutUint16(port) }
