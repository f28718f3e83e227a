package netsetup

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/cocker/cocker/config"
)

// What others have made is recognized by both ends, not by a name alone.
func TestPeer(t *testing.T) {
	requireHost(t)
	requireTool(t, "ip")
	netns := newNamespace(t)
	defer netns.Close()
	output(t, "ip", "link", "add", "plug0", "type", "veth", "peer", "name", "plug1")
	output(t, "ip", "link", "add", "others0", "type", "veth", "peer", "name", "others1")
	defer output(t, "ip", "link", "del", "others0")
	defer output(t, "ip", "link", "del", "plug0")
	move(t, "plug1", netns)
	name, index, err := Peer(int(netns.Fd()), "plug1", []string{"others0", "missing", "lo", "plug0"})
	if want, _ := linkIndex("plug0"); name != "plug0" || index != want || err != nil {
		t.Errorf("%s, %d, %v; want plug0, %d", name, index, err, want)
	}
	if name, index, err := Peer(int(netns.Fd()), "plug1", []string{"others0"}); name != "" || index != 0 || err != nil {
		t.Errorf("without the peer among the candidates: %s, %d, %v", name, index, err)
	}
	if name, _, err := Peer(int(netns.Fd()), "lo", []string{"plug0", "others0"}); name != "" || err != nil {
		t.Errorf("lo: %s, %v", name, err)
	}
	if _, _, err := Peer(int(netns.Fd()), "eth0", nil); err == nil {
		t.Error("a link that is not there has no error")
	}
}

// Ports that others publish are free of programs, and of containers of cocker's networks.
func TestFreePorts(t *testing.T) {
	n := up(t)
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	taken := uint16(listener.Addr().(*net.TCPAddr).Port)
	if _, err := FreePorts("c", []config.Port{{HostPort: taken, ContainerPort: 80, Protocol: config.TCP}}); !errors.Is(err, ErrPortTaken) {
		t.Errorf("a program's port: %v", err)
	}
	other := []config.Port{{HostPort: 8080, ContainerPort: 80, Protocol: config.TCP}}
	lease := Lease{Network: n.Name, V4: netip.MustParsePrefix("10.88.3.3/16")}
	if _, err := Publish("other", lease, other); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := Unpublish("other", other); err != nil {
			t.Error(err)
		}
	}()
	if _, err := FreePorts("c", []config.Port{{HostAddress: netip.MustParseAddr("127.0.0.1"), HostPort: 8080, ContainerPort: 1, Protocol: config.TCP}}); !errors.Is(err, ErrPortTaken) {
		t.Errorf("a container's port: %v", err)
	}
	ports, err := FreePorts("c", []config.Port{{ContainerPort: 80, Protocol: config.TCP}, {ContainerPort: 81, Protocol: config.UDP}})
	if err != nil || ports[0].HostPort == 0 || ports[1].HostPort == 0 {
		t.Errorf("%v, %v", ports, err)
	}
}

// move takes a link of the host to a network namespace.
func move(t *testing.T, name string, netns *os.File) {
	t.Helper()
	link, err := netlink.LinkByName(name)
	if err == nil {
		err = netlink.LinkSetNsFd(link, int(netns.Fd()))
	}
	if err != nil {
		t.Fatal(err)
	}
}
