package netsetup

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"
)

// checkForeign finds chains of others that do not let through what containers send to the
// outside, or ask the name server. A packet has to pass the chains of all tables (nft(8),
// "verdict statement": accept ends one base chain only), so that no rule of ours can help.
func checkForeign(n Network) (found []Finding, err error) {
	conn, err := nftables.New()
	if err != nil {
		return nil, fmt.Errorf("open nftables: %w", err)
	}
	chains, err := conn.ListChains()
	if err != nil {
		return nil, fmt.Errorf("list chains: %w", err)
	}
	for _, c := range chains {
		if c.Hooknum == nil || c.Table.Name == tableName || !concerns(c.Table, n) {
			continue
		}
		query := *c.Hooknum == *nftables.ChainHookInput && !n.NoDNS
		if *c.Hooknum != *nftables.ChainHookForward && !query {
			continue
		}
		w := walk{conn: conn, table: c.Table, network: n, query: query, chains: map[string]bool{}}
		end, err := w.chain(c.Name)
		if err != nil {
			return found, err
		}
		if end == goesOn && c.Policy != nil && *c.Policy == nftables.ChainPolicyDrop {
			w.dropping, end = c.Name, drops
		}
		if end == drops {
			found = append(found, droppedBy(c, w.dropping, n, query))
		}
	}
	return found, nil
}

func concerns(t *nftables.Table, n Network) bool {
	switch t.Family {
	case nftables.TableFamilyINet:
		return true
	case nftables.TableFamilyIPv4:
		return n.V4.valid()
	case nftables.TableFamilyIPv6:
		return n.V6.valid()
	}
	return false
}

// walk follows a new connection from a container to the outside, or a query to the name
// server at the gateway's address, through the chains of a table. Rules with a condition that
// cannot be judged from here, such as a port or an address of the outside, are passed by: what
// is asked is what becomes of a connection that nothing special is said about.
type walk struct {
	conn     *nftables.Conn
	table    *nftables.Table
	network  Network
	query    bool
	chains   map[string]bool // that it is in
	dropping string          // the chain of the rule that drops
}

// outcome is what a rule or a chain does with the connection.
type outcome int

const (
	goesOn outcome = iota
	accepts
	drops
	returns
)

func (w *walk) chain(name string) (outcome, error) {
	if w.chains[name] {
		return goesOn, nil
	}
	w.chains[name] = true
	defer delete(w.chains, name)
	rules, err := w.conn.GetRules(w.table, &nftables.Chain{Name: name, Table: w.table})
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return goesOn, fmt.Errorf("list rules of table %s: %w", w.table.Name, err)
	}
	for _, r := range rules {
		end, err := w.rule(r.Exprs)
		if err != nil {
			return goesOn, err
		}
		switch end {
		case drops:
			if w.dropping == "" {
				w.dropping = name
			}
			return drops, nil
		case accepts:
			return accepts, nil
		case returns:
			return goesOn, nil
		}
	}
	return goesOn, nil
}

func (w *walk) rule(exprs []expr.Any) (outcome, error) {
	var loaded fact
	for _, e := range exprs {
		switch e := e.(type) {
		case *expr.Verdict:
			return w.verdict(e)
		case *expr.Reject:
			return drops, nil
		case *expr.Target:
			if e.Name == "REJECT" {
				return drops, nil
			}
		case *expr.Counter, *expr.Log:
		case *expr.Cmp:
			if !loaded.compare(e) {
				return goesOn, nil
			}
		case *expr.Lookup:
			holds, err := w.lookup(loaded, e)
			if err != nil || !holds {
				return goesOn, err
			}
		case *expr.Match:
			if !w.match(e) {
				return goesOn, nil
			}
		default:
			var known bool
			if loaded, known = w.load(loaded, e); !known {
				return goesOn, nil
			}
		}
	}
	return goesOn, nil
}

func (w *walk) verdict(v *expr.Verdict) (outcome, error) {
	switch v.Kind {
	case expr.VerdictAccept:
		return accepts, nil
	case expr.VerdictDrop:
		return drops, nil
	case expr.VerdictReturn:
		return returns, nil
	case expr.VerdictJump:
		return w.chain(v.Chain)
	case expr.VerdictGoto:
		end, err := w.chain(v.Chain)
		if end == goesOn {
			end = returns
		}
		return end, err
	}
	return goesOn, nil
}

