package dns

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

const (
	// tryTime is for one server to answer; then the next is asked, and the first again.
	tryTime = 1500 * time.Millisecond
	// forwardTime is for all tries: resolvers give up after 5 seconds (resolv.conf(5)).
	forwardTime = 4500 * time.Millisecond
)

var (
	errNoServer = errors.New("the host has no name server")
	errMismatch = errors.New("no answer to what was asked")
)

// forwarding is a question on its way to the servers, one after the other, until one has an
// answer. Nothing waits for it: each step is taken by who hears of the one before.
type forwarding struct {
	ports    *ports
	servers  []netip.AddrPort
	packet   []byte
	question dns.Question
	id       uint16 // that it came with
	tcp      bool
	end      time.Time
	done     func([]byte, error) // called once, with what holds until it returns

	try     int
	started time.Time // of the try
	last    []byte    // what a server said that does not know
}

// forward asks the servers for the answer of the first that has one, as it came but for its
// id. By UDP it may be cut short: then who asked asks again by TCP, and so does this.
func forward(p *ports, servers []netip.AddrPort, query *dns.Msg, tcp bool, done func([]byte, error)) {
	if len(servers) == 0 {
		done(nil, errNoServer)
		return
	}
	packet, err := outgoing(query)
	if err != nil {
		done(nil, err)
		return
	}
	f := &forwarding{ports: p, servers: servers, packet: packet, question: query.Question[0], id: query.Id, tcp: tcp, done: done}
	f.end = time.Now().Add(forwardTime)
	f.next(nil)
}

// next asks the server whose turn it is.
func (f *forwarding) next(err error) {
	f.started = time.Now()
	noneKnows := f.try >= len(f.servers) && f.last != nil
	switch {
	case !noneKnows && f.started.Before(f.end):
		f.ports.ask(f.server(), f.packet, f.question, f.deadline(), f.heard)
	case f.last != nil:
		f.finish(f.last)
	default:
		f.done(nil, err)
	}
}

func (f *forwarding) server() netip.AddrPort { return f.servers[f.try%len(f.servers)] }

func (f *forwarding) deadline() time.Time { return earlier(f.end, f.started.Add(tryTime)) }

// heard takes what has come by UDP.
func (f *forwarding) heard(answer []byte, err error) {
	const truncatedBit = 1 << 1
	if err == nil && f.tcp && answer[2]&truncatedBit != 0 {
		go func() { f.take(exchangeStream(f.server(), f.packet, f.question, f.deadline())) }()
		return
	}
	f.take(answer, err)
}

// take passes the answer on, or goes on without.
func (f *forwarding) take(answer []byte, err error) {
	if err == nil && decisive(answer) {
		f.finish(answer)
		return
	}
	f.try++
	if err != nil && f.try >= len(f.servers) { // an error may come at once
		time.AfterFunc(time.Until(f.deadline()), func() { f.next(err) })
		return
	}
	if err == nil {
		f.last = slices.Clone(answer)
	}
	f.next(err)
}

func (f *forwarding) finish(answer []byte) {
	binary.BigEndian.PutUint16(answer, f.id)
	f.done(answer, nil)
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// decisive tells whether a server knows; one that is out of order, or does not want to,
// is no reason not to ask the next.
func decisive(answer []byte) bool {
	switch int(answer[3] & 0x0f) {
	case dns.RcodeServerFailure, dns.RcodeRefused, dns.RcodeNotImplemented:
		return false
	}
	return true
}

// outgoing makes the question anew, so that nothing of what came in leaves with it but
// what was understood. Its id is that of the port that it leaves from.
func outgoing(query *dns.Msg) ([]byte, error) {
	out := new(dns.Msg)
	out.RecursionDesired, out.CheckingDisabled, out.AuthenticatedData = query.RecursionDesired, query.CheckingDisabled, query.AuthenticatedData
	out.Question = query.Question
	if opt := query.IsEdns0(); opt != nil {
		out.SetEdns0(uint16(sizeLimit(query)), opt.Do())
	}
	return out.Pack()
}

// exchangeStream asks by TCP, with an id of its own.
func exchangeStream(server netip.AddrPort, packet []byte, question dns.Question, deadline time.Time) ([]byte, error) {
	dialer := net.Dialer{Deadline: deadline}
	conn, err := dialer.Dial("tcp", server.String())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, err
	}
	packet = slices.Clone(packet)
	rand.Read(packet[:2]) // never fails
	if err := writeStream(conn, packet); err != nil {
		return nil, err
	}
	answer, err := readStream(conn, dns.MaxMsgSize)
	if err != nil {
		return nil, err
	}
	if !matches(answer, packet, question) {
		return nil, errMismatch
	}
	return answer, nil
}

// By TCP each message comes after its length, RFC 1035 section 4.2.2.
func writeStream(w io.Writer, packet []byte) error {
	_, err := w.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(packet))), packet...))
	return err
}

func readStream(r io.Reader, limit int) ([]byte, error) {
	var length [2]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, err
	}
	size := int(binary.BigEndian.Uint16(length[:]))
	if size > limit {
		return nil, errors.New("message too long")
	}
	packet := make([]byte, size)
	_, err := io.ReadFull(r, packet)
	return packet, err
}

// matches tells whether a packet is the answer to the question: RFC 5452 section 9.1.
// An error such as FORMERR may come without the question.
func matches(answer, asked []byte, question dns.Question) bool {
	const headerSize, responseBit = 12, 1 << 7
	if len(answer) < headerSize || answer[2]&responseBit == 0 || answer[0] != asked[0] || answer[1] != asked[1] {
		return false
	}
	if binary.BigEndian.Uint16(answer[4:]) == 0 {
		return answer[3]&0x0f != dns.RcodeSuccess
	}
	name, offset, err := dns.UnpackDomainName(answer, headerSize)
	if err != nil || offset+4 > len(answer) {
		return false
	}
	return strings.EqualFold(name, question.Name) &&
		binary.BigEndian.Uint16(answer[offset:]) == question.Qtype &&
		binary.BigEndian.Uint16(answer[offset+2:]) == question.Qclass
}
