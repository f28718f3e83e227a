package netsetup

import (
	"io"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/config"
)

const (
	mbit      = 1_000_000
	tolerance = 0.2
)

// Each direction keeps to its own rate, and changes while the container runs.
func TestRate(t *testing.T) {
	n := up(t)
	b := attach(t, n, "limited")
	link := hostLinks(n.Name, b.name, 0)[0]
	t.Cleanup(func() { setRate(t, link, 0, 0) })
	setRate(t, link, 20*mbit, 40*mbit)
	assertRate(t, "sent", 20*mbit, transfer(t, b, 4<<20, true))
	assertRate(t, "received", 40*mbit, transfer(t, b, 8<<20, false))
	setRate(t, link, 80*mbit, 10*mbit)
	assertRate(t, "sent at another rate", 80*mbit, transfer(t, b, 12<<20, true))
	assertRate(t, "received at another rate", 10*mbit, transfer(t, b, 2<<20, false))
	setRate(t, link, 0, 0)
	for _, sends := range []bool{true, false} {
		if rate := transfer(t, b, 32<<20, sends); rate < 160*mbit {
			t.Errorf("without a limit (sends: %v): %.1f Mbit/s", sends, rate/mbit)
		}
	}
	if left := queues(t, link); strings.Contains(left, "tbf") || strings.Contains(left, "ingress") {
		t.Errorf("left: %s", left)
	}
}

// The rates are 1000 kbit/s for a slow link, of which a burst must not be a second.
func TestSlowRate(t *testing.T) {
	n := up(t)
	b := attach(t, n, "slow")
	link := hostLinks(n.Name, b.name, 0)[0]
	t.Cleanup(func() { setRate(t, link, 0, 0) })
	setRate(t, link, mbit, mbit)
	assertRate(t, "sent", mbit, transfer(t, b, 256<<10, true))
	assertRate(t, "received", mbit, transfer(t, b, 256<<10, false))
}

func TestRateOfOneDirection(t *testing.T) {
	n := up(t)
	b := attach(t, n, "oneway")
	link := hostLinks(n.Name, b.name, 0)[0]
	t.Cleanup(func() { setRate(t, link, 0, 0) })
	setRate(t, link, 0, 20*mbit)
	if links := links(t); strings.Contains(links, shaperName(link)) {
		t.Errorf("links: %s", links)
	}
	assertRate(t, "received", 20*mbit, transfer(t, b, 4<<20, false))
	setRate(t, link, 20*mbit, 0)
	assertRate(t, "sent", 20*mbit, transfer(t, b, 4<<20, true))
	if left := output(t, "tc", "qdisc", "show", "dev", link); strings.Contains(left, "tbf") {
		t.Errorf("left: %s", left)
	}
}

// What is set is what is asked for however often that is, and nothing is left behind
// when the link has gone with its namespace.
func TestRateIsIdempotent(t *testing.T) {
	n := up(t)
	b := newBox(t, "again")
	var err error
	if b.lease, err = Acquire(t.TempDir(), n, b.name, config.Join{}); err != nil {
		t.Fatal(err)
	}
	if _, err := attachTo(n, b.name, b.lease, nil, b.netns); err != nil {
		t.Fatal(err)
	}
	link := hostLinks(n.Name, b.name, 0)[0]
	setRate(t, link, mbit, mbit)
	once := queues(t, link)
	setRate(t, link, mbit, mbit)
	if twice := queues(t, link); twice != once {
		t.Errorf("once: %s\ntwice: %s", once, twice)
	}
	b.die(t)
	setRate(t, link, 0, 0)
	setRate(t, link, 0, 0)
	if err := SetRate(link, mbit, 0); err == nil || !strings.Contains(err.Error(), link) {
		t.Errorf("a link that is gone: %v", err)
	}
}

