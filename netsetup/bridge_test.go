package netsetup

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A container's root can send router advertisements. The host must not take a
// route or an address from them (CVE-2020-13401), also on a bridge that another
// program has made or changed.
func TestHostBelievesNoRouterOnTheBridge(t *testing.T) {
	requireIPv6(t)
	n := up(t)
	for _, key := range []string{"accept_ra", "autoconf"} {
		if err := setSysctl("net/ipv6/conf/"+n.Link+"/"+key, "1"); err != nil {
			t.Fatal(err)
		}
	}
	if err := Up(n); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"accept_ra", "autoconf"} {
		if got := readSysctl(t, "net/ipv6/conf/"+n.Link+"/"+key); got != "0" {
			t.Errorf("%s is %s", key, got)
		}
	}
	router := attach(t, n, "router")
	// The link is new, and so is its way through the bridge: what is sent before
	// it forwards is lost. The datagram that follows an advertisement tells.
	heard := hear(t)
	err := inNamespace(router.netns, func() error {
		index, err := linkIndex(ContainerLink)
		if err != nil {
			return err
		}
		link := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: index}}
		own := &netlink.Addr{IPNet: ipNet(netip.MustParsePrefix("fe80::bad/64")), Flags: unix.IFA_F_NODAD}
		if err := netlink.AddrAdd(link, own); err != nil {
			return err
		}
		for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
			if err := advertise(index); err != nil {
				return err
			}
			select {
			case <-heard:
				return nil
			case <-time.After(20 * time.Millisecond):
			}
		}
		t.Error("the host hears nothing of the container")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V6)
	if err != nil {
		t.Fatal(err)
	}
	for _, route := range routes {
		if route.Protocol == unix.RTPROT_RA || route.Dst == nil || route.Dst.IP.Equal(net.ParseIP("2001:db8::")) {
			t.Errorf("the container has given the host a route: %v", route)
		}
	}
	if text := output(t, "ip", "-6", "address", "show", "dev", n.Link); strings.Contains(text, "2001:db8:") {
		t.Errorf("the container has given the host an address:\n%s", text)
	}
}

// A host lists its links while containers start and stop.
func TestLinksAreListedWhileOthersComeAndGo(t *testing.T) {
	up(t)
	for i := range 60 { // the kernel sends so many in several parts
		link := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: fmt.Sprint("stays", i)}}
		if err := netlink.LinkAdd(link); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { netlink.LinkDel(link) })
	}
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() {
		for ctx.Err() == nil {
			link := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "goes"}}
			if err := errors.Join(netlink.LinkAdd(link), netlink.LinkDel(link)); err != nil {
				t.Error(err)
			}
		}
	})
	for range 200 {
		list, err := listLinks()
		if err != nil {
			t.Error(err)
		}
		stay := 0
		for _, link := range list {
			if strings.HasPrefix(link.Attrs().Name, "stays") {
				stay++
			}
		}
		if stay != 60 {
			t.Errorf("%d of 60 links are listed", stay)
		}
	}
	cancel()
	group.Wait()
}

func requireIPv6(t *testing.T) {
	t.Helper()
	requireTool(t, "ip")
	if _, err := os.Stat("/proc/sys/net/ipv6"); err != nil {
		t.Skip("needs a kernel with IPv6")
	}
}

func readSysctl(t *testing.T, key string) string {
	t.Helper()
	value, err := os.ReadFile("/proc/sys/" + key)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(value))
}

// hear tells when a datagram to all nodes has come to port 1236.
func hear(t *testing.T) <-chan struct{} {
	t.Helper()
	conn, err := net.ListenPacket("udp6", "[::]:1236")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	heard := make(chan struct{})
	go func() {
		if _, _, err := conn.ReadFrom(make([]byte, 16)); err == nil {
			close(heard)
		}
	}()
	return heard
}

// advertise says to all nodes of the link: I am a router for half an hour, and
// 2001:db8::/64 is your prefix (RFC 4861, 4.2 and 4.6.2; the kernel fills in the
// checksum). Then it sends them a datagram, which comes after it.
func advertise(index int) error {
	advertisement := []byte{134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0,
		3, 4, 64, 0xc0, 0, 0, 7, 8, 0, 0, 7, 8, 0, 0, 0, 0, 0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	for _, message := range []struct {
		kind, protocol, port int
		text                 []byte
	}{{unix.SOCK_RAW, unix.IPPROTO_ICMPV6, 0, advertisement}, {unix.SOCK_DGRAM, unix.IPPROTO_UDP, 1236, []byte("done")}} {
		socket, err := unix.Socket(unix.AF_INET6, message.kind|unix.SOCK_CLOEXEC, message.protocol)
		if err != nil {
			return err
		}
		defer unix.Close(socket)
		if err := unix.SetsockoptInt(socket, unix.SOL_IPV6, unix.IPV6_MULTICAST_HOPS, 255); err != nil {
			return err
		}
		everybody := &unix.SockaddrInet6{Addr: netip.MustParseAddr("ff02::1").As16(), ZoneId: uint32(index), Port: message.port}
		if err := unix.Sendto(socket, message.text, 0, everybody); err != nil {
			return err
		}
	}
	return nil
}
