package netsetup

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/cocker/cocker/config"
)

func TestAttachConfigures(t *testing.T) {
	requireTool(t, "ip")
	n := up(t)
	dir, netns := t.TempDir(), namespace(t)
	lease, err := Acquire(dir, n, "front.example", config.Join{})
	if err != nil {
		t.Fatal(err)
	}
	endpoint, err := Attach(n, "front.example", lease, config.Join{}, 0, netns)
	if err != nil {
		t.Fatal(err)
	}
	link, err := netlink.LinkByName(endpoint.HostInterface)
	if err != nil {
		t.Fatal(err)
	}
	if got := link.Attrs(); got.Index != endpoint.HostIndex || got.Alias != "cocker:cocker0/front.example" || len(got.Name) > 15 {
		t.Errorf("host link %d %q alias %q", got.Index, got.Name, got.Alias)
	}
	in := fmt.Sprintf("--net=/proc/%d/fd/%d", os.Getpid(), netns)
	for _, test := range []struct{ args, want string }{
		{"-br link show lo", "LOOPBACK,UP"},
		{"-br link show eth0", "LOWER_UP"},
		{"-4 -br addr show eth0", lease.V4.String()},
		{"route show default", "default via 10.88.0.1 dev eth0"},
	} {
		got := output(t, "nsenter", append([]string{in, "ip"}, strings.Fields(test.args)...)...)
		if !strings.Contains(got, test.want) {
			t.Errorf("ip %s: %q, want %q", test.args, got, test.want)
		}
	}
	for range 2 {
		if err := Detach(n, "front.example", nil); err != nil {
			t.Error(err)
		}
	}
}

// A container's namespace may be slow to die, and the link with it.
func TestAttachAfterPreviousRun(t *testing.T) {
	n := up(t)
	first := attach(t, n, "web", port("", 8080))
	for range 3 {
		next := namespace(t)
		if _, err := attachTo(n, "web", first.lease, first.ports, next); err != nil {
			t.Fatal(err)
		}
		serve(t, next, config.TCP, ":80")
		if _, err := ask(own(t), config.TCP, "127.0.0.1:8080", patience); err != nil {
			t.Error(err)
		}
	}
}

func TestAttachLeavesForeignLinkAlone(t *testing.T) {
	n := up(t)
	foreign := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "ck-web"}}
	if err := netlink.LinkAdd(foreign); err != nil {
		t.Fatal(err)
	}
	defer netlink.LinkDel(foreign)
	attach(t, n, "web")
	if err := Detach(n, "web", nil); err != nil {
		t.Error(err)
	}
	if link, err := netlink.LinkByName("ck-web"); err != nil || link.Type() != "bridge" {
		t.Error("the link is gone:", err)
	}
}

func TestAttachNotUp(t *testing.T) {
	requireHost(t)
	lease := leaseOf("10.88.0.5")
	if _, err := Attach(Default(), "web", lease, config.Join{}, 0, namespace(t)); !errors.Is(err, ErrNotUp) {
		t.Errorf("no bridge: %v", err)
	}
	n := up(t)
	if err := leaveTable(n); err != nil {
		t.Fatal(err)
	}
	before := links(t)
	if up, err := IsUp(n); up || err != nil {
		t.Errorf("IsUp without a table = %v, %v", up, err)
	}
	if _, err := attachTo(n, "web", lease, []config.Port{port("", 8080)}, namespace(t)); !errors.Is(err, ErrNotUp) {
		t.Errorf("no table: %v", err)
	}
	if after := links(t); after != before {
		t.Errorf("links before: %s, left: %s", before, after)
	}
	if err := Detach(n, "web", []config.Port{port("", 8080)}); err != nil {
		t.Error("Detach without a table:", err)
	}
}

func TestPortTaken(t *testing.T) {
	for _, test := range []struct {
		name          string
		holder, wants config.Port
		taken         bool
	}{
		{"same", port("", 8080), port("", 8080), true},
		{"0.0.0.0 is every address", port("0.0.0.0", 8080), port("", 8080), true},
		{"same address", port("127.0.0.1", 8080), port("127.0.0.1", 8080), true},
		{"every address, then one", port("", 8080), port("127.0.0.1", 8080), true},
		{"one address, then every", port("127.0.0.1", 8080), port("", 8080), true},
		{"two addresses", port("127.0.0.1", 8080), port("127.0.0.2", 8080), false},
		{"other port", port("", 8080), port("", 8081), false},
		{"other protocol", port("", 8080), publishedBoth(port("", 8080))[1], false},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := up(t)
			attach(t, n, "holder", test.holder)
			before := state(t) + links(t)
			other := newBox(t, "other")
			lease := leaseOf("10.88.0.5")
			_, err := attachTo(n, "other", lease, []config.Port{test.wants}, other.netns)
			if errors.Is(err, ErrPortTaken) != test.taken || err != nil && !test.taken {
				t.Fatalf("Attach = %v", err)
			}
			if test.taken && !strings.Contains(err.Error(), "holder") {
				t.Errorf("error %q does not name the holder", err)
			}
			// ExecStopPost= runs after a start that failed, too.
			if err := Detach(n, "other", []config.Port{test.wants}); err != nil {
				t.Error(err)
			}
			other.die(t)
			eventually(t, "as it was before", func() bool { return state(t)+links(t) == before })
		})
	}
}

