package netsetup

import (
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/config"
)

// ensureParent checks that the link is there that the containers' links are made on,
// and sets it up if it is cocker's VLAN.
func ensureParent(n Network) error {
	if _, err := linkIndex(n.Link); err != nil {
		if errors.Is(err, unix.ENODEV) {
			return fmt.Errorf("network %s: the host has no link %s", n.Name, n.Link)
		}
		return err
	}
	return nil
}

// ensureVLAN makes the link of a VLAN on the parent. One that is there already is used,
// and stays if it is not cocker's.
func ensureVLAN(n Network) (changes []string, err error) {
	name := vlanLink(n)
	parent, err := linkIndex(n.Parent)
	if errors.Is(err, unix.ENODEV) {
		return nil, fmt.Errorf("network %s: the host has no link %s", n.Name, n.Parent)
	}
	if err != nil {
		return nil, err
	}
	link := &netlink.Vlan{LinkAttrs: netlink.LinkAttrs{Name: name, ParentIndex: parent}, VlanId: int(n.VLAN)}
	err = netlink.LinkAdd(link)
	switch {
	case err == nil:
		changes = append(changes, "created VLAN "+name)
		err = netlink.LinkSetAlias(link, networkAlias(n.Name))
	case errors.Is(err, unix.EEXIST):
		err = checkVLAN(n, name, parent)
	}
	if err != nil {
		return changes, fmt.Errorf("VLAN %d on %s: %w", n.VLAN, n.Parent, kernelLacks("VLANs", err))
	}
	index, err := linkIndex(name)
	if err != nil {
		return changes, err
	}
	if err := setUp(index); err != nil {
		return changes, fmt.Errorf("set %s up: %w", name, err)
	}
	return changes, nil
}

func checkVLAN(n Network, name string, parent int) error {
	link, err := netlink.LinkByName(name)
	if notFound(err) {
		return fmt.Errorf("the VLAN is on a link of another name; say parent = that name, without vlan: %w", unix.EEXIST)
	}
	if err != nil {
		return err
	}
	vlan, ok := link.(*netlink.Vlan)
	if !ok || vlan.VlanId != int(n.VLAN) || vlan.ParentIndex != parent {
		return fmt.Errorf("link %s exists and is another one (%s)", name, link.Type())
	}
	return nil
}

// addPort puts the VLAN's link on the bridge.
func addPort(n Network, bridge int) error {
	index, err := linkIndex(vlanLink(n))
	if err != nil {
		return err
	}
	if err := netlink.LinkSetMasterByIndex(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: index}}, bridge); err != nil {
		return fmt.Errorf("put %s on bridge %s: %w", vlanLink(n), n.Link, err)
	}
	return nil
}

// attachShared connects a namespace by a link that shares the host's link of that
// index. It is born in the namespace, and goes with it.
func attachShared(n Network, link int, mac net.HardwareAddr, inside insideLink) error {
	attrs := netlink.LinkAttrs{Name: inside.name, ParentIndex: link, MTU: n.MTU, Namespace: netlink.NsFd(inside.netns)}
	var wanted netlink.Link
	var err error
	if n.Kind == config.KindMacvlan {
		attrs.HardwareAddr = mac
		mode, ok := macvlanModes[n.Mode]
		if !ok {
			return fmt.Errorf("macvlan has no mode %q", n.Mode)
		}
		wanted = &netlink.Macvlan{LinkAttrs: attrs, Mode: mode}
	} else {
		mode, ok := ipvlanModes[n.Mode]
		if !ok {
			return fmt.Errorf("ipvlan has no mode %q", n.Mode)
		}
		wanted = &netlink.IPVlan{LinkAttrs: attrs, Mode: mode}
		inside.noNeighbours = mode != netlink.IPVLAN_MODE_L2
	}
	if err = netlink.LinkAdd(wanted); err != nil {
		return fmt.Errorf("create %s link %s on %s: %w", n.Kind, inside.name, n.Link, kernelLacks(string(n.Kind), err))
	}
	if err := inside.configure(); err != nil {
		return errors.Join(err, inside.remove())
	}
	return nil
}

// The first one of each list in linux/if_link.h that fits containers is for "".
var (
	macvlanModes = map[string]netlink.MacvlanMode{
		"": netlink.MACVLAN_MODE_BRIDGE, "bridge": netlink.MACVLAN_MODE_BRIDGE, "private": netlink.MACVLAN_MODE_PRIVATE,
		"vepa": netlink.MACVLAN_MODE_VEPA, "passthru": netlink.MACVLAN_MODE_PASSTHRU,
	}
	ipvlanModes = map[string]netlink.IPVlanMode{
		"": netlink.IPVLAN_MODE_L2, "l2": netlink.IPVLAN_MODE_L2, "l3": netlink.IPVLAN_MODE_L3, "l3s": netlink.IPVLAN_MODE_L3S,
	}
)

// kernelLacks: rtnl_newlink says EOPNOTSUPP where no module has the kind of link.
func kernelLacks(what string, err error) error {
	if errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("this kernel has no %s: %w", what, err)
	}
	return err
}
