package dns

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/cocker/cocker/internal/names"
)

func testZone() *names.Zone {
	return &names.Zone{
		Network:   "shop",
		Addresses: []netip.Addr{netip.MustParseAddr("10.9.0.1"), netip.MustParseAddr("fd00:9::1")},
		Subnets:   []netip.Prefix{netip.MustParsePrefix("10.9.0.0/16"), netip.MustParsePrefix("fd00:9::/64")},
	}
}

func testJoin(container string, leader int, aliases string, addresses ...string) join {
	j := join{member{container: container, leader: leader}, strings.Fields(aliases)}
	for _, address := range addresses {
		j.addresses = append(j.addresses, netip.MustParseAddr(address))
	}
	return j
}

const endedLeader = 99

func testNames() *Names {
	return newNames("shop", []join{
		testJoin("web", 1, "www front", "10.9.0.5", "fd00:9::5"),
		testJoin("web2", 2, "front web", "10.9.0.6"),
		testJoin("front-end.example", 3, "", "10.9.0.7"),
		testJoin("ended", endedLeader, "front", "10.9.0.8"),
		testJoin("podded1", 4, "pod", "10.9.0.9"),
		testJoin("podded2", 5, "pod", "10.9.0.9"),
	}, func(leader int) bool { return leader != endedLeader })
}

func question(name string, kind uint16) *dns.Msg { return new(dns.Msg).SetQuestion(name, kind) }

// says is an answer in one line: code, and what the records have.
func says(answer *dns.Msg) string {
	if answer == nil {
		return "forward"
	}
	text := []string{dns.RcodeToString[answer.Rcode]}
	for _, record := range answer.Answer {
		fields := strings.Fields(record.String())
		text = append(text, fields[3]+" "+fields[4])
	}
	return strings.Join(text, " ")
}

func TestAnswer(t *testing.T) {
	for _, test := range []struct {
		name string
		kind uint16
		want string
	}{
		{"web.", dns.TypeA, "NOERROR A 10.9.0.5"},
		{"web.", dns.TypeAAAA, "NOERROR AAAA fd00:9::5"},
		{"web.", dns.TypeANY, "NOERROR A 10.9.0.5 AAAA fd00:9::5"},
		{"WeB.", dns.TypeA, "NOERROR A 10.9.0.5"},
		{"web.shop.", dns.TypeA, "NOERROR A 10.9.0.5"},
		{"wEb.sHop.", dns.TypeA, "NOERROR A 10.9.0.5"},
		{"www.", dns.TypeA, "NOERROR A 10.9.0.5"},
		{"www.shop.", dns.TypeAAAA, "NOERROR AAAA fd00:9::5"},
		{"front.", dns.TypeA, "NOERROR A 10.9.0.5 A 10.9.0.6"},
		{"front-end.example.", dns.TypeA, "NOERROR A 10.9.0.7"},
		{"front-end.example.shop.", dns.TypeA, "NOERROR A 10.9.0.7"},
		{"pod.", dns.TypeA, "NOERROR A 10.9.0.9"},
		// Names that exist, without the type that is asked for.
		{"web2.", dns.TypeAAAA, "NOERROR"},
		{"web.", dns.TypeMX, "NOERROR"},
		{"web2.shop.", dns.TypeHTTPS, "NOERROR"},
		{"shop.", dns.TypeA, "NOERROR"},
		// Names that do not.
		{"nobody.shop.", dns.TypeA, "NXDOMAIN"},
		{"web.web.shop.", dns.TypeA, "NXDOMAIN"},
		{"ended.shop.", dns.TypeA, "NXDOMAIN"},
		// Others' names.
		{"nobody.", dns.TypeA, "forward"},
		{"ended.", dns.TypeA, "forward"},
		{"web.example.", dns.TypeA, "forward"},
		{"webshop.", dns.TypeA, "forward"},
		{".", dns.TypeNS, "forward"},
		// Addresses.
		{"5.0.9.10.in-addr.arpa.", dns.TypePTR, "NOERROR PTR web.shop."},
		{"5.0.9.10.IN-ADDR.arpa.", dns.TypePTR, "NOERROR PTR web.shop."},
		{"5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.9.0.0.0.0.0.d.f.ip6.arpa.", dns.TypePTR, "NOERROR PTR web.shop."},
		{"6.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.9.0.0.0.0.0.d.f.ip6.arpa.", dns.TypePTR, "NXDOMAIN"},
		{"9.0.9.10.in-addr.arpa.", dns.TypePTR, "NOERROR PTR podded1.shop."},
		{"5.0.9.10.in-addr.arpa.", dns.TypeA, "NOERROR"},
		{"8.0.9.10.in-addr.arpa.", dns.TypePTR, "NXDOMAIN"},
		{"200.0.9.10.in-addr.arpa.", dns.TypePTR, "NXDOMAIN"},
		{"5.0.10.10.in-addr.arpa.", dns.TypePTR, "forward"},
		{"0.9.10.in-addr.arpa.", dns.TypePTR, "forward"},
		{"x.0.9.10.in-addr.arpa.", dns.TypePTR, "forward"},
		{"256.0.9.10.in-addr.arpa.", dns.TypePTR, "forward"},
	} {
		got := answer(testZone(), testNames(), question(test.name, test.kind), 0)
		if says(got) != test.want {
			t.Errorf("%s %s: %s, want %s", test.name, dns.TypeToString[test.kind], says(got), test.want)
		}
		if got == nil {
			continue
		}
		if !got.Authoritative || !got.Response || !got.RecursionAvailable || got.Question[0].Name != test.name {
			t.Errorf("%s: %+v", test.name, got.MsgHdr)
		}
		for _, record := range got.Answer {
			if record.Header().Name != test.name || record.Header().Ttl > 5 {
				t.Errorf("%s: %s", test.name, record)
			}
		}
	}
}

