package dns

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
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

// forward asks the servers, one after the other, and returns the answer of the first
// that has one, as it came but for its id. By UDP it may be cut short: then who asked
// asks again by TCP, and so does this.
func forward(servers []netip.AddrPort, query *dns.Msg, tcp bool) ([]byte, error) {
	if len(servers) == 0 {
		return nil, errNoServer
	}
	packet, id, err := outgoing(query)
	if err != nil {
		return nil, err
	}
	end := time.Now().Add(forwardTime)
	var last []byte
	for i := 0; time.Now().Before(end); i++ {
		if i >= len(servers) && last != nil {
			break // all are there, and none knows
		}
		started := time.Now()
		answer, askErr := ask(servers[i%len(servers)], packet, query.Question[0], tcp, earlier(end, started.Add(tryTime)))
		if askErr != nil {
			err = askErr
			if i >= len(servers)-1 { // an error may come at once
				time.Sleep(min(time.Until(started.Add(tryTime)), time.Until(end)))
			}
			continue
		}
		binary.BigEndian.PutUint16(answer, id)
		if decisive(answer) {
			return answer, nil
		}
		last = answer
	}
	if last != nil {
		return last, nil
	}
	return nil, err
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
// what was understood, under an id that nobody can foresee. It returns the id of query.
func outgoing(query *dns.Msg) (packet []byte, id uint16, err error) {
	var random [2]byte
	rand.Read(random[:]) // never fails
	out := new(dns.Msg)
	out.Id = binary.BigEndian.Uint16(random[:])
	out.RecursionDesired, out.CheckingDisabled, out.AuthenticatedData = query.RecursionDesired, query.CheckingDisabled, query.AuthenticatedData
	out.Question = query.Question
	if opt := query.IsEdns0(); opt != nil {
		out.SetEdns0(uint16(sizeLimit(query)), opt.Do())
	}
	packet, err = out.Pack()
	return packet, query.Id, err
}

// ask asks one server, from a port that the kernel picks at random.
func ask(server netip.AddrPort, packet []byte, question dns.Question, tcp bool, deadline time.Time) ([]byte, error) {
	answer, err := exchange("udp", server, packet, question, deadline)
	const truncatedBit = 1 << 1
	if err == nil && tcp && answer[2]&truncatedBit != 0 {
		return exchange("tcp", server, packet, question, deadline)
	}
	return answer, err
}

func exchange(network string, server netip.AddrPort, packet []byte, question dns.Question, deadline time.Time) ([]byte, error) {
	dialer := net.Dialer{Deadline: deadline}
	conn, err := dialer.Dial(network, server.String())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, err
	}
	if network == "tcp" {
		return exchangeStream(conn, packet, question)
	}
	if _, err := conn.Write(packet); err != nil {
		return nil, err
	}
	// The socket is connected, so the answer is the server's, or was guessed by somebody
	// who can send in its name: it is waited for until the right one comes.
	buffer := make([]byte, maxQuery)
	for {
		n, err := conn.Read(buffer)
		if err != nil {
			return nil, err
		}
		if matches(buffer[:n], packet, question) {
			return buffer[:n], nil
		}
	}
}

func exchangeStream(conn net.Conn, packet []byte, question dns.Question) ([]byte, error) {
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
