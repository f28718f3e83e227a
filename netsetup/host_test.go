package netsetup

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/config"
)

// up brings the default network up, and checks at the end that Down leaves nothing.
func up(t testing.TB) Network {
	t.Helper()
	requireHost(t)
	before := links(t)
	n := Default()
	if err := Up(n); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := Down(n); err != nil {
			t.Error(err)
		}
		if after := links(t); after != before {
			t.Errorf("links before: %s, left: %s", before, after)
		}
		if up, err := IsUp(n); up || err != nil {
			t.Errorf("IsUp after Down = %v, %v", up, err)
		}
	})
	return n
}

// eventually waits for what the kernel does on its own: a namespace dies with its
// links, an element expires.
func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never happened:", what)
		}
	}
}

func links(t testing.TB) string {
	t.Helper()
	list, err := listLinks()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, link := range list {
		names = append(names, link.Attrs().Name)
	}
	return strings.Join(names, " ")
}

// namespace makes a network namespace that lives as long as the test.
func namespace(t testing.TB) int {
	t.Helper()
	file := newNamespace(t)
	t.Cleanup(func() { file.Close() })
	return int(file.Fd())
}

// newNamespace goes there and back again: a thread that stayed would be the main
// thread sooner or later, which the runtime never ends, and whose namespace is
// what /proc/self shows.
func newNamespace(t testing.TB) *os.File {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home := open(t, "/proc/thread-self/ns/net")
	defer home.Close()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal("unshare:", err)
	}
	made := open(t, "/proc/thread-self/ns/net")
	if err := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); err != nil {
		panic(err) // the thread must not run another test
	}
	return made
}

func open(t testing.TB, path string) *os.File {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// die closes the namespace before the test ends, and waits for its link to go.
func (b *box) die(t testing.TB) {
	t.Helper()
	if err := b.file.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the link goes with its namespace", func() bool {
		for _, name := range allHostLinks(config.DefaultNetwork, b.name) {
			if _, err := netlink.LinkByName(name); err == nil {
				return false
			}
		}
		return true
	})
}

// box is an attached container of a test.
type box struct {
	name  string
	file  *os.File
	netns int
	lease Lease
	ports []config.Port
}

// attach leases an address and attaches a container until the end of the test.
func attach(t testing.TB, n Network, name string, ports ...config.Port) *box {
	t.Helper()
	b := newBox(t, name)
	dir := t.TempDir()
	var err error
	if b.lease, err = Acquire(dir, n, name, config.Join{}); err != nil {
		t.Fatal(err)
	}
	if b.ports, err = attachTo(n, name, b.lease, ports, b.netns); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := Detach(n, name, b.ports); err != nil {
			t.Error(err)
		}
	})
	return b
}

// attachTo is what a start does.
func attachTo(n Network, name string, lease Lease, ports []config.Port, netns int) ([]config.Port, error) {
	published, err := Publish(name, lease, ports)
	if err == nil {
		_, err = Attach(n, name, lease, config.Join{}, 0, netns)
	}
	return published, err
}

// leaseOf is the lease of an address in the default network.
func leaseOf(address string) Lease {
	return Default().lease(netip.MustParseAddr(address), netip.Addr{})
}

func newBox(t testing.TB, name string) *box {
	file := newNamespace(t)
	t.Cleanup(func() { file.Close() })
	return &box{name: name, file: file, netns: int(file.Fd())}
}

func (b *box) address() netip.Addr { return b.lease.V4.Addr() }

// neighbour makes a host outside: its namespace, and a link to it with the
// addresses 192.0.2.1 (ours) and 192.0.2.2 (its).
func neighbour(t testing.TB) int {
	t.Helper()
	netns := namespace(t)
	pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "out0"}, PeerName: "eth0", PeerNamespace: netlink.NsFd(netns)}
	if err := netlink.LinkAdd(pair); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { netlink.LinkDel(pair) })
	configure := func(name, address string) error {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		if err := addAddress(link.Attrs().Index, netip.MustParsePrefix(address)); err != nil {
			return err
		}
		return netlink.LinkSetUp(link)
	}
	if err := configure("out0", "192.0.2.1/24"); err != nil {
		t.Fatal(err)
	}
	err := inNamespace(netns, func() error {
		if err := loopbackUp(); err != nil {
			return err
		}
		return configure("eth0", "192.0.2.2/24")
	})
	if err != nil {
		t.Fatal(err)
	}
	return netns
}

// own is the namespace of the test host itself.
func own(t testing.TB) int {
	t.Helper()
	file := open(t, "/proc/thread-self/ns/net")
	t.Cleanup(func() { file.Close() })
	return int(file.Fd())
}

// serve answers everybody with the address it saw them come from.
func serve(t testing.TB, netns int, protocol config.Protocol, address string) {
	t.Helper()
	err := inNamespace(netns, func() error {
		if protocol == config.UDP {
			return serveUDP(t, address)
		}
		return serveTCP(t, address)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func serveTCP(t testing.TB, address string) error {
	listener, err := net.Listen("tcp"+only4(address), address)
	if err != nil {
		return err
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(conn, host(conn.RemoteAddr()))
			conn.Close()
		}
	}()
	return nil
}

func serveUDP(t testing.TB, address string) error {
	conn, err := net.ListenPacket("udp"+only4(address), address)
	if err != nil {
		return err
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		var buffer [16]byte
		for {
			_, from, err := conn.ReadFrom(buffer[:])
			if err != nil {
				return
			}
			conn.WriteTo([]byte(host(from)), from)
		}
	}()
	return nil
}

// only4: an address of IPv4 is that, and one without is of both.
func only4(address string) string {
	if strings.HasPrefix(address, ":") || strings.HasPrefix(address, "[") {
		return ""
	}
	return "4"
}

func host(address net.Addr) string {
	return netip.MustParseAddrPort(address.String()).Addr().Unmap().String()
}

// ask connects from the namespace and returns the address the server saw.
func ask(netns int, protocol config.Protocol, address string, patience time.Duration) (seen string, err error) {
	err = inNamespace(netns, func() error {
		conn, err := net.DialTimeout(string(protocol), address, patience)
		if err != nil {
			return err
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(patience))
		if protocol == config.UDP {
			if _, err := conn.Write([]byte("?")); err != nil {
				return err
			}
			var buffer [64]byte
			n, err := conn.Read(buffer[:])
			seen = string(buffer[:n])
			return err
		}
		answer, err := io.ReadAll(conn)
		seen = string(answer)
		return err
	})
	return seen, err
}
