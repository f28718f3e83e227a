package netsetup

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ensureBridge makes the bridge, or sets right what is missing of it, and tells
// whether it was made. A bridge of the host's own has to be there, and stays as it is.
func ensureBridge(n Network) (created bool, err error) {
	if !n.Foreign {
		if created, err = createBridge(n); err != nil {
			return false, err
		}
	}
	link, err := netlink.LinkByName(n.Link)
	if n.Foreign && notFound(err) {
		return false, fmt.Errorf("network %s: the host has no bridge %s, which its file names", n.Name, n.Link)
	}
	if err != nil {
		return created, fmt.Errorf("look up bridge %s: %w", n.Link, err)
	}
	if link.Type() != "bridge" {
		return created, fmt.Errorf("link %s exists and is no bridge but %q", n.Link, link.Type())
	}
	if n.Foreign {
		return false, nil
	}
	if !ownBridge(n, link.Attrs()) {
		return false, fmt.Errorf("bridge %s exists and is not cocker's; to put containers on it, say bridge = %[1]q in the file of network %[2]s",
			n.Link, n.Name)
	}
	return created, configureBridge(n, link)
}

func createBridge(n Network) (created bool, err error) {
	err = netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{
		Name: n.Link,
		// A bridge without an address of its own takes the lowest of its
		// ports', which changes as containers come and go.
		HardwareAddr: bridgeMAC(n),
	}})
	if errors.Is(err, unix.EEXIST) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("create bridge %s: %w", n.Link, err)
	}
	return true, nil
}

func bridgeMAC(n Network) net.HardwareAddr { return hostMAC(n.primary().Gateway) }

// ownBridge: one without an alias is of a process that was killed before it could
// give it one.
func ownBridge(n Network, attrs *netlink.LinkAttrs) bool {
	return attrs.Alias == networkAlias(n.Name) || attrs.HardwareAddr.String() == bridgeMAC(n).String()
}

func configureBridge(n Network, link netlink.Link) error {
	attrs := link.Attrs()
	if attrs.Alias != networkAlias(n.Name) {
		if err := netlink.LinkSetAlias(link, networkAlias(n.Name)); err != nil {
			return fmt.Errorf("bridge %s: set alias: %w", n.Link, err)
		}
	}
	if n.MTU != 0 && attrs.MTU != n.MTU {
		if err := netlink.LinkSetMTU(link, n.MTU); err != nil {
			return fmt.Errorf("bridge %s: set MTU %d: %w", n.Link, n.MTU, err)
		}
	}
	if err := ignoreRouters(n.Link); err != nil {
		return err
	}
	if n.Routed() {
		if err := addGateways(n, attrs.Index); err != nil {
			return fmt.Errorf("bridge %s: %w", n.Link, err)
		}
	} else if err := addPort(n, attrs.Index); err != nil {
		return err
	}
	if err := setUp(attrs.Index); err != nil {
		return fmt.Errorf("set bridge %s up: %w", n.Link, err)
	}
	if !n.Routed() {
		return nil
	}
	if n.V6.valid() {
		if err := answerLoopback6(attrs.Index); err != nil {
			return fmt.Errorf("bridge %s: %w", n.Link, err)
		}
	}
	if !n.V4.valid() {
		return nil
	}
	// What the host sends to 127.0.0.1:PORT leaves through the bridge with a
	// loopback address until the table masquerades it. The table's chain "guard"
	// drops what this would let in (CVE-2020-8558).
	return setSysctl("net/ipv4/conf/"+n.Link+"/route_localnet", "1")
}

func addGateways(n Network, index int) error {
	if n.V6.valid() {
		// Where the host has IPv6 off for all new links.
		err := setSysctl("net/ipv6/conf/"+n.Link+"/disable_ipv6", "0")
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("subnet %s: this kernel has no IPv6", n.V6.Prefix)
		}
		if err != nil {
			return err
		}
	}
	for _, subnet := range n.subnets() {
		if err := addAddress(index, subnet.prefix(subnet.Gateway)); err != nil {
			return err
		}
	}
	return nil
}

