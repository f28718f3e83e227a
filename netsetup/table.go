package netsetup

import (
	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
)

// tableName is the one table of all networks of cocker.
const tableName = "cocker"

// table is the handle of everything in the nft table: fixed names, and no state
// but what the kernel has. testdata/table.golden shows it as nft prints it.
type table struct {
	*nftables.Table
	bridges      *nftables.Set // interface names of the networks' bridges
	subnets      *nftables.Set // IPv4 subnets of the networks
	ports        *nftables.Set // protocol . port -> address . port, on every address of the host
	addressPorts *nftables.Set // host address . protocol . port -> address . port
}

// The maps take timeouts for the sake of expire, in elements.go.
func newTable() table {
	t := &nftables.Table{Name: tableName, Family: nftables.TableFamilyINet}
	port := []nftables.SetDatatype{nftables.TypeInetProto, nftables.TypeInetService}
	target := nftables.MustConcatSetType(nftables.TypeIPAddr, nftables.TypeInetService)
	return table{
		Table: t,
		bridges: &nftables.Set{Table: t, ID: 1, Name: "bridges", KeyType: nftables.TypeIFName,
			KeyByteOrder: binaryutil.NativeEndian}, // nft prints an empty name else
		subnets: &nftables.Set{Table: t, ID: 2, Name: "subnets4", KeyType: nftables.TypeIPAddr, Interval: true},
		ports: &nftables.Set{Table: t, ID: 3, Name: "ports4", IsMap: true, HasTimeout: true, Concatenation: true,
			KeyType: nftables.MustConcatSetType(port...), DataType: target},
		addressPorts: &nftables.Set{Table: t, ID: 4, Name: "address_ports4", IsMap: true, HasTimeout: true, Concatenation: true,
			KeyType: nftables.MustConcatSetType(append([]nftables.SetDatatype{nftables.TypeIPAddr}, port...)...), DataType: target},
	}
}

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
	return []baseChain{
		{name: "publish", rules: [][]expr.Any{
			t.dnat(t.addressPorts, destinationAddress(1), protocol(9), destinationPort(10)),
			t.dnat(t.ports, protocol(1), destinationPort(9)),
		}},
		// Before connection tracking: neither can a container send to the
		// host's loopback, nor pretend to be it.
		{"guard", nftables.ChainTypeFilter, nftables.ChainHookPrerouting, nftables.ChainPriorityRaw, [][]expr.Any{
			rule(t.in(expr.MetaKeyIIFNAME), isIPv4(), loopback(offsetSource, expr.CmpOpEq), drop()),
			rule(t.in(expr.MetaKeyIIFNAME), isIPv4(), loopback(offsetDestination, expr.CmpOpEq), drop()),
		}},
		// A neighbour that routes 10.88.0.0/16 to this host must not get at what
		// is not published, or is published on 127.0.0.1 only.
		{"forward", nftables.ChainTypeFilter, nftables.ChainHookForward, nftables.ChainPriorityFilter, [][]expr.Any{
			rule(t.notIn(expr.MetaKeyIIFNAME), t.in(expr.MetaKeyOIFNAME), stateNew(), dnatted(expr.CmpOpEq), drop()),
		}},
		// Not for 127.0.0.0/8: a packet from outside with such a destination
		// would be rewritten before routing could refuse it as martian.
		{"prerouting", nftables.ChainTypeNAT, nftables.ChainHookPrerouting, nftables.ChainPriorityNATDest, [][]expr.Any{
			rule(isIPv4(), loopback(offsetDestination, expr.CmpOpNeq), toHost(), jumpPublish()),
		}},
		{"output", nftables.ChainTypeNAT, nftables.ChainHookOutput, nftables.ChainPriorityNATDest, [][]expr.Any{
			rule(toHost(), jumpPublish()),
		}},
		{"postrouting", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource, [][]expr.Any{
			// container -> outside
			rule(t.notIn(expr.MetaKeyOIFNAME), isIPv4(), t.inSubnets(offsetSource), masquerade()),
			// host -> 127.0.0.1:published
			rule(t.in(expr.MetaKeyOIFNAME), isIPv4(), loopback(offsetSource, expr.CmpOpEq), masquerade()),
			// container -> port that the host publishes for a container: the
			// answer must come back through the host, which rewrites it
			rule(t.in(expr.MetaKeyOIFNAME), isIPv4(), t.inSubnets(offsetSource), t.inSubnets(offsetDestination),
				dnatted(expr.CmpOpNeq), masquerade()),
		}},
	}
}

// ensure adds to the batch what makes the table as it has to be. What exists
// stays, the elements of the maps above all; the rules are written anew, so they
// are right whatever was there. All in one transaction: no packet meets a
// half-made table.
func (t table) ensure(batch *nftables.Conn, n Network) error {
	batch.AddTable(t.Table)
	elements := map[*nftables.Set][]nftables.SetElement{
		t.bridges: bridgeElements(n),
		t.subnets: subnetElements(n),
	}
	for _, set := range []*nftables.Set{t.bridges, t.subnets, t.ports, t.addressPorts} {
		if err := batch.AddSet(set, elements[set]); err != nil {
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

func bridgeElements(n Network) []nftables.SetElement {
	return []nftables.SetElement{{Key: interfaceName(n.Link)}}
}

// interfaceName is a name as the kernel compares it: all of IFNAMSIZ, so that
// cocker0 does not match cocker01.
func interfaceName(name string) []byte {
	return append([]byte(name), make([]byte, maxInterfaceName+1-len(name))...)
}

func subnetElements(n Network) []nftables.SetElement {
	first, next := n.V4.Prefix.Addr(), n.V4.end().Next()
	return []nftables.SetElement{{Key: first.AsSlice()}, {Key: next.AsSlice(), IntervalEnd: true}}
}

func networkOrder(port uint16) []byte { return binaryutil.BigEndian.PutUint16(port) }
