package dns

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/cocker/cocker/internal/names"
)

// resolver is a name server outside, as a host has one: it answers what handle says.
func resolver(t testing.TB, address string, handle dns.HandlerFunc) netip.AddrPort {
	t.Helper()
	packets, err := net.ListenPacket("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", packets.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, server := range []*dns.Server{{PacketConn: packets, Handler: handle}, {Listener: listener, Handler: handle}} {
		started := make(chan struct{})
		server.NotifyStartedFunc = func() { close(started) }
		go server.ActivateAndServe()
		<-started
		t.Cleanup(func() { server.Shutdown() })
	}
	return netip.MustParseAddrPort(packets.LocalAddr().String())
}

// running is a server on loopback addresses, of which the test's questions come, too.
type runningServer struct {
	*server
	address string
	ended   chan struct{}
}

func serveHere(t testing.TB, idle time.Duration, hosts ...netip.AddrPort) *runningServer {
	t.Helper()
	return serveSubnet(t, "127.0.0.0/8", idle, hosts...)
}

func serveSubnet(t testing.TB, subnet string, idle time.Duration, hosts ...netip.AddrPort) *runningServer {
	t.Helper()
	dir := t.TempDir()
	put(t, dir, "web.json", `{"name": "web", "leader": 1, "joins": [{"network": "shop", "address": "127.0.0.5/8", "aliases": ["many"]}]}`)
	for i := range 100 {
		name := "c" + string(rune('a'+i/10)) + string(rune('a'+i%10))
		put(t, dir, name+".json", `{"name": "`+name+`", "leader": 1, "joins": [{"network": "shop", "address": "127.0.1.`+string(rune('0'+i%10))+`/8", "aliases": ["crowd"]}]}`)
	}
	zone := &names.Zone{Network: "shop", Subnets: []netip.Prefix{netip.MustParsePrefix(subnet)}}
	s := &runningServer{ended: make(chan struct{})}
	s.server = newServer(zone, newWorld(dir, "shop"), &servers{})
	s.servers.seen, s.servers.current = []version{}, hosts
	packets, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	s.address = packets.LocalAddr().String()
	listener, err := net.Listen("tcp4", s.address)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(s.ended)
		s.serve(sockets{[]*net.UDPConn{packets}, []*net.TCPListener{listener.(*net.TCPListener)}}, idle)
		packets.Close()
		listener.Close()
	}()
	t.Cleanup(func() {
		s.last.Store(0)
		<-s.ended
	})
	return s
}

func (s *runningServer) ask(t testing.TB, network string, query *dns.Msg) *dns.Msg {
	t.Helper()
	client := dns.Client{Net: network, Timeout: 20 * time.Second}
	got, _, err := client.Exchange(query, s.address)
	if err != nil {
		t.Fatalf("%s: %v", query.Question[0].Name, err)
	}
	return got
}

// testIdle is short enough for tests to end.
const testIdle = 50 * time.Millisecond

func TestServe(t *testing.T) {
	var asked atomic.Value
	outside := resolver(t, "127.0.0.1:0", func(w dns.ResponseWriter, query *dns.Msg) {
		asked.Store(query)
		got := new(dns.Msg).SetReply(query)
		alias, _ := dns.NewRR(query.Question[0].Name + " 300 IN CNAME real.example.")
		got.Answer = append(got.Answer, alias)
		for i := range 100 {
			record, _ := dns.NewRR("real.example. 300 IN AAAA 2001:db8::" + string(rune('1'+i%9)))
			got.Answer = append(got.Answer, record)
		}
		if w.LocalAddr().Network() == "udp" {
			got.Truncate(512)
		}
		w.WriteMsg(got)
	})
	s := serveHere(t, testIdle, outside)
	if got := says(s.ask(t, "udp", question("WEB.shop.", dns.TypeA))); got != "NOERROR A 127.0.0.5" {
		t.Error(got)
	}
	if got := s.ask(t, "udp", question("crowd.", dns.TypeA)); len(got.Answer) != 10 {
		t.Errorf("%d addresses", len(got.Answer))
	}
	query := question("WwW.example.", dns.TypeAAAA).SetEdns0(4096, true)
	query.CheckingDisabled = true
	got := s.ask(t, "udp", query)
	if !got.Truncated || got.Question[0].Name != "WwW.example." {
		t.Errorf("by UDP: %v", got)
	}
	sent := asked.Load().(*dns.Msg)
	if opt := sent.IsEdns0(); opt == nil || opt.UDPSize() != maxUDP || !opt.Do() || !sent.CheckingDisabled || !sent.RecursionDesired || sent.Id == query.Id {
		t.Errorf("the resolver was asked %v", sent)
	}
	got = s.ask(t, "tcp", query)
	if got.Truncated || len(got.Answer) != 101 || !strings.Contains(got.Answer[0].String(), "CNAME\treal.example.") {
		t.Errorf("by TCP: %v", got)
	}
	<-s.ended // by itself
}

