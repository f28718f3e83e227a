package dns

import (
	"encoding/binary"
	"net/netip"
	"strings"

	"github.com/miekg/dns"

	"github.com/cocker/cocker/internal/names"
)

const (
	// ttl is short: a container that is started again may have another address.
	ttl = 2
	// maxUDP is what passes through any network in one piece (DNS Flag Day 2020).
	maxUDP = 1232
	// minUDP is what everybody takes, RFC 1035 section 4.2.1.
	minUDP = 512
	// maxQuery bounds what is read of a question; a name has at most 255 bytes.
	maxQuery = 4096
)

// parse reads a question. It returns nil for what gets no answer at all: what is no
// question, so that no two servers can be made to talk to each other, and what is
// broken.
func parse(packet []byte) *dns.Msg {
	const headerSize, responseBit = 12, 1 << 7
	if len(packet) < headerSize || len(packet) > maxQuery || packet[2]&responseBit != 0 {
		return nil
	}
	// A question, and at most OPT and TSIG: a header that promises more makes no work.
	count := func(offset int) int { return int(binary.BigEndian.Uint16(packet[offset:])) }
	if count(4) > 1 || count(6) > 0 || count(8) > 0 || count(10) > 2 {
		return nil
	}
	query := new(dns.Msg)
	if query.Unpack(packet) != nil || len(query.Question) != count(4) || len(query.Extra) != count(10) {
		return nil
	}
	return query
}

// refuse gives the answer to a question that is none for us, or nil.
func refuse(query *dns.Msg) *dns.Msg {
	opt := query.IsEdns0()
	switch {
	case query.Opcode != dns.OpcodeQuery:
		return reply(query, dns.RcodeNotImplemented)
	case len(query.Question) != 1:
		return reply(query, dns.RcodeFormatError)
	case opt != nil && opt.Version() != 0: // RFC 6891 section 6.1.3
		return reply(query, dns.RcodeBadVers)
	case query.Question[0].Qclass != dns.ClassINET, query.Question[0].Qtype == dns.TypeAXFR, query.Question[0].Qtype == dns.TypeIXFR:
		return reply(query, dns.RcodeRefused)
	}
	return nil
}

// reply is an answer without records yet.
func reply(query *dns.Msg, rcode int) *dns.Msg {
	answer := new(dns.Msg)
	answer.SetRcode(query, rcode)
	answer.RecursionAvailable = true
	answer.Compress = true
	if query.IsEdns0() != nil {
		answer.SetEdns0(maxUDP, false)
	}
	return answer
}

// answer answers a question of one of the zone's containers; nil: the host's resolvers
// are to be asked. Several addresses of one name come in another order each turn.
//
// A negative answer has no SOA record and is thus not kept by those who hear it (RFC
// 2308 section 5): the container may be there a moment later.
func answer(zone *names.Zone, n *Names, query *dns.Msg, turn uint32) *dns.Msg {
	question := query.Question[0]
	name := canonical(question.Name)
	if address, ok := reverse(name); ok && covers(zone, address) {
		return answerAddress(zone, n, query, address)
	}
	network := canonical(zone.Network)
	base, ours := strings.CutSuffix(name, "."+network)
	found := n.find(base)
	switch {
	case len(found) > 0:
		return answerName(query, found, turn)
	case name == network:
		return local(query, dns.RcodeSuccess) // it has names below it, RFC 8020
	case ours || zone.Internal:
		return local(query, dns.RcodeNameError)
	}
	return nil
}

// local is an answer that nobody knows better.
func local(query *dns.Msg, rcode int) *dns.Msg {
	answer := reply(query, rcode)
	answer.Authoritative = true
	return answer
}

// answerName gives the addresses of those who have a name; none of the type that is
// asked for is NODATA, as the name exists (RFC 2308 section 2.2).
func answerName(query *dns.Msg, found []member, turn uint32) *dns.Msg {
	answer := local(query, dns.RcodeSuccess)
	question := query.Question[0]
	var records []dns.RR
	seen := map[netip.Addr]bool{} // the containers of a pod share one
	for _, m := range found {
		for _, address := range m.addresses {
			if record := record(question, address); record != nil && !seen[address] {
				records = append(records, record)
			}
			seen[address] = true
		}
	}
	if len(records) > 0 {
		first := int(turn % uint32(len(records)))
		answer.Answer = append(records[first:], records[:first]...)
	}
	return answer
}

// record is the record of an address, or nil if another type is asked for. It has the
// name as it was asked for, upper case and all.
func record(question dns.Question, address netip.Addr) dns.RR {
	header := dns.RR_Header{Name: question.Name, Class: dns.ClassINET, Ttl: ttl}
	any := question.Qtype == dns.TypeANY
	switch {
	case address.Is4() && (any || question.Qtype == dns.TypeA):
		header.Rrtype = dns.TypeA
		return &dns.A{Hdr: header, A: address.AsSlice()}
	case address.Is6() && (any || question.Qtype == dns.TypeAAAA):
		header.Rrtype = dns.TypeAAAA
		return &dns.AAAA{Hdr: header, AAAA: address.AsSlice()}
	}
	return nil
}

// answerAddress gives the name of who has an address of the zone.
func answerAddress(zone *names.Zone, n *Names, query *dns.Msg, address netip.Addr) *dns.Msg {
	m, ok := n.at(address)
	if !ok {
		return local(query, dns.RcodeNameError)
	}
	answer := local(query, dns.RcodeSuccess)
	question := query.Question[0]
	if question.Qtype == dns.TypePTR || question.Qtype == dns.TypeANY {
		header := dns.RR_Header{Name: question.Name, Rrtype: dns.TypePTR, Class: dns.ClassINET, Ttl: ttl}
		answer.Answer = []dns.RR{&dns.PTR{Hdr: header, Ptr: m.container + "." + zone.Network + "."}}
	}
	return answer
}

// covers tells whether an address is in one of the zone's subnets.
func covers(zone *names.Zone, address netip.Addr) bool {
	for _, subnet := range zone.Subnets {
		if subnet.Contains(address) {
			return true
		}
	}
	return false
}

// reverse reads the name of an address: RFC 1035 section 3.5, RFC 3596 section 2.5.
func reverse(name string) (netip.Addr, bool) {
	if labels, ok := strings.CutSuffix(name, ".in-addr.arpa"); ok {
		return reversed(strings.Split(labels, "."), 4, 1, ".")
	}
	if labels, ok := strings.CutSuffix(name, ".ip6.arpa"); ok {
		return reversed(strings.Split(labels, "."), 32, 4, ":")
	}
	return netip.Addr{}, false
}

// reversed joins labels from the last to the first, with a separator after each group.
func reversed(labels []string, count, group int, separator string) (netip.Addr, bool) {
	if len(labels) != count {
		return netip.Addr{}, false
	}
	var text strings.Builder
	for i := range labels {
		if i > 0 && i%group == 0 {
			text.WriteString(separator)
		}
		text.WriteString(labels[len(labels)-1-i])
	}
	address, err := netip.ParseAddr(text.String())
	return address, err == nil && address.Zone() == ""
}

// sizeLimit is how long an answer by UDP may be.
func sizeLimit(query *dns.Msg) int {
	opt := query.IsEdns0()
	if opt == nil {
		return minUDP
	}
	return max(minUDP, min(maxUDP, int(opt.UDPSize())))
}

// pack gives the answer's bytes: those that fit, and the mark that there are more.
func pack(answer *dns.Msg, limit int) []byte {
	answer.Truncate(limit)
	packet, err := answer.Pack()
	if err != nil {
		return nil
	}
	return packet
}
