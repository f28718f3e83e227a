package netsetup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ensureBridge makes the bridge, or sets right what is missing of it, and tells
// whether it was made.
func ensureBridge(n Network) (created bool, err error) {
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{
		Name: n.Link,
		MTU:  n.MTU,
		// A bridge without an address of its own takes the lowest of its
		// ports', which changes as containers come and go.
		HardwareAddr: hostMAC(n.primary().Gateway),
	}}
	err = netlink.LinkAdd(bridge)
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return false, fmt.Errorf("create bridge %s: %w", n.Link, err)
	}
	created = err == nil
	link, err := netlink.LinkByName(n.Link)
	if err != nil {
		return created, fmt.Errorf("look up bridge %s: %w", n.Link, err)
	}
	if link.Type() != "bridge" {
		return created, fmt.Errorf("link %s exists and is no bridge but %q", n.Link, link.Type())
	}
	return created, configureBridge(n, link.Attrs().Index)
}

func configureBridge(n Network, index int) error {
	if err := ignoreRouters(n.Link); err != nil {
		return err
	}
	for _, subnet := range n.subnets() {
		if err := addAddress(index, subnet.prefix(subnet.Gateway)); err != nil {
			return fmt.Errorf("bridge %s: %w", n.Link, err)
		}
	}
	if err := setUp(index); err != nil {
		return fmt.Errorf("set bridge %s up: %w", n.Link, err)
	}
	// What the host sends to 127.0.0.1:PORT leaves through the bridge with a
	// loopback address until the table masquerades it. The table's chain "guard"
	// drops what this would let in (CVE-2020-8558).
	return setSysctl("net/ipv4/conf/"+n.Link+"/route_localnet", "1")
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

// listLinks asks again when links have come or gone between two parts of the answer,
// as they do wherever containers start and stop: the kernel then marks it as possibly
// incomplete (NLM_F_DUMP_INTR, "Dump consistency" in
// Documentation/userspace-api/netlink/intro.rst).
func listLinks() ([]netlink.Link, error) {
	for {
		links, err := netlink.LinkList()
		if errors.Is(err, netlink.ErrDumpInterrupted) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list links: %w", err)
		}
		return links, nil
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

func deleteBridge(n Network) error {
	link, err := netlink.LinkByName(n.Link)
	if notFound(err) {
		return nil
	}
	if err == nil && link.Type() == "bridge" {
		err = netlink.LinkDel(link)
	}
	if err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("delete bridge %s: %w", n.Link, err)
	}
	return nil
}

// ensureForwarding turns IPv4 forwarding on if it is off, and tells whether it did.
func ensureForwarding() (changed bool, err error) {
	const key = "net/ipv4/ip_forward"
	value, err := os.ReadFile(filepath.Join("/proc/sys", key))
	if err != nil {
		return false, fmt.Errorf("read sysctl %s: %w", key, err)
	}
	if strings.TrimSpace(string(value)) != "0" {
		return false, nil
	}
	return true, setSysctl(key, "1")
}

// setSysctl writes a key in its form with slashes: the name of a link may have dots.
func setSysctl(key, value string) error {
	file, err := os.OpenFile(filepath.Join("/proc/sys", key), os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("set sysctl %s: %w", key, err)
	}
	_, err = file.WriteString(value)
	if err := errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("set sysctl %s=%s: %w", key, value, err)
	}
	return nil
}
