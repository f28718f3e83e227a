package dns

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/miekg/dns"
)

// echo is a resolver that costs next to nothing: it sends each question back as its answer.
func echo(b *testing.B) netip.AddrPort {
	b.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() })
	go func() {
		buffer := make([]byte, maxQuery)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buffer)
			if err != nil {
				return
			}
			buffer[2] |= 1 << 7
			_, _ = conn.WriteToUDPAddrPort(buffer[:n], from)
		}
	}()
	return conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

// BenchmarkForward has as many questions on the way as tests/bench. What it costs the
// processor is that of who asks and who answers, too.
func BenchmarkForward(b *testing.B) {
	const outstanding = 32
	s := serveHere(b, 2*time.Second, echo(b))
	conn, err := net.Dial("udp", s.address)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	packet, err := question("www.example.test.", dns.TypeA).Pack()
	if err != nil {
		b.Fatal(err)
	}
	before := processorTime(b)
	b.ReportAllocs()
	b.ResetTimer()
	answer := make([]byte, maxQuery)
	for sent, heard := 0, 0; heard < b.N; {
		for sent < b.N && sent-heard < outstanding {
			binary.BigEndian.PutUint16(packet, uint16(sent))
			if _, err := conn.Write(packet); err != nil {
				b.Fatal(err)
			}
			sent++
		}
		_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		n, err := conn.Read(answer)
		if err != nil || n < len(packet) || answer[3]&0x0f != dns.RcodeSuccess {
			b.Fatalf("%x, %v", answer[:n], err)
		}
		heard++
	}
	b.ReportMetric(float64((processorTime(b)-before).Microseconds())/float64(b.N), "cpu-us/op")
}

// processorTime is what this process has used of the processors.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