// ignoreRouters keeps the host from believing router advertisements that come
// from the bridge: any container with CAP_NET_RAW can send them, and would be the
// host's IPv6 router (CVE-2020-13401). It comes before the bridge is up.
func ignoreRouters(bridge string) error {
	for _, key := range []string{"accept_ra", "autoconf"} {
		err := setSysctl("net/ipv6/conf/"+bridge+"/"+key, "0")
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // no IPv6 in this kernel
			return err
		}
	}
	return nil
}

// adoptLinks puts the links of running containers back on a bridge that was
// deleted under them.
func adoptLinks(n Network) error {
	index, err := linkIndex(n.Link)
	if err != nil {
		return err
	}
	return eachLink(n, func(link netlink.Link) error {
		if attrs := link.Attrs(); attrs.MasterIndex == 0 && isUp(attrs) {
			return adopt(index, attrs)
		}
		return nil
	})
}

// deleteCutLinks removes what Detach has left in namespaces that live on.
func deleteCutLinks(n Network) error {
	return eachLink(n, func(link netlink.Link) error {
		if isUp(link.Attrs()) {
			return nil
		}
		if err := netlink.LinkDel(link); err != nil && !errors.Is(err, unix.ENODEV) {
			return fmt.Errorf("delete link %s: %w", link.Attrs().Name, err)
		}
		return nil
	})
}

func isUp(attrs *netlink.LinkAttrs) bool { return attrs.RawFlags&unix.IFF_UP != 0 }

// eachLink goes through the links of the network's containers, and goes on after
// an error.
func eachLink(n Network, do func(netlink.Link) error) error {
	links, err := listLinks()
	if err != nil {
		return err
	}
	var failed []error
	for _, link := range links {
		if ofNetwork(n, link.Attrs()) {
			failed = append(failed, do(link))
		}
	}
	return errors.Join(failed...)
}

func listLinks() ([]netlink.Link, error) {
	links, err := whole(netlink.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	return links, nil
}

// whole asks again when something has come or gone between two parts of the answer,
// as links do wherever containers start and stop: the kernel then marks it as possibly
// incomplete (NLM_F_DUMP_INTR, "Dump consistency" in
// Documentation/userspace-api/netlink/intro.rst).
func whole[T any](list func() ([]T, error)) ([]T, error) {
	for {
		all, err := list()
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			return all, err
		}
	}
}

// ofNetwork: the alias says so.
func ofNetwork(n Network, attrs *netlink.LinkAttrs) bool {
	return strings.HasPrefix(attrs.Alias, linkAlias(n.Name, ""))
}

func adopt(bridge int, attrs *netlink.LinkAttrs) error {
	link := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: attrs.Index}}
	if err := netlink.LinkSetMasterByIndex(link, bridge); err != nil {
		return fmt.Errorf("put link %s back on its bridge: %w", attrs.Name, err)
	}
	return describeHostLink(attrs.Index, attrs.Alias)
}

// deleteOwn deletes a link that cocker has made for the network.
func deleteOwn(n Network, name string) error {
	link, err := netlink.LinkByName(name)
	if notFound(err) {
		return nil
	}
	if err == nil && (ownBridge(n, link.Attrs()) || link.Attrs().Alias == networkAlias(n.Name)) {
		err = netlink.LinkDel(link)
	}
	if err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("delete link %s: %w", name, err)
	}
	return nil
}

// setSysctl writes a key in its form with slashes: the name of a link may have dots.
func setSysctl(key, value string) error {
	file, err := unix.Open(filepath.Join("/proc/sys", key), unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("set sysctl %s: %w", key, err)
	}
	_, err = unix.Write(file, []byte(value))
	if err := errors.Join(err, unix.Close(file)); err != nil {
		return fmt.Errorf("set sysctl %s=%s: %w", key, value, err)
	}
	return nil
}