func TestRateRefuses(t *testing.T) {
	n := up(t)
	b := attach(t, n, "refused")
	link := hostLinks(n.Name, b.name, 0)[0]
	for _, tt := range []struct {
		link            string
		egress, ingress uint64
		want            string
	}{
		{"", 1, 1, "no name"},
		{"a/b", 1, 1, "no name"},
		{link, 8, 0, "too few"},
		{link, 0, 8, "too few"},
	} {
		if err := SetRate(tt.link, tt.egress, tt.ingress); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: got %v, want %q", tt.link, err, tt.want)
		}
	}
	if links := links(t); strings.Contains(links, shaperName(link)) {
		t.Errorf("links: %s", links)
	}
}

// The kernel's words for a kind that it does not know.
func TestRateNamesTheMissingModule(t *testing.T) {
	for _, err := range []error{unix.ENOENT, unix.EOPNOTSUPP} {
		if got := lacking(err, "token bucket", "sch_tbf"); got == nil || !strings.Contains(got.Error(), "the kernel has no token bucket (module sch_tbf)") {
			t.Errorf("%v: got %v", err, got)
		}
	}
	if err := lacking(nil, "x", "y"); err != nil {
		t.Error(err)
	}
}

// Every packet that may come gets through a bucket, and no two links share a device.
func TestBucketSizes(t *testing.T) {
	for _, mtu := range []int{1280, 1500, 9000, 65535} {
		for rate := uint64(1000); rate < 1e12; rate *= 7 {
			burst := burstOf(rate, mtu)
			if int(burst) < mtu+14 {
				t.Errorf("a burst of %d bytes at an MTU of %d", burst, mtu)
			}
			if limit := limitOf(rate, burst, mtu); limit < burst+10*uint32(mtu) {
				t.Errorf("a queue of %d bytes at an MTU of %d", limit, mtu)
			}
		}
	}
	seen := map[string]string{}
	for _, link := range []string{"ck-web", "ck_0123456789ab", "ck-0123456789ab", "vb-web", "web", "cq-web"} {
		name := shaperName(link)
		if !validInterface(name) || name == link || seen[name] != "" {
			t.Errorf("%s has %s, as has %s", link, name, seen[name])
		}
		seen[name] = link
	}
}

func setRate(t testing.TB, link string, egress, ingress uint64) {
	t.Helper()
	if err := SetRate(link, egress, ingress); err != nil {
		t.Fatal(err)
	}
}

// queues is what tc says of a link and its device.
func queues(t testing.TB, link string) string {
	t.Helper()
	requireTool(t, "tc")
	text := output(t, "tc", "qdisc", "show", "dev", link) + output(t, "tc", "filter", "show", "dev", link, "ingress")
	if shaper, err := exec.Command("tc", "qdisc", "show", "dev", shaperName(link)).Output(); err == nil {
		text += string(shaper)
	}
	return text
}

func assertRate(t testing.TB, what string, want, got float64) {
	t.Helper()
	t.Logf("%s: %.2f Mbit/s", what, got/mbit)
	if got < want*(1-tolerance) || got > want*(1+tolerance) {
		t.Errorf("%s: %.2f Mbit/s, want %.2f", what, got/mbit, want/mbit)
	}
}

// transfer sends bytes over TCP between the container and the host, and returns the
// bits that the receiver got in a second.
func transfer(t testing.TB, b *box, bytes int64, sends bool) float64 {
	t.Helper()
	listener, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	var inside net.Conn
	err = inNamespace(b.netns, func() error {
		inside, err = net.DialTimeout("tcp4", net.JoinHostPort(config.Gateway(config.DefaultSubnet()).String(), port), patience)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer inside.Close()
	outside, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer outside.Close()
	from, to := outside, inside
	if sends {
		from, to = inside, outside
	}
	go func() {
		buffer := make([]byte, 64<<10)
		for sent := int64(0); sent < bytes; sent += int64(len(buffer)) {
			if _, err := from.Write(buffer); err != nil {
				return
			}
		}
	}()
	to.SetDeadline(time.Now().Add(time.Minute))
	begin := time.Now()
	if _, err := io.CopyN(io.Discard, to, bytes); err != nil {
		t.Fatal(err)
	}
	return float64(8*bytes) / time.Since(begin).Seconds()
}
