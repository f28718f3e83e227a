package netsetup

import (
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/config"
)

// Mark is a number by which this network namespace knows another one (RTM_NEWNSID,
// ip-netns(8)), as long as that exists. It leads to links of which nothing is on the host's
// side, when no process of the container is left to lead there. The kernel itself counts
// from 0, so a number that is drawn by chance does not come back. 0: none.
type Mark int32

// ifTargetNetNSID is IFLA_TARGET_NETNSID of linux/if_link.h.
const ifTargetNetNSID = 46

// NewMark draws one for a namespace that will have links of those networks; 0 if Detach
// reaches all of them.
func NewMark(networks []Network) Mark {
	for _, n := range networks {
		if !n.bridged() {
			return Mark(1<<16 + rand.Int32N(1<<30))
		}
	}
	return 0
}

// Set marks the network namespace of the descriptor, before it has links: the kernel gives
// a number to one that has, and a namespace has one only.
func (m Mark) Set(netns int) error {
	if m == 0 {
		return nil
	}
	if err := netlink.SetNetNsIdByFd(netns, int(m)); err != nil {
		return fmt.Errorf("number the network namespace: %w", err)
	}
	return nil
}

// Cut deletes the macvlan and ipvlan links in the namespace: if a process that does not
// belong to the container keeps it, they would go on to use addresses that may soon be
// another's. A namespace that is gone, as it mostly is, has taken them along.
func (m Mark) Cut() error {
	if m == 0 {
		return nil
	}
	links, err := whole(m.links)
	if errors.Is(err, unix.EINVAL) { // rtnl_get_net_ns_capable: no namespace of that number
		return nil
	}
	if err != nil {
		return fmt.Errorf("list the links of a container that has ended: %w", err)
	}
	var failed []error
	for _, link := range links {
		if kind := config.NetworkKind(link.Type()); kind != config.KindMacvlan && kind != config.KindIPvlan {
			continue
		}
		if err := m.deleteLink(link.Attrs().Index); err != nil && !errors.Is(err, unix.ENODEV) && !errors.Is(err, unix.EINVAL) {
			failed = append(failed, fmt.Errorf("delete link %s of a container that has ended: %w", link.Attrs().Name, err))
		}
	}
	return errors.Join(failed...)
}

func (m Mark) links() (links []netlink.Link, err error) {
	messages, err := m.request(unix.RTM_GETLINK, unix.NLM_F_DUMP, 0).Execute(unix.NETLINK_ROUTE, unix.RTM_NEWLINK)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, err
	}
	for _, message := range messages {
		link, parseErr := netlink.LinkDeserialize(nil, message)
		if parseErr != nil {
			return nil, parseErr
		}
		links = append(links, link)
	}
	return links, err
}

func (m Mark) deleteLink(index int) error {
	_, err := m.request(unix.RTM_DELLINK, unix.NLM_F_ACK, index).Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// request is about a link in the namespace.
func (m Mark) request(kind, flags, index int) *nl.NetlinkRequest {
	request := nl.NewNetlinkRequest(kind, flags)
	header := nl.NewIfInfomsg(unix.AF_UNSPEC)
	header.Index = int32(index)
	request.AddData(header)
	request.AddData(nl.NewRtAttr(ifTargetNetNSID, nl.Uint32Attr(uint32(m))))
	return request
}
