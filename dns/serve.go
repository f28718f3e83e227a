package dns

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"

	"github.com/cocker/cocker/internal/names"
	"github.com/cocker/cocker/internal/paths"
)

const (
	// streamIdle is how long a TCP connection may stay open between two questions.
	streamIdle = 5 * time.Second
	// streamEnd is for the questions of connections that are open when the server ends.
	streamEnd = time.Second
	dnsPort   = 53
)

// server answers on the sockets of one network.
type server struct {
	zone    *names.Zone
	world   *world
	servers *servers
	ports   *ports
	waiting *limit
	streams *limit
	turn    atomic.Uint32
	last    atomic.Int64 // when something came in, in nanoseconds
	ending  atomic.Bool
	work    sync.WaitGroup
}

// Serve answers on the sockets until nothing has come in for the given time. What comes
// later stays in the sockets, which are systemd's, and systemd starts the next server
// for it: no question is lost.
func Serve(zone *names.Zone, files []*os.File, idle time.Duration) error {
	s := newServer(zone, newWorld(paths.Running, zone.Network), &servers{files: resolvConfs, port: dnsPort, own: zone.Addresses})
	sockets, err := open(files)
	if err != nil {
		return err
	}
	s.serve(sockets, idle)
	return nil
}

func newServer(zone *names.Zone, w *world, hosts *servers) *server {
	return &server{zone: zone, world: w, servers: hosts, ports: newPorts(), waiting: newLimit(maxWaiting, maxWaitingEach), streams: newLimit(maxStreams, maxStreamsEach)}
}

// sockets are what a server listens on.
type sockets struct {
	packets   []*net.UDPConn
	listeners []*net.TCPListener
}

// open tells the sockets apart.
func open(files []*os.File) (s sockets, err error) {
	for _, file := range files {
		if conn, err := net.FilePacketConn(file); err == nil {
			if udp, ok := conn.(*net.UDPConn); ok {
				s.packets = append(s.packets, udp)
				continue
			}
		}
		listener, err := net.FileListener(file)
		if err != nil {
			return s, fmt.Errorf("socket %s: %w", file.Name(), err)
		}
		tcp, ok := listener.(*net.TCPListener)
		if !ok {
			return s, fmt.Errorf("socket %s is neither UDP nor TCP", file.Name())
		}
		s.listeners = append(s.listeners, tcp)
	}
	if len(s.packets)+len(s.listeners) == 0 {
		return s, errors.New("no sockets: start it by its socket unit")
	}
	return s, nil
}

func (s *server) serve(sockets sockets, idle time.Duration) {
	s.touch()
	for _, conn := range sockets.packets {
		s.work.Go(func() { s.servePackets(conn) })
	}
	for _, listener := range sockets.listeners {
		s.work.Go(func() { s.serveStreams(listener) })
	}
	s.untilIdle(idle)
	s.ending.Store(true)
	past := time.Unix(1, 0)
	for _, conn := range sockets.packets {
		_ = conn.SetReadDeadline(past)
	}
	for _, listener := range sockets.listeners {
		_ = listener.SetDeadline(past)
	}
	s.work.Wait()
	s.ports.close()
}

func (s *server) touch() { s.last.Store(time.Now().UnixNano()) }

// untilIdle returns when nothing has come in for the given time and nothing is in work.
func (s *server) untilIdle(idle time.Duration) {
	for {
		rest := idle - time.Since(time.Unix(0, s.last.Load()))
		switch {
		case rest > 0:
			time.Sleep(rest)
		case s.waiting.empty() && s.streams.empty():
			return
		default:
			time.Sleep(idle / 4)
		}
	}
}

// servePackets answers what comes by UDP. What can be answered at once is, by this one
// goroutine: it costs less than another goroutine.
func (s *server) servePackets(conn *net.UDPConn) {
	buffer := make([]byte, maxQuery+1)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buffer)
		if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // of an answer that nobody took, ICMP tells
		}
		s.touch()
		s.packet(conn, buffer[:n], from)
	}
}