func TestInternalNetworkAsksNobody(t *testing.T) {
	zone := testZone()
	zone.Internal = true
	for name, want := range map[string]string{"web.": "NOERROR A 10.9.0.5", "example.com.": "NXDOMAIN", "nobody.": "NXDOMAIN"} {
		if got := says(answer(zone, testNames(), question(name, dns.TypeA), 0)); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

func TestTurns(t *testing.T) {
	first := map[string]int{}
	for turn := range uint32(10) {
		got := answer(testZone(), testNames(), question("front.", dns.TypeA), turn)
		if len(got.Answer) != 2 {
			t.Fatal(got)
		}
		first[got.Answer[0].(*dns.A).A.String()]++
	}
	if first["10.9.0.5"] != 5 || first["10.9.0.6"] != 5 {
		t.Errorf("first were %v", first)
	}
}

func TestRefuse(t *testing.T) {
	edns := func(version uint8) *dns.Msg {
		m := question("web.", dns.TypeA).SetEdns0(4096, true)
		m.IsEdns0().SetVersion(version)
		return m
	}
	update := question("web.", dns.TypeA)
	update.Opcode = dns.OpcodeUpdate
	chaos := question("version.bind.", dns.TypeTXT)
	chaos.Question[0].Qclass = dns.ClassCHAOS
	empty := question("web.", dns.TypeA)
	empty.Question = nil
	for want, query := range map[string]*dns.Msg{
		"NOTIMP": update, "REFUSED": chaos, "FORMERR": empty, "BADVERS": edns(1), "forward": edns(0),
	} {
		if got := says(refuse(query)); got != want && !(want == "BADVERS" && got == "BADSIG") { // both are 16
			t.Errorf("%s: %s", want, got)
		}
	}
	if got := says(refuse(question("shop.", dns.TypeAXFR))); got != "REFUSED" {
		t.Error(got)
	}
	if got := reply(edns(0), dns.RcodeSuccess).IsEdns0(); got == nil || got.UDPSize() != maxUDP {
		t.Errorf("EDNS is answered with %v", got)
	}
	if got := reply(question("web.", dns.TypeA), dns.RcodeSuccess).IsEdns0(); got != nil {
		t.Error("EDNS without being asked")
	}
}

func TestParseDrops(t *testing.T) {
	good, err := question("web.", dns.TypeA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	change := func(offset int, value byte) []byte {
		packet := slices.Clone(good)
		packet[offset] = value
		return packet
	}
	for name, packet := range map[string][]byte{
		"nothing": {}, "half a header": good[:6], "half a question": good[:len(good)-3],
		"a response": change(2, 0x81), "two questions": change(5, 2), "answers": change(7, 1), "authority": change(9, 1),
		"more than there is": change(11, 2), "ten records": change(11, 10), "a loop": append(slices.Clone(good[:12]), 0xc0, 12, 0, 1, 0, 1),
		"too much": append(slices.Clone(good), make([]byte, maxQuery)...),
	} {
		if got := parse(packet); got != nil {
			t.Errorf("%s: %v", name, got)
		}
	}
	if parse(good) == nil {
		t.Error("a question is dropped")
	}
}

// What does not fit is cut, and marked so.
func TestTruncation(t *testing.T) {
	var many []join
	for i := range 200 {
		many = append(many, testJoin(fmt.Sprintf("c%d", i), 1, "many", fmt.Sprintf("10.9.1.%d", i)))
	}
	n := newNames("shop", many, func(int) bool { return true })
	for _, test := range []struct {
		size  uint16
		limit int
	}{{0, 512}, {100, 512}, {1000, 1000}, {4096, maxUDP}} {
		query := question("many.", dns.TypeA)
		if test.size > 0 {
			query.SetEdns0(test.size, false)
		}
		packet := pack(answer(testZone(), n, query, 0), sizeLimit(query))
		var got dns.Msg
		if err := got.Unpack(packet); err != nil || len(packet) > test.limit || !got.Truncated || len(got.Answer) == 0 {
			t.Errorf("size %d: %d bytes, %v, %v", test.size, len(packet), got.MsgHdr, err)
		}
		whole := new(dns.Msg)
		if err := whole.Unpack(pack(answer(testZone(), n, query, 0), dns.MaxMsgSize)); err != nil || whole.Truncated || len(whole.Answer) != 200 {
			t.Errorf("by TCP: %v, %d records, %v", whole.MsgHdr, len(whole.Answer), err)
		}
	}
}

// Whatever arrives: no panic, and no answer that is longer than it may be or that answers
// something else.
func FuzzPacket(f *testing.F) {
	for _, query := range []*dns.Msg{
		question("web.", dns.TypeA), question("front.shop.", dns.TypeANY).SetEdns0(512, true), question("5.0.9.10.in-addr.arpa.", dns.TypePTR),
	} {
		packet, err := query.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(packet)
	}
	zone, n := testZone(), testNames()
	f.Fuzz(func(t *testing.T, packet []byte) {
		query := parse(packet)
		if query == nil {
			return
		}
		got := refuse(query)
		if got == nil {
			if got = answer(zone, n, query, 1); got == nil {
				if _, err := outgoing(query); err != nil {
					return
				}
				got = reply(query, dns.RcodeServerFailure)
			}
		}
		limit := sizeLimit(query)
		out := pack(got, limit)
		if len(out) > limit {
			t.Errorf("%d bytes, at most %d", len(out), limit)
		}
		var again dns.Msg
		if out != nil && (again.Unpack(out) != nil || again.Id != query.Id || !again.Response) {
			t.Errorf("%x is answered with %x", packet, out)
		}
	})
}

// What a resolver sends is looked at no further than its question.
func FuzzMatches(f *testing.F) {
	query := question("web.example.", dns.TypeA)
	asked, err := query.Pack()
	if err != nil {
		f.Fatal(err)
	}
	answer, err := new(dns.Msg).SetReply(query).Pack()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(answer)
	f.Fuzz(func(t *testing.T, answer []byte) { matches(answer, asked, query.Question[0]) })
}
