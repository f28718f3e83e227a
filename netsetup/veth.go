package netsetup

import (
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// vethPair is what make makes. Moving an end into a namespace costs about
// 30 ms (the kernel waits for RCU), so the container's end is born there.
type vethPair struct {
	network   Network
	container string
	index     int // which of the container's links
	bridge    int // the index of its link
	mac       net.HardwareAddr
	inside    insideLink
}

// make makes the pair in one message, the host's end up and on the bridge,
// and gives the host's end its alias. It returns the host's end.
func (p vethPair) make() (name string, index int, err error) {
	name, err = p.create()
	if errors.Is(err, unix.EEXIST) {
		if err := deleteLinks(p.network, p.container); err != nil {
			return "", 0, err
		}
		name, err = p.create()
	}
	if err != nil {
		return "", 0, fmt.Errorf("create link %s: %w", name, err)
	}
	if index, err = linkIndex(name); err != nil {
		return "", 0, err
	}
	return name, index, describeHostLink(index, linkAlias(p.network.Name, p.container))
}

// create takes the first name that is free. Should the link of a previous run
// still be up, because its cleanup was killed, it is cut.
func (p vethPair) create() (name string, err error) {
	names := hostLinks(p.network.Name, p.container, p.index)
	if err = p.message(names[0]); !errors.Is(err, unix.EEXIST) {
		return names[0], err
	}
	if err := cutLinks(p.network, p.container); err != nil {
		return names[0], err
	}
	return names[1], p.message(names[1])
}

func (p vethPair) message(name string) error {
	request := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK)
	request.AddData(linkUp(0))
	request.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name)))
	request.AddData(nl.NewRtAttr(unix.IFLA_ADDRESS, hostMAC(p.inside.lease.Address())))
	request.AddData(nl.NewRtAttr(unix.IFLA_MASTER, nl.Uint32Attr(uint32(p.bridge))))

	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated("veth"))
	peer := info.AddRtAttr(nl.IFLA_INFO_DATA, nil).AddRtAttr(nl.VETH_INFO_PEER, nil)
	peer.AddChild(nl.NewIfInfomsg(unix.AF_UNSPEC)) // veth_open refuses to be up before it has a peer
	peer.AddRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(p.inside.name))
	peer.AddRtAttr(unix.IFLA_ADDRESS, p.mac)
	peer.AddRtAttr(unix.IFLA_NET_NS_FD, nl.Uint32Attr(uint32(p.inside.netns)))
	if p.network.MTU != 0 {
		mtu := nl.Uint32Attr(uint32(p.network.MTU))
		request.AddData(nl.NewRtAttr(unix.IFLA_MTU, mtu))
		peer.AddRtAttr(unix.IFLA_MTU, mtu)
	}
	request.AddData(info)

	_, err := request.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// linkUp is the header of a message that sets a link up.
func linkUp(index int) *nl.IfInfomsg {
	header := nl.NewIfInfomsg(unix.AF_UNSPEC)
	header.Index = int32(index)
	header.Flags = unix.IFF_UP
	header.Change = unix.IFF_UP
	return header
}

// describeHostLink sets what the kernel does not take when a link is created: the
// alias, and hairpin mode. The latter lets a container reach its own published
// port where br_netfilter is loaded: the rewritten frame then leaves through the
// port that it came from.
func describeHostLink(index int, alias string) error {
	request := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_ACK)
	header := nl.NewIfInfomsg(unix.AF_UNSPEC)
	header.Index = int32(index)
	request.AddData(header)
	request.AddData(nl.NewRtAttr(unix.IFLA_IFALIAS, nl.NonZeroTerminated(alias)))
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_SLAVE_KIND, nl.NonZeroTerminated("bridge"))
	info.AddRtAttr(nl.IFLA_INFO_SLAVE_DATA, nil).AddRtAttr(nl.IFLA_BRPORT_MODE, nl.Uint8Attr(1))
	request.AddData(info)
	if _, err := request.Execute(unix.NETLINK_ROUTE, 0); err != nil {
		return fmt.Errorf("set alias %s and hairpin mode: %w", alias, err)
	}
	return nil
}

// deleteLinks removes the host's end of the container's pair, and the other end
// with it. That takes 22 ms, while the kernel waits for RCU.
func deleteLinks(n Network, container string) error {
	return withLinks(n, container, "delete", netlink.LinkDel)
}

// cutLinks sets the host's end down, which takes 0.1 ms: the link goes with the
// container's namespace, and if a process that is still there keeps that alive,
// nothing it sends gets out under an address that may soon be another's.
func cutLinks(n Network, container string) error {
	return withLinks(n, container, "set down", netlink.LinkSetDown)
}

// withLinks does something to the host's end of the container's pair in that network, and goes on
// after an error. A link that is gone already is success; one of the same name
// that is another container's, or none of ours, is left alone.
func withLinks(n Network, container, verb string, do func(netlink.Link) error) error {
	var failed []error
	for _, name := range allHostLinks(n.Name, container) {
		link, err := netlink.LinkByName(name)
		if err == nil && owns(n, container, link) {
			err = do(link)
		}
		if err != nil && !notFound(err) {
			failed = append(failed, fmt.Errorf("%s link %s: %w", verb, name, err))
		}
	}
	return errors.Join(failed...)
}

// owns: a veth of ours without an alias is of a launcher that was killed between
// its two messages.
func owns(n Network, container string, link netlink.Link) bool {
	alias := link.Attrs().Alias
	return link.Type() == "veth" && (alias == "" || alias == linkAlias(n.Name, container))
}

func notFound(err error) bool {
	var missing netlink.LinkNotFoundError
	return errors.As(err, &missing) || errors.Is(err, unix.ENODEV)
}

// linkIndex is the index of the link by that name; ENODEV if there is none. An
// ioctl takes 2 us where RTM_GETLINK also sends and parses all the statistics; but
// for a link that does not exist it starts modprobe, so it is for those that do.
func linkIndex(name string) (int, error) {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("look up link %s: %w", name, err)
	}
	defer unix.Close(socket)
	request, err := unix.NewIfreq(name)
	if err == nil {
		err = unix.IoctlIfreq(socket, unix.SIOCGIFINDEX, request)
	}
	if err != nil {
		return 0, fmt.Errorf("look up link %s: %w", name, err)
	}
	return int(request.Uint32()), nil
}
