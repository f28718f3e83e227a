package dns

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// answerTime is more than a resolver on this machine takes.
const answerTime = 20 * time.Second

// askOne asks and waits for what is heard.
func askOne(t *testing.T, p *ports, server netip.AddrPort, name string, wait time.Duration) (*dns.Msg, error) {
	t.Helper()
	query := question(name, dns.TypeA)
	packet, err := outgoing(query)
	if err != nil {
		t.Fatal(err)
	}
	type heard struct {
		answer *dns.Msg
		err    error
	}
	result := make(chan heard, 1)
	p.ask(server, packet, query.Question[0], time.Now().Add(wait), func(packet []byte, err error) {
		answer := new(dns.Msg)
		if err == nil {
			err = answer.Unpack(packet)
		}
		result <- heard{answer, err}
	})
	got := <-result
	return got.answer, got.err
}

// Who does not see the questions cannot foresee port and id of the next: no port has many
// of them, the next is seldom of the same port, and ids do not repeat or count.
func TestPortsAndIDsAreUnforeseeable(t *testing.T) {
	type seen struct {
		port int
		id   uint16
	}
	said := make(chan seen, 1)
	server := resolver(t, "127.0.0.1:0", func(w dns.ResponseWriter, query *dns.Msg) {
		said <- seen{w.RemoteAddr().(*net.UDPAddr).Port, query.Id}
		w.WriteMsg(new(dns.Msg).SetReply(query))
	})
	p := newPorts()
	defer p.close()
	const questions = 3000
	var asked []seen
	for range questions {
		if _, err := askOne(t, p, server, "www.example.", answerTime); err != nil {
			t.Fatal(err)
		}
		asked = append(asked, <-said)
	}
	uses, samePort, nextID := map[int]int{}, 0, 0
	ids := map[uint16]bool{}
	for i, s := range asked {
		uses[s.port]++
		ids[s.id] = true
		if i > 0 && s.port == asked[i-1].port {
			samePort++
		}
		if i > 0 && s.id-asked[i-1].id < 16 {
			nextID++
		}
	}
	for port, n := range uses {
		if n > 3*portUses { // the kernel may pick one again
			t.Errorf("%d questions are from port %d", n, port)
		}
	}
	// On average 94 of 3000 are from the same port, 1 has an id that is near, 68 have one again.
	if len(uses) < questions/portUses || samePort > 200 || nextID > 30 || len(ids) < questions-200 {
		t.Errorf("%d ports, %d times the one before, %d ids, %d near the one before", len(uses), samePort, len(ids), nextID)
	}
}

// Many questions are on their way at once, of few ports, and answered in any order: each gets
// its own answer.
func TestAnswersFindTheirQuestions(t *testing.T) {
	const questions = 200
	var mutex sync.Mutex
	var later []func()
	server := resolver(t, "127.0.0.1:0", func(w dns.ResponseWriter, query *dns.Msg) {
		mutex.Lock()
		defer mutex.Unlock()
		later = append(later, func() {
			answer := new(dns.Msg).SetReply(query)
			record, _ := dns.NewRR(query.Question[0].Name + " 300 IN TXT " + query.Question[0].Name)
			answer.Answer = []dns.RR{record}
			w.WriteMsg(answer)
		})
		if len(later) == questions {
			rand.Shuffle(questions, func(i, j int) { later[i], later[j] = later[j], later[i] })
			for _, answer := range later {
				answer()
			}
		}
	})
	p := newPorts()
	defer p.close()
	var all sync.WaitGroup
	for i := range questions {
		all.Go(func() {
			name := fmt.Sprintf("h%d.example.", i)
			got, err := askOne(t, p, server, name, answerTime)
			if err != nil || len(got.Answer) != 1 || got.Answer[0].(*dns.TXT).Txt[0] != name {
				t.Errorf("%s: %v, %v", name, got, err)
			}
		})
	}
	all.Wait()
}

// openPorts are those that a resolver is asked from.
func (p *ports) open(server netip.AddrPort) (found []*port) {
	for _, port := range p.of[server] {
		if port != nil {
			found = append(found, port)
		}
	}
	return found
}

func TestPortsComeAndGo(t *testing.T) {
	answers := resolver(t, "127.0.0.1:0", func(w dns.ResponseWriter, query *dns.Msg) { w.WriteMsg(new(dns.Msg).SetReply(query)) })
	silent := resolver(t, "127.0.0.1:0", func(dns.ResponseWriter, *dns.Msg) {})
	nobody := netip.MustParseAddrPort("127.0.0.1:1")
	p := newPorts()
	closed := func(port *port) bool {
		_, err := port.conn.Write([]byte{0})
		return errors.Is(err, net.ErrClosed)
	}

	// One that is old is not asked from, and closed for it.
	for range 10 * portsEach {
		if _, err := askOne(t, p, answers, "www.example.", answerTime); err != nil {
			t.Fatal(err)
		}
	}
	old := p.open(answers)
	if len(old) < portsEach/2 || len(old) > portsEach {
		t.Fatalf("%d ports", len(old))
	}
	uses := map[*port]int{}
	for _, port := range old {
		port.opened = time.Now().Add(-portAge - time.Millisecond)
		uses[port] = port.uses
	}
	for range 100 * portsEach {
		if _, err := askOne(t, p, answers, "www.example.", answerTime); err != nil {
			t.Fatal(err)
		}
	}
	for _, port := range old {
		if !closed(port) || port.uses != uses[port] {
			t.Errorf("%v is still open, or was asked from", port.conn.LocalAddr())
		}
	}

	// Nobody waits any longer than he wants to, or for who is not there.
	if _, err := askOne(t, p, silent, "www.example.", time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("of who is silent: %v", err)
	}
	if _, err := askOne(t, p, nobody, "www.example.", answerTime); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("of nobody: %v", err)
	}
	for range 10 * portsEach { // each port is refused in turn, and another is there
		if _, err := askOne(t, p, nobody, "www.example.", answerTime); err == nil || errors.Is(err, net.ErrClosed) {
			t.Errorf("of nobody: %v", err)
		}
	}

	last := append(append(p.open(answers), p.open(silent)...), p.open(nobody)...)
	p.close()
	for _, port := range last {
		if !closed(port) {
			t.Errorf("at the end %v is still open", port.conn.LocalAddr())
		}
	}
}

// One that nobody asks from any more closes by itself, but not while somebody waits.
func TestPortThatIsRetired(t *testing.T) {
	release := make(chan struct{})
	server := resolver(t, "127.0.0.1:0", func(w dns.ResponseWriter, query *dns.Msg) {
		<-release
		w.WriteMsg(new(dns.Msg).SetReply(query))
	})
	p := newPorts()
	query := question("www.example.", dns.TypeA)
	packet, err := outgoing(query)
	if err != nil {
		t.Fatal(err)
	}
	result := make(chan error, 1)
	p.ask(server, packet, query.Question[0], time.Now().Add(answerTime), func(_ []byte, err error) { result <- err })
	port := p.open(server)[0]
	p.close()
	close(release)
	if err := <-result; err != nil {
		t.Error(err)
	}
	if _, err := port.conn.Write([]byte{0}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("it is still open: %v", err)
	}
}