// fact is a value of the connection's, as a rule loads it into a register. Of the link that
// it leaves by is only known that it is none of cocker's bridges, of the source address
// that it is of the network's subnet.
type fact struct {
	value  []byte
	out    bool
	source netip.Prefix
	mask   []byte
}

func (w *walk) load(loaded fact, e expr.Any) (fact, bool) {
	switch e := e.(type) {
	case *expr.Meta:
		switch e.Key {
		case expr.MetaKeyIIFNAME:
			return fact{value: interfaceName(w.network.Link)}, !e.SourceRegister
		case expr.MetaKeyOIFNAME:
			return fact{value: interfaceName(w.network.Link), out: true}, !e.SourceRegister && !w.query
		case expr.MetaKeyNFPROTO:
			family := byte(unix.NFPROTO_IPV4)
			if !w.network.V4.valid() {
				family = unix.NFPROTO_IPV6
			}
			return fact{value: []byte{family}}, true
		case expr.MetaKeyL4PROTO:
			return fact{value: []byte{w.protocol()}}, true
		}
	case *expr.Ct:
		switch e.Key {
		case expr.CtKeySTATE:
			return fact{value: binary.NativeEndian.AppendUint32(nil, expr.CtStateBitNEW)}, true
		case expr.CtKeySTATUS: // neither seen before nor sent elsewhere
			return fact{value: make([]byte, 4)}, true
		}
	case *expr.Fib: // "fib daddr type", which has the kernel's RTN_ numbers
		local := w.query && e.ResultADDRTYPE && e.FlagDADDR && !e.FlagSADDR
		return fact{value: binary.NativeEndian.AppendUint32(nil, unix.RTN_LOCAL)}, local
	case *expr.Payload:
		if e.Base == expr.PayloadBaseTransportHeader && e.Offset == offsetPort && e.Len == 2 {
			return fact{value: binary.BigEndian.AppendUint16(nil, namesPort)}, w.query
		}
		ip4 := e.Base == expr.PayloadBaseNetworkHeader && e.Offset == ipv4.offsets[offsetSource] && e.Len <= ipv4.length
		return fact{source: w.network.V4.Prefix}, ip4 && w.network.V4.valid() && w.table.Family != nftables.TableFamilyIPv6
	case *expr.Bitwise:
		if loaded.source.IsValid() {
			loaded.mask = e.Mask
			return loaded, true
		}
		if len(e.Mask) != len(loaded.value) || len(loaded.value) == 0 {
			return fact{}, false
		}
		masked := make([]byte, len(e.Mask))
		for i := range masked {
			masked[i] = loaded.value[i] & e.Mask[i]
		}
		return fact{value: masked}, true
	}
	return fact{}, false
}

// compare tells whether the fact fits; of what is not known, it does not.
func (f fact) compare(c *expr.Cmp) bool {
	switch {
	case c.Op != expr.CmpOpEq && c.Op != expr.CmpOpNeq:
		return false
	case f.source.IsValid():
		wanted, ok := netip.AddrFromSlice(append(bytes.Clone(c.Data), make([]byte, max(0, 4-len(c.Data)))...))
		bits := len(c.Data) * 8
		for i := range f.mask {
			if f.mask[i] == 0 {
				bits = min(bits, i*8)
			}
		}
		inside := ok && bits <= f.source.Bits() && netip.PrefixFrom(wanted, bits).Contains(f.source.Addr())
		return inside == (c.Op == expr.CmpOpEq)
	}
	same := len(c.Data) > 0 && bytes.HasPrefix(f.value, c.Data) // "cocker*" is a shorter one
	if f.out && !same {
		return true // it may well leave there
	}
	return same == (c.Op == expr.CmpOpEq)
}