func TestPortTakenByProcess(t *testing.T) {
	up(t)
	serve(t, own(t), config.TCP, "127.0.0.1:8080")
	serve(t, own(t), config.UDP, "127.0.0.1:5353")
	for _, test := range []struct {
		port  config.Port
		taken bool
	}{
		{port("", 8080), true},
		{port("127.0.0.1", 8080), true},
		{port("127.0.0.2", 8080), false},
		{port("198.51.100.9", 8080), false}, // an address that the host may get later
		{publishedBoth(port("", 5353))[1], true},
		{port("", 5353), false},
	} {
		_, err := Publish("web", leaseOf("10.88.0.5"), []config.Port{test.port})
		if errors.Is(err, ErrPortTaken) != test.taken || err != nil && !test.taken {
			t.Errorf("%s: %v", describe(test.port), err)
		}
		if test.taken && !strings.Contains(err.Error(), fmt.Sprintf("process %d of the host", os.Getpid())) {
			t.Errorf("error %q does not name the process", err)
		}
		if err := Unpublish("web", []config.Port{test.port}); err != nil {
			t.Error(err)
		}
	}
}

// All or none: the second port is taken, so the first is not published either.
func TestPublishIsOneTransaction(t *testing.T) {
	requireTool(t, "nft")
	up(t)
	if _, err := Publish("holder", leaseOf("10.88.0.4"), []config.Port{port("", 82)}); err != nil {
		t.Fatal(err)
	}
	before := state(t)
	ports := []config.Port{port("", 81), port("", 82)}
	if _, err := Publish("web", leaseOf("10.88.0.5"), ports); !errors.Is(err, ErrPortTaken) {
		t.Errorf("Publish = %v", err)
	}
	if after := state(t); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

// A port that has just been given back is another's, or its own again, at once,
// though its element is still there for a moment; and it stays.
func TestPublishAfterUnpublish(t *testing.T) {
	up(t)
	ports := []config.Port{port("", 8080), port("127.0.0.1", 9090)}
	for i := range 20 {
		container := fmt.Sprint("c", i/2) // each comes twice
		address := netip.MustParseAddr(fmt.Sprint("10.88.0.", 5+i/3))
		if _, err := Publish(container, leaseOf(address.String()), ports); err != nil {
			t.Fatal(err)
		}
		wantOwner(t, container, address, ports)
		if err := Unpublish(container, ports); err != nil {
			t.Fatal(err)
		}
	}
	address := netip.MustParseAddr("10.88.0.4")
	for _, leftover := range []string{"10.88.0.3", "10.88.0.4"} { // of a run whose cleanup was killed
		if err := publishEach("web", ports, leftover, address.String()); err != nil {
			t.Fatal(err)
		}
	}
	wantOwner(t, "web", address, ports)
}

func publishEach(container string, ports []config.Port, addresses ...string) error {
	for _, address := range addresses {
		if _, err := Publish(container, leaseOf(address), ports); err != nil {
			return err
		}
	}
	return nil
}

// wantOwner checks that the ports are the container's, lead to the address, and stay.
func wantOwner(t *testing.T, container string, address netip.Addr, ports []config.Port) {
	t.Helper()
	elements, err := openElements()
	if err != nil {
		t.Fatal(err)
	}
	defer elements.Close()
	for _, p := range ports {
		set, key := elements.bindings(leaseOf(address.String()), []config.Port{p})[0].place()
		got, err := elements.one(set, key)
		want := string(append(address.AsSlice(), padded(80)...))
		if err != nil || got.owner != container || got.expiring || string(got.value) != want {
			t.Errorf("%s: %+v, %v", describe(p), got, err)
		}
	}
}

func TestPublishRefuses(t *testing.T) {
	for _, bad := range []config.Port{
		{HostAddress: netip.MustParseAddr("::1"), HostPort: 1, ContainerPort: 1, Protocol: config.TCP},
		{HostPort: 1, ContainerPort: 1, Protocol: "dccp"},
		{HostPort: 1, Protocol: config.TCP},
	} {
		if _, err := Publish("web", leaseOf("10.88.0.5"), []config.Port{bad}); err == nil {
			t.Errorf("%+v is published", bad)
		}
	}
}

// After a flush of the ruleset, Up and Publish bring a container's ports back.
func TestPublishAgain(t *testing.T) {
	requireTool(t, "nft")
	n := up(t)
	web := attach(t, n, "web", port("", 8080), port("127.0.0.1", 9090))
	want := state(t)
	output(t, "nft", "flush", "ruleset")
	if err := errors.Join(Up(n), publishEach(web.name, web.ports, web.address().String(), web.address().String())); err != nil {
		t.Fatal(err)
	}
	if got := state(t); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestSixtyAtOnce(t *testing.T) {
	n := up(t)
	dir := t.TempDir()
	var group sync.WaitGroup
	for i := range 60 {
		file := newNamespace(t)
		group.Go(func() {
			defer file.Close()
			name, ports := fmt.Sprint("c", i), []config.Port{port("", uint16(8000+i))}
			if err := cycle(dir, n, name, ports, int(file.Fd())); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if left, err := filepath.Glob(filepath.Join(dir, n.Name, "*", "*")); len(left) > 0 || err != nil {
		t.Errorf("left: %v, %v", left, err)
	}
}

// Two start at once with a port that only one of them can have.
func TestSamePortAtOnce(t *testing.T) {
	up(t)
	for range 20 {
		results := make(chan error, 2)
		for i, address := range []string{"", "127.0.0.1"} {
			go func() {
				_, err := Publish(fmt.Sprint("c", i), leaseOf(fmt.Sprint("10.88.0.", 5+i)), []config.Port{port(address, 8080)})
				results <- err
			}()
		}
		won := 0
		for range 2 {
			err := <-results
			if err == nil {
				won++
			} else if !errors.Is(err, ErrPortTaken) {
				t.Error(err)
			}
		}
		if won > 1 {
			t.Fatal("both have the port")
		}
		for i, address := range []string{"", "127.0.0.1"} {
			if err := Unpublish(fmt.Sprint("c", i), []config.Port{port(address, 8080)}); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestLoopback(t *testing.T) {
	requireHost(t)
	netns := namespace(t)
	if err := Loopback(netns); err != nil {
		t.Fatal(err)
	}
	serve(t, netns, config.TCP, "127.0.0.1:80")
	if _, err := ask(netns, config.TCP, "127.0.0.1:80", patience); err != nil {
		t.Error(err)
	}
}

func TestInNamespaceComesBack(t *testing.T) {
	requireHost(t)
	other := namespace(t)
	for range 50 {
		if err := inNamespace(other, func() error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	tasks, err := filepath.Glob("/proc/self/task/*/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		if got, err := os.Readlink(task); err == nil && got != want {
			t.Errorf("%s is %s, want %s", task, got, want)
		}
	}
}

func TestHostLinks(t *testing.T) {
	for name, want := range map[string]string{
		"web":          "ck-web",
		"twelve-bytes": "ck-twelve-bytes",
	} {
		if got := hostLinks("cocker0", name, 0)[0]; got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
	seen := map[string]string{}
	for _, container := range []string{"web", "twelve-bytes", "thirteen-byte", "front-end.example", "front-end.example2"} {
		for _, link := range allHostLinks("cocker0", container) {
			if other, ok := seen[link]; ok || !validInterface(link) {
				t.Errorf("%q of %s: valid, and not the name of %q", link, container, other)
			}
			seen[link] = container
		}
	}
}

func TestMACsAreLocalUnicast(t *testing.T) {
	address := netip.MustParseAddr("10.88.255.254")
	for _, mac := range []net.HardwareAddr{containerMAC(address), hostMAC(address)} {
		if mac[0]&1 != 0 || mac[0]&2 == 0 || len(mac) != 6 {
			t.Errorf("%s", mac)
		}
	}
}

// cycle is what the network does in one run of a container.
func cycle(dir string, n Network, name string, ports []config.Port, netns int) error {
	lease, err := Acquire(dir, n, name, config.Join{})
	if err != nil {
		return err
	}
	if _, err := attachTo(n, name, lease, ports, netns); err != nil {
		return err
	}
	return errors.Join(Detach(n, name, ports), Release(dir, n, name))
}

func BenchmarkAttach(b *testing.B) {
	for _, others := range []int{0, 500} {
		b.Run(fmt.Sprintf("after %d", others), func(b *testing.B) {
			n := up(b)
			for i := range others {
				attach(b, n, fmt.Sprint("other", i), port("", uint16(10000+i)))
			}
			benchmarkAttach(b, n)
		})
	}
}

// benchmarkAttach times what the start and the stop of a container wait for; the
// namespace dies just before Detach, as it does when a container ends.
func benchmarkAttach(b *testing.B, n Network) {
	lease := leaseOf("10.88.0.5")
	var attaching, detaching time.Duration
	for i := 0; b.Loop(); i++ {
		container, ports := fmt.Sprint("web", i), []config.Port{port("", uint16(20000+i%10000))}
		namespace := newNamespace(b)
		start := time.Now()
		_, err := attachTo(n, container, lease, ports, int(namespace.Fd()))
		attached := time.Now()
		err = errors.Join(err, namespace.Close())
		closed := time.Now()
		err = errors.Join(err, Detach(n, container, ports))
		detaching += time.Since(closed)
		attaching += attached.Sub(start)
		if err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(attaching.Microseconds())/float64(b.N), "us/attach")
	b.ReportMetric(float64(detaching.Microseconds())/float64(b.N), "us/detach")
	b.ReportMetric(0, "ns/op")
}

func BenchmarkIsUp(b *testing.B) {
	n := up(b)
	for b.Loop() {
		if up, err := IsUp(n); !up || err != nil {
			b.Fatal(up, err)
		}
	}
}

func BenchmarkUp(b *testing.B) {
	n := up(b)
	for b.Loop() {
		if err := Up(n); err != nil {
			b.Fatal(err)
		}
	}
}
