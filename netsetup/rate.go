package netsetup

import (
	"errors"
	"fmt"
	"hash/fnv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// SetRate limits what a container sends and receives through one of its links, in bits
// in a second; 0 is no limit. link is the host's end of the pair: the container is root
// in its own network namespace and could remove whatever limits it there. It may be
// called again, with other rates, while traffic flows.
//
// What the container receives is what the host's end sends, which waits in a token
// bucket (tc-tbf(8)). What it sends arrives at the host's end, where nothing can wait;
// it is led through the bucket of an intermediate device (ifb), and goes on from there
// as if it had just arrived. A policer (act_police) would do without the device, but
// drops what it could delay: TCP then stays well below the rate, or jumps around it.
//
// The device stays when the link goes with the container's namespace, so whoever has
// set a limit calls SetRate(link, 0, 0) at the end. It succeeds if all is gone already.
func SetRate(link string, egress, ingress uint64) error {
	if !validInterface(link) {
		return fmt.Errorf("limit the rate of link %q: no name of a link of the host", link)
	}
	host, err := netlink.LinkByName(link)
	switch {
	case notFound(err) && egress == 0 && ingress == 0:
		return wrapRate(link, removeShaper(link))
	case err != nil:
		return wrapRate(link, err)
	}
	return wrapRate(link, errors.Join(setIngress(host, ingress), setEgress(host, egress)))
}

func wrapRate(link string, err error) error {
	if err != nil {
		return fmt.Errorf("limit the rate of link %s: %w", link, err)
	}
	return nil
}

// bucketHandle names our bucket among the queues of a link; the kernel's own have 0.
const bucketHandle = 1 << 16

// setIngress limits what goes to the container.
func setIngress(host netlink.Link, rate uint64) error {
	if rate != 0 {
		return setBucket(host, rate)
	}
	bucket := &netlink.Tbf{QdiscAttrs: bucketAttrs(host)}
	err := netlink.QdiscDel(bucket)
	// ENOENT and EINVAL: there is no queue but the kernel's own.
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) || notFound(err) {
		return nil
	}
	return err
}

// setEgress limits what comes from the container.
func setEgress(host netlink.Link, rate uint64) error {
	if rate == 0 {
		err := netlink.QdiscDel(ingressQueue(host))
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) || notFound(err) {
			err = nil
		}
		return errors.Join(err, removeShaper(host.Attrs().Name))
	}
	shaper, made, err := ensureShaper(host)
	if err != nil {
		return err
	}
	if err = setBucket(shaper, rate); err == nil {
		err = redirect(host, shaper.Attrs().Index)
	}
	if err != nil && made {
		err = errors.Join(err, setEgress(host, 0))
	}
	return err
}

func bucketAttrs(link netlink.Link) netlink.QdiscAttrs {
	return netlink.QdiscAttrs{LinkIndex: link.Attrs().Index, Parent: netlink.HANDLE_ROOT, Handle: bucketHandle}
}

func ingressQueue(host netlink.Link) netlink.Qdisc {
	return &netlink.Ingress{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: host.Attrs().Index, Parent: netlink.HANDLE_INGRESS, Handle: netlink.MakeHandle(0xffff, 0),
	}}
}

// setBucket makes the bucket of a link, or changes its rate without a loss.
func setBucket(link netlink.Link, rate uint64) error {
	bytes := rate / 8
	burst := burstOf(bytes, link.Attrs().MTU)
	if lowest := uint64(burst)/slowest + 1; bytes < lowest {
		return fmt.Errorf("%d bits in a second are too few for packets of %d bytes; use %d or more", rate, link.Attrs().MTU, 8*lowest)
	}
	bucket := &netlink.Tbf{
		QdiscAttrs: bucketAttrs(link),
		Rate:       bytes,
		Buffer:     netlink.Xmittime(bytes, burst),
		Limit:      limitOf(bytes, burst, link.Attrs().MTU),
	}
	return lacking(netlink.QdiscReplace(bucket), "token bucket", "sch_tbf")
}

const (
	frameHeader  = 18  // Ethernet's, with a VLAN tag
	wakeUps      = 100 // of a queue in a second, at least: the slowest timer that a kernel is built with (CONFIG_HZ_100)
	delays       = 20  // a full bucket's queue is 1/20 s long, as in the examples of tc-tbf(8)
	fewestFrames = 32  // of the queue: three connections begin with 10 segments each (RFC 6928)
	mostBytes    = 1 << 30
	slowest      = 4 // seconds for a burst: the kernel counts them in 32 bits of nanoseconds (tbf_change)
)