func TestServersInTurn(t *testing.T) {
	code := func(rcode int) netip.AddrPort {
		return resolver(t, "127.0.0.1:0", func(w dns.ResponseWriter, query *dns.Msg) { w.WriteMsg(new(dns.Msg).SetRcode(query, rcode)) })
	}
	silent := resolver(t, "127.0.0.1:0", func(dns.ResponseWriter, *dns.Msg) {})
	liar := resolver(t, "127.0.0.1:0", func(w dns.ResponseWriter, query *dns.Msg) {
		wrong := new(dns.Msg).SetReply(query)
		wrong.Id++
		w.WriteMsg(wrong)
		other := new(dns.Msg).SetReply(query)
		other.Question[0].Name = "bank.example."
		w.WriteMsg(other)
		w.Write([]byte{1, 2, 3})
	})
	none := netip.MustParseAddrPort("127.0.0.1:1")
	known := code(dns.RcodeNameError)
	for name, test := range map[string]struct {
		servers []netip.AddrPort
		want    string
	}{
		"none":             {nil, "SERVFAIL"},
		"first":            {[]netip.AddrPort{known, silent}, "NXDOMAIN"},
		"second":           {[]netip.AddrPort{none, known}, "NXDOMAIN"},
		"after silence":    {[]netip.AddrPort{silent, known}, "NXDOMAIN"},
		"after a lie":      {[]netip.AddrPort{liar, known}, "NXDOMAIN"},
		"after refusal":    {[]netip.AddrPort{code(dns.RcodeRefused), known}, "NXDOMAIN"},
		"nobody knows":     {[]netip.AddrPort{code(dns.RcodeServerFailure), code(dns.RcodeRefused)}, "REFUSED"},
		"nobody is there":  {[]netip.AddrPort{none, silent}, "SERVFAIL"},
		"one that refuses": {[]netip.AddrPort{code(dns.RcodeRefused)}, "REFUSED"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serveHere(t, testIdle, test.servers...)
			start := time.Now()
			if got := says(s.ask(t, "udp", question("www.example.", dns.TypeA))); got != test.want {
				t.Errorf("%s, want %s", got, test.want)
			}
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}

// A container that asks for more than it may have waits for its own questions, and
// nobody else's.
func TestLimits(t *testing.T) {
	release := make(chan struct{})
	outside := resolver(t, "127.0.0.1:0", func(w dns.ResponseWriter, query *dns.Msg) {
		<-release
		w.WriteMsg(new(dns.Msg).SetRcode(query, dns.RcodeNameError))
	})
	s := serveHere(t, testIdle, outside)
	conn, err := net.Dial("udp", s.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	packet, err := question("www.example.", dns.TypeA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	for range maxWaitingEach + 10 {
		if _, err := conn.Write(packet); err != nil {
			t.Fatal(err)
		}
	}
	answer := make([]byte, 512)
	conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	for range 10 { // those above the limit are told at once
		if n, err := conn.Read(answer); err != nil || n < 12 || answer[3]&0x0f != dns.RcodeServerFailure {
			t.Fatalf("%x, %v", answer[:n], err)
		}
	}
	if got := says(s.ask(t, "udp", question("web.", dns.TypeA))); got != "NOERROR A 127.0.0.5" {
		t.Error(got)
	}
	sibling := dns.Client{Timeout: 10 * time.Second, Dialer: &net.Dialer{LocalAddr: &net.UDPAddr{IP: net.IPv4(127, 0, 0, 9)}}}
	close(release)
	if got, _, err := sibling.Exchange(question("www.example.", dns.TypeA), s.address); err != nil || got.Rcode != dns.RcodeNameError {
		t.Errorf("%v, %v", got, err)
	}
	for range maxWaitingEach {
		if n, err := conn.Read(answer); err != nil || answer[3]&0x0f != dns.RcodeNameError {
			t.Fatalf("%x, %v", answer[:n], err)
		}
	}
}

func TestStrangersAreNotAnswered(t *testing.T) {
	s := serveSubnet(t, "127.0.0.0/24", 3*time.Second) // longer than it takes to be sure of no answer
	ask := func(network, from string) error {
		dialer := &net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(from)}}
		if network == "tcp" {
			dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
		}
		client := dns.Client{Net: network, Timeout: time.Second, Dialer: dialer}
		_, _, err := client.Exchange(question("web.", dns.TypeA), s.address)
		return err
	}
	for _, network := range []string{"udp", "tcp"} {
		if err := ask(network, "127.0.0.9"); err != nil {
			t.Errorf("%s: %v", network, err)
		}
		if err := ask(network, "127.1.0.9"); err == nil {
			t.Errorf("%s: a stranger is answered", network)
		}
	}
}

// A container in several networks finds the names of all of them; the others don't.
func TestFurtherNetworks(t *testing.T) {
	s := serveHere(t, 3*time.Second)
	s.world.served = func(network string) bool { return network != "silent" }
	put(t, s.world.dir, "both.json", `{"name": "both", "leader": 1, "joins": [{"network": "shop", "address": "127.0.0.20/8"}, {"network": "back", "address": "10.8.0.5/16"}, {"network": "silent", "address": "10.7.0.5/16"}]}`)
	put(t, s.world.dir, "db.json", `{"name": "db", "leader": 1, "joins": [{"network": "back", "address": "10.8.0.6/16", "aliases": ["web"]}]}`)
	put(t, s.world.dir, "mute.json", `{"name": "mute", "leader": 1, "joins": [{"network": "silent", "address": "10.7.0.6/16"}]}`)
	for _, test := range []struct{ from, name, want string }{
		{"127.0.0.20", "db.", "NOERROR A 10.8.0.6"},
		{"127.0.0.20", "db.back.", "NOERROR A 10.8.0.6"},
		{"127.0.0.20", "db.shop.", "NXDOMAIN"},
		{"127.0.0.20", "web.", "NOERROR A 127.0.0.5"},
		{"127.0.0.20", "web.back.", "NOERROR A 10.8.0.6"},
		{"127.0.0.20", "mute.", "SERVFAIL"},
		{"127.0.0.5", "db.", "SERVFAIL"},
		{"127.0.0.5", "db.back.", "SERVFAIL"},
		{"127.9.9.9", "db.", "SERVFAIL"},
	} {
		client := dns.Client{Timeout: 10 * time.Second, Dialer: &net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(test.from)}}}
		got, _, err := client.Exchange(question(test.name, dns.TypeA), s.address)
		if err != nil || says(got) != test.want {
			t.Errorf("%s asks for %s: %s, %v, want %s", test.from, test.name, says(got), err, test.want)
		}
	}
}