func (s *server) packet(conn *net.UDPConn, packet []byte, from netip.AddrPort) {
	client := from.Addr().Unmap()
	if !covers(s.zone, client) || from.Port() == 0 {
		return
	}
	query := parse(packet)
	if query == nil {
		return
	}
	send := func(packet []byte) {
		if len(packet) > 0 {
			_, _ = conn.WriteToUDPAddrPort(packet, from)
		}
	}
	if answer := s.local(query, client); answer != nil {
		send(pack(answer, sizeLimit(query)))
		return
	}
	if !s.waiting.enter(client) {
		send(pack(reply(query, dns.RcodeServerFailure), minUDP))
		return
	}
	s.work.Add(1)
	s.forward(query, false, func(packet []byte) {
		send(packet)
		s.waiting.leave(client)
		s.work.Done()
	})
}

// local answers what needs nobody else; nil: the host's resolvers are to be asked.
func (s *server) local(query *dns.Msg, client netip.Addr) *dns.Msg {
	if answer := refuse(query); answer != nil {
		return answer
	}
	turn := s.turn.Add(1)
	own := answer(s.zone, s.world.current(), query, turn)
	if own != nil && own.Rcode == dns.RcodeSuccess {
		return own
	}
	for _, n := range s.world.further(client) {
		if found := n.findHere(canonical(query.Question[0].Name)); len(found) > 0 {
			return answerName(query, found, turn)
		}
	}
	return own
}

// forward asks the host's resolvers. What does not fit is cut. give is called once, with what
// holds until it returns.
func (s *server) forward(query *dns.Msg, tcp bool, give func([]byte)) {
	limit := dns.MaxMsgSize
	if !tcp {
		limit = sizeLimit(query)
	}
	forward(s.ports, s.servers.list(), query, tcp, func(packet []byte, err error) {
		switch {
		case err != nil:
			give(pack(reply(query, dns.RcodeServerFailure), limit))
		case len(packet) > limit: // the resolver did not keep to what was asked for
			answer := reply(query, dns.RcodeSuccess)
			answer.Truncated = true
			give(pack(answer, limit))
		default:
			give(packet)
		}
	})
}

func (s *server) serveStreams(listener *net.TCPListener) {
	for {
		conn, err := listener.AcceptTCP()
		if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(10 * time.Millisecond) // no descriptor is left, most likely
			continue
		}
		s.touch()
		client := conn.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
		if !covers(s.zone, client) || !s.streams.enter(client) {
			conn.Close()
			continue
		}
		s.work.Go(func() {
			defer s.streams.leave(client)
			defer conn.Close()
			s.stream(conn, client)
		})
	}
}

// stream answers the questions of one connection, one after the other.
func (s *server) stream(conn *net.TCPConn, client netip.Addr) {
	for {
		wait := streamIdle
		if s.ending.Load() {
			wait = streamEnd
		}
		if conn.SetReadDeadline(time.Now().Add(wait)) != nil {
			return
		}
		packet, err := readStream(conn, maxQuery)
		if err != nil {
			return
		}
		s.touch()
		query := parse(packet)
		if query == nil {
			return
		}
		answer := s.streamAnswer(query, client)
		if conn.SetWriteDeadline(time.Now().Add(streamIdle)) != nil || writeStream(conn, answer) != nil {
			return
		}
	}
}

func (s *server) streamAnswer(query *dns.Msg, client netip.Addr) []byte {
	if answer := s.local(query, client); answer != nil {
		return pack(answer, dns.MaxMsgSize)
	}
	if !s.waiting.enter(client) {
		return pack(reply(query, dns.RcodeServerFailure), dns.MaxMsgSize)
	}
	defer s.waiting.leave(client)
	answer := make(chan []byte, 1)
	s.forward(query, true, func(packet []byte) { answer <- slices.Clone(packet) })
	return <-answer
}
