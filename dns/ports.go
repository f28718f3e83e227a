package dns

import (
	"crypto/rand"
	"encoding/binary"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// A socket for each question is a third of what its answer costs, so that some questions share
// one. Who wants to answer in a resolver's name, and does not see the question, has to guess port
// and id as before (RFC 5452 section 4.5): which port is next is as random as which ports there
// are, and one that was found out is soon another.
const (
	// portsEach is how many sockets a resolver is asked from.
	portsEach = 32
	// portUses is how many questions leave from one, and portAge for how long. It is less than
	// tryTime: a question that is asked again never leaves from the same, whose address may be
	// one that the host does not have any more.
	portUses = 32
	portAge  = time.Second
)

// ports are the sockets that the host's resolvers are asked from.
type ports struct {
	mutex sync.Mutex
	of    map[netip.AddrPort]*[portsEach]*port
}

func newPorts() *ports { return &ports{of: map[netip.AddrPort]*[portsEach]*port{}} }

// ask sends a question to a resolver, with an id that nobody can foresee. heard is called once:
// with the answer, which holds until it returns, or with why there is none.
func (p *ports) ask(server netip.AddrPort, packet []byte, question dns.Question, deadline time.Time, heard func([]byte, error)) {
	// A copy: the answer may come, and the next be asked, before the write has returned.
	w := &waiter{packet: slices.Clone(packet), question: question, heard: heard}
	port, err := p.enter(server, w, deadline)
	if err != nil {
		heard(nil, err)
		return
	}
	if _, err := port.conn.Write(w.packet); err != nil { // of an earlier one that was refused, too
		port.end(err)
	}
}

// enter picks the port that a question leaves from, and gives it its id.
func (p *ports) enter(server netip.AddrPort, w *waiter, deadline time.Time) (*port, error) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	slots := p.of[server]
	if slots == nil {
		slots = new([portsEach]*port)
		p.of[server] = slots
	}
	var random [1]byte
	rand.Read(random[:]) // never fails
	slot := &slots[int(random[0])%portsEach]
	if *slot != nil {
		if (*slot).enter(w, deadline) {
			return *slot, nil
		}
		(*slot).retire()
	}
	opened, err := openPort(server)
	if err != nil {
		*slot = nil
		return nil, err
	}
	*slot = opened
	opened.enter(w, deadline)
	return opened, nil
}

// close closes them when no question is on its way.
func (p *ports) close() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	for _, slots := range p.of {
		for _, port := range slots {
			if port != nil {
				port.retire()
			}
		}
	}
	clear(p.of)
}

// waiter is a question on its way.
type waiter struct {
	packet   []byte // as it was sent
	question dns.Question
	heard    func([]byte, error)
	timer    *time.Timer
}

// port is a socket that is connected to a resolver.
type port struct {
	conn   *net.UDPConn
	opened time.Time

	mutex   sync.Mutex
	uses    int
	retired bool
	ended   bool
	waiting map[uint16]*waiter // by id
}

func openPort(server netip.AddrPort) (*port, error) {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(server))
	if err != nil {
		return nil, err
	}
	p := &port{conn: conn, opened: time.Now(), waiting: map[uint16]*waiter{}}
	// One that is not used any more goes by itself: then no question waits.
	if err := conn.SetReadDeadline(p.opened.Add(portAge + 2*tryTime)); err != nil {
		conn.Close()
		return nil, err
	}
	go p.read()
	return p, nil
}

// enter takes a question, unless it is time for another port.
func (p *port) enter(w *waiter, deadline time.Time) bool {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.ended || p.uses >= portUses || time.Since(p.opened) > portAge {
		return false
	}
	p.uses++
	id := p.freeID()
	binary.BigEndian.PutUint16(w.packet, id)
	p.waiting[id] = w
	w.timer = time.AfterFunc(time.Until(deadline), func() {
		if p.leave(id, w) {
			w.heard(nil, os.ErrDeadlineExceeded)
		}
	})
	return true
}

func (p *port) freeID() uint16 {
	for {
		var random [2]byte
		rand.Read(random[:])
		id := binary.BigEndian.Uint16(random[:])
		if p.waiting[id] == nil {
			return id
		}
	}
}

// leave tells whether the question was still waiting.
func (p *port) leave(id uint16, w *waiter) bool {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.waiting[id] != w {
		return false
	}
	delete(p.waiting, id)
	p.closeUnused()
	return true
}

// retire closes the port as soon as nobody waits for an answer.
func (p *port) retire() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.retired = true
	p.closeUnused()
}

func (p *port) closeUnused() {
	if p.retired && len(p.waiting) == 0 {
		p.conn.Close()
	}
}

// read takes what comes. The socket is connected, so an answer is the resolver's, or was
// guessed by somebody who can send in its name: the right one is waited for.
func (p *port) read() {
	buffer := make([]byte, maxQuery)
	for {
		n, err := p.conn.Read(buffer)
		if err != nil {
			p.end(err)
			return
		}
		if w := p.take(buffer[:n]); w != nil {
			w.timer.Stop()
			w.heard(buffer[:n], nil)
		}
	}
}

// take returns who waits for this answer, if anybody does.
func (p *port) take(answer []byte) *waiter {
	if len(answer) < 2 {
		return nil
	}
	id := binary.BigEndian.Uint16(answer)
	p.mutex.Lock()
	w := p.waiting[id]
	p.mutex.Unlock()
	if w == nil || !matches(answer, w.packet, w.question) || !p.leave(id, w) {
		return nil
	}
	return w
}

// end closes the port, as when nobody listens at its other end.
func (p *port) end(err error) {
	p.mutex.Lock()
	waiting := maps.Clone(p.waiting)
	clear(p.waiting)
	p.ended = true
	p.mutex.Unlock()
	p.conn.Close()
	for _, w := range waiting {
		w.timer.Stop()
		w.heard(nil, err)
	}
}