// burstOf is how many bytes may go out at once. tc-tbf(8): at least what the rate has
// for one tick of the timer, or the rate is not reached; and a packet that is larger
// never gets through (tbf_enqueue in net/sched/sch_tbf.c cuts those of segmentation
// offload into frames, which costs nothing that counts at rates so low). More would
// let a container exceed its rate by just that.
func burstOf(bytes uint64, mtu int) uint32 {
	return uint32(min(max(bytes/wakeUps, 2*uint64(mtu+frameHeader)), mostBytes))
}

// limitOf is how many bytes may wait. What is longer only delays; what is much shorter
// drops the first flight of a connection.
func limitOf(bytes uint64, burst uint32, mtu int) uint32 {
	queue := max(bytes/delays, fewestFrames*uint64(mtu+frameHeader))
	return burst + uint32(min(queue, mostBytes))
}

// ensureShaper makes the intermediate device of a link.
func ensureShaper(host netlink.Link) (shaper netlink.Link, made bool, err error) {
	name := shaperName(host.Attrs().Name)
	if shaper, err = netlink.LinkByName(name); err == nil {
		if !isShaper(host.Attrs().Name, shaper) {
			return nil, false, fmt.Errorf("link %s, which is for what the container sends, is somebody else's", name)
		}
		// Its maker may have been killed before it was up.
		return shaper, false, netlink.LinkSetUp(shaper)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.Alias, attrs.Flags = name, host.Attrs().MTU, shaperAlias(host.Attrs().Name), 0
	err = netlink.LinkAdd(&netlink.Ifb{LinkAttrs: attrs})
	if err = lacking(err, "intermediate devices", "ifb"); err != nil {
		return nil, false, err
	}
	if shaper, err = netlink.LinkByName(name); err == nil {
		err = errors.Join(netlink.LinkSetAlias(shaper, attrs.Alias), netlink.LinkSetUp(shaper))
	}
	if err != nil {
		return nil, false, errors.Join(fmt.Errorf("make link %s: %w", name, err), removeShaper(host.Attrs().Name))
	}
	return shaper, true, nil
}

// redirect leads what arrives at the host's end through the intermediate device.
func redirect(host netlink.Link, shaper int) error {
	err := netlink.QdiscAdd(ingressQueue(host))
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return lacking(err, "queue for what arrives", "sch_ingress")
	}
	// Every packet: u32 is the one classifier that each kernel with tc has, and without
	// a key it looks at none.
	filter := &netlink.U32{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: host.Attrs().Index, Parent: netlink.MakeHandle(0xffff, 0),
			Priority: 1, Protocol: unix.ETH_P_ALL,
		},
		Actions: []netlink.Action{netlink.NewMirredAction(shaper)},
	}
	there, err := netlink.FilterList(host, netlink.MakeHandle(0xffff, 0))
	if err != nil || len(there) > 0 {
		return err
	}
	return lacking(netlink.FilterAdd(filter), "redirection of packets", "cls_u32 or act_mirred")
}

// removeShaper deletes the intermediate device of a link, if there is one.
func removeShaper(link string) error {
	shaper, err := netlink.LinkByName(shaperName(link))
	if err == nil && isShaper(link, shaper) {
		err = netlink.LinkDel(shaper)
	}
	if err != nil && !notFound(err) {
		return fmt.Errorf("delete link %s: %w", shaperName(link), err)
	}
	return nil
}

// shaperName is the name of the device for a link: ck-web has cq-web.
func shaperName(link string) string {
	if rest, ok := strings.CutPrefix(link, "ck"); ok {
		return "cq" + rest
	}
	sum := fnv.New64a()
	sum.Write([]byte(link))
	return fmt.Sprintf("cq_%012x", sum.Sum64()&(1<<48-1))
}

func shaperAlias(link string) string { return aliasPrefix + "rate:" + link }

// isShaper: one without an alias is of somebody who was killed before he gave it one.
func isShaper(link string, shaper netlink.Link) bool {
	alias := shaper.Attrs().Alias
	return shaper.Type() == "ifb" && (alias == "" || alias == shaperAlias(link))
}

// lacking says what a kernel lacks that does not know a kind of queue, classifier or
// device: ENOENT is tc's word for that, EOPNOTSUPP rtnetlink's.
func lacking(err error, what, module string) error {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("the kernel has no %s (module %s), which egress_max and ingress_max need: %w", what, module, err)
	}
	return err
}