// lookup: the sets of such rules are as a rule unnamed, { established, related }.
func (w *walk) lookup(f fact, e *expr.Lookup) (bool, error) {
	if f.value == nil || f.out || e.IsDestRegSet {
		return false, nil
	}
	set, err := w.conn.GetSetByName(w.table, e.SetName)
	if err != nil {
		return false, fmt.Errorf("look up set %s of table %s: %w", e.SetName, w.table.Name, err)
	}
	if set.IsMap || set.Interval {
		return false, nil
	}
	elements, err := w.conn.GetSetElements(set)
	if err != nil {
		return false, fmt.Errorf("list set %s of table %s: %w", e.SetName, w.table.Name, err)
	}
	for _, element := range elements {
		if bytes.Equal(element.Key, f.value) {
			return !e.Invert, nil
		}
	}
	return e.Invert, nil
}

// namesPort is that of a name server, RFC 1035 4.2.
const namesPort = 53

const (
	// XT_CONNTRACK_STATE_BIT(IP_CT_NEW) and XT_CONNTRACK_STATE of linux/netfilter/xt_conntrack.h
	xtStateNew   = 1 << 3
	xtMatchState = 1
	// XT_ADDRTYPE_INVERT_DEST of linux/netfilter/xt_addrtype.h
	xtInvertDestination = 1 << 1
)

func (w *walk) protocol() byte {
	if w.query {
		return unix.IPPROTO_UDP
	}
	return unix.IPPROTO_TCP
}

// match judges what iptables-nft has no expression of nftables for.
func (w *walk) match(m *expr.Match) bool {
	switch info := m.Info.(type) {
	case *xt.Udp:
		return w.query && info.InvFlags == 0 && info.SrcPorts == [2]uint16{0, math.MaxUint16} &&
			info.DstPorts[0] <= namesPort && namesPort <= info.DstPorts[1]
	case *xt.AddrTypeV1:
		local := info.Dest&uint16(xt.AddrTypeLocal) != 0
		return w.query && info.Source == 0 && local == (info.Flags&xtInvertDestination == 0)
	}
	return isNew(m)
}

// isNew: of the extensions of iptables-nft those say nothing about a connection that begins
// that compare its state with others.
func isNew(m *expr.Match) bool {
	if m.Name == "comment" {
		return true
	}
	info, ok := m.Info.(*xt.ConntrackMtinfo3)
	return m.Name == "conntrack" && ok && info.MatchFlags == xtMatchState && info.InvertFlags == 0 && info.StateMask&xtStateNew != 0
}

// droppedBy says how the firewall that a chain is of can be told. Docker and ufw have a
// place for this, and leave alone what is in it.
func droppedBy(c *nftables.Chain, dropping string, n Network, query bool) Finding {
	families := map[nftables.TableFamily]string{nftables.TableFamilyINet: "inet", nftables.TableFamilyIPv4: "ip", nftables.TableFamilyIPv6: "ip6"}
	family := families[c.Table.Family]
	by := ""
	if dropping != c.Name {
		by = ", by a rule of " + dropping + ","
	}
	chain := fmt.Sprintf("the chain %s of the nft table %s %s, which is not cocker's, drops", c.Name, family, c.Table.Name)
	finding := Finding{Problem: fmt.Sprintf("%s what is forwarded%s and no rule of it accepts: the containers reach nothing outside", chain, by)}
	if query {
		finding.Problem = fmt.Sprintf("%s queries to cocker's name server%s and no rule of it accepts: the containers resolve no names", chain, by)
	}
	switch {
	case strings.HasPrefix(c.Table.Name, "firewalld"):
		finding.Advice = fmt.Sprintf("firewalld reads cocker's zone, /usr/lib/firewalld/zones/cocker.xml, when it starts or reloads: firewall-cmd --reload; if it has, it must not have %[1]s in another: firewall-cmd --get-zone-of-interface=%[1]s", n.Link)
		return finding
	case query:
		finding.Advice = fmt.Sprintf("let the firewall that it is of accept what comes from %s to port 53, such as: nft insert rule %s %s %s iifname %[1]s udp dport 53 accept, and the same with tcp; with ufw by \"ufw allow in on %[1]s to any port 53\"",
			n.Link, family, c.Table.Name, c.Name)
		return finding
	}
	finding.Advice = fmt.Sprintf("let the firewall that it is of accept what comes from and goes to %s, such as: nft insert rule %s %s %s iifname %[1]s accept, and the same with oifname; with Docker in the chain DOCKER-USER, with ufw by \"ufw route allow in on %[1]s\"",
		n.Link, family, c.Table.Name, c.Name)
	return finding
}