// Servers follow one another on the same sockets, as systemd starts them, each after a
// moment of silence; no question is lost between two.
func TestNoQuestionIsLost(t *testing.T) {
	packets, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer packets.Close()
	listener, err := net.Listen("tcp4", packets.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	udp, err := packets.File()
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	tcp, err := listener.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	dir := t.TempDir()
	put(t, dir, "web.json", `{"name": "web", "leader": 1, "joins": [{"network": "shop", "address": "127.0.0.5/8"}]}`)
	zone := &names.Zone{Network: "shop", Subnets: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	stop := make(chan struct{})
	var generations int
	var servers sync.WaitGroup
	servers.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			sockets, err := open([]*os.File{udp, tcp})
			if err != nil {
				t.Error(err)
				return
			}
			newServer(zone, newWorld(dir, "shop"), &serversNone).serve(sockets, time.Millisecond)
			for _, conn := range sockets.packets {
				conn.Close()
			}
			for _, l := range sockets.listeners {
				l.Close()
			}
			generations++
		}
	})
	for i := range 300 {
		network := []string{"udp", "tcp"}[i%2]
		client := dns.Client{Net: network, Timeout: 10 * time.Second}
		got, _, err := client.Exchange(question("web.", dns.TypeA), packets.LocalAddr().String())
		if err != nil || says(got) != "NOERROR A 127.0.0.5" {
			t.Fatalf("question %d by %s: %v, %v", i, network, got, err)
		}
		time.Sleep(time.Duration(i%4) * time.Millisecond / 2)
	}
	close(stop)
	servers.Wait()
	if generations < 10 {
		t.Errorf("only %d servers", generations)
	}
}

var serversNone servers

func TestOpenRefuses(t *testing.T) {
	if _, err := open(nil); err == nil {
		t.Error("no sockets")
	}
	file, err := os.Open(filepath.Join("/dev", "null"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := open([]*os.File{file}); err == nil {
		t.Error("no socket")
	}
}

func TestIdleTime(t *testing.T) {
	for text, want := range map[string]time.Duration{"": defaultIdle, "2s": 2 * time.Second, "0s": 0, "-1s": 0, "x": 0} {
		t.Setenv(idleVariable, text)
		got, err := idleTime()
		if got != want || (err == nil) != (want > 0) {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	t.Setenv(idleVariable, "")
	if err := run(nil); err == nil || !strings.Contains(err.Error(), "usage") {
		t.Error(err)
	}
	if err := run([]string{"no-such-network"}); err == nil || !strings.Contains(err.Error(), "systemctl reload") {
		t.Error(err)
	}
}

func BenchmarkUDP(b *testing.B) {
	s := serveHere(b, 2*time.Second)
	b.RunParallel(func(pb *testing.PB) {
		conn, err := dns.Dial("udp", s.address)
		if err != nil {
			b.Error(err)
			return
		}
		defer conn.Close()
		for pb.Next() {
			if err := conn.WriteMsg(question("web.shop.", dns.TypeA)); err != nil {
				b.Error(err)
			}
			if _, err := conn.ReadMsg(); err != nil {
				b.Error(err)
			}
		}
	})
}
