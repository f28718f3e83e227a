package netsetup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/internal/paths"
)

// lockFile keeps two callers of Up and Down apart. It is flock(2)ed, so a killed
// caller leaves no lock.
const lockFile = paths.Runtime + "/network.lock"

// Up makes the network, or what is missing of it; see Ensure.
func Up(n Network) error {
	_, err := Ensure(n)
	return err
}

// Ensure makes the network, or what is missing of it, and tells in words what it
// changed for the host as a whole, for a log. Afterwards there is, if the host is the
// network's router (see Routed),
//   - the bridge, up, with the gateways' addresses and route_localnet,
//   - the links of running containers on it, if it had been deleted under them,
//   - the nft table "cocker" with all its rules, and the network in its sets;
//     the elements of published ports stay, but see Publish,
//   - forwarding of the families that the network has, unless it is internal.
//
// Of the other networks there is the bridge or the VLAN's link if they are cocker's;
// a bridge of the host and a parent have to be there.
//
// It may be called at any time, by several processes at once.
func Ensure(n Network) (changes []string, err error) {
	if err := n.check(); err != nil {
		return nil, err
	}
	unlock, err := lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	if n.VLAN != 0 {
		if changes, err = ensureVLAN(n); err != nil {
			return changes, err
		}
	}
	if !n.bridged() {
		return changes, ensureParent(n)
	}
	if n.Routed() {
		if err := unique(n); err != nil {
			return changes, err
		}
	}
	created, err := ensureBridge(n)
	if created {
		changes = append(changes, "created bridge "+n.Link)
	}
	var forwarding []string
	if err == nil {
		forwarding, err = ensureRest(n)
	}
	if err != nil && created { // nobody takes down what did not come up
		err = errors.Join(err, down(n))
	}
	return append(changes, forwarding...), err
}

// ensureRest is what comes after the bridge.
func ensureRest(n Network) (changes []string, err error) {
	if err := adoptLinks(n); err != nil || !n.Routed() {
		return nil, err
	}
	if err := ensureTable(n); err != nil {
		return nil, err
	}
	return ensureForwarding(n)
}

func ensureTable(n Network) error {
	batch, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	if err := newTable().ensure(batch, n); err != nil {
		return fmt.Errorf("describe table %s: %w", tableName, err)
	}
	if err := batch.Flush(); err != nil {
		return fmt.Errorf("make table %s: %w", tableName, err)
	}
	return newTable().dropStaleSubnets(batch, n)
}

// unique refuses a subnet that overlaps one of another network of cocker, which is known
// by its bridge: containers of the one could not be told from those of the other.
func unique(n Network) error {
	addresses, err := whole(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range addresses {
		prefix, ok := prefixOf(a.IPNet)
		if !ok || !slices.ContainsFunc(n.subnets(), func(s Subnet) bool { return s.Prefix.Overlaps(prefix.Masked()) }) {
			continue
		}
		link, err := netlink.LinkByIndex(a.LinkIndex)
		if notFound(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("look up the link of %s: %w", prefix, err)
		}
		other, ours := strings.CutPrefix(link.Attrs().Alias, aliasPrefix)
		if ours && other != n.Name && link.Type() == "bridge" {
			return fmt.Errorf("network %s: its subnets overlap %s of network %s; choose others", n.Name, prefix.Masked(), other)
		}
	}
	return nil
}

// Down removes the network: its bridge and VLAN if they are cocker's, what is left of
// stopped containers, and
// the table or, if other networks are in it, the network's elements. Containers
// that still run lose their network until the next Up (and Publish). It
// goes on after an error; what is gone already is success. Forwarding stays
// as it is, since others may rely on it by now.
func Down(n Network) error {
	if err := n.check(); err != nil {
		return err
	}
	unlock, err := lock()
	if err != nil {
		return err
	}
	defer unlock()
	return down(n)
}

func down(n Network) error {
	var failed []error
	if n.bridged() {
		failed = append(failed, deleteCutLinks(n))
	}
	if n.bridged() && !n.Foreign {
		failed = append(failed, deleteOwn(n, n.Link))
	}
	if n.VLAN != 0 {
		failed = append(failed, deleteOwn(n, vlanLink(n)))
	}
	if n.Routed() {
		failed = append(failed, leaveTable(n))
	}
	return errors.Join(failed...)
}

func leaveTable(n Network) error {
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	t := newTable()
	if _, err := conn.ListTableOfFamily(tableName, t.Family); err != nil {
		return nothingIf(errors.Is(err, unix.ENOENT), fmt.Errorf("look up table %s: %w", tableName, err))
	}
	bridges, err := conn.GetSetElements(t.bridges)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("list bridges of table %s: %w", tableName, err)
	}
	name := string(interfaceName(n.Link))
	if len(bridges) == 0 || len(bridges) == 1 && string(bridges[0].Key) == name {
		conn.DelTable(t.Table)
		if err := conn.Flush(); err != nil {
			return fmt.Errorf("delete table %s: %w", tableName, err)
		}
		return nil
	}
	// Each for itself: one that is not there spoils a whole transaction.
	var failed []error
	for _, p := range t.elementsOf(n) {
		err := conn.SetDeleteElements(p.set, p.elements)
		if err = errors.Join(err, conn.Flush()); err != nil && !errors.Is(err, unix.ENOENT) {
			failed = append(failed, fmt.Errorf("remove %s from set %s: %w", n.Name, p.set.Name, err))
		}
	}
	return errors.Join(append(failed, t.dropStaleSubnets(conn))...)
}

func nothingIf(gone bool, err error) error {
	if gone {
		return nil
	}
	return err
}

// IsUp tells whether the bridge is there and the table is whole, but for the elements
// of published ports: a handful of short questions to the kernel in one message, cheap
// enough for each start. Of a network that the host does not route it tells whether the link is there.
func IsUp(n Network) (bool, error) {
	if _, err := linkIndex(n.Link); err != nil {
		return false, nothingIf(errors.Is(err, unix.ENODEV), err)
	}
	if !n.Routed() {
		return true, nil
	}
	get, err := openGetter()
	if err != nil {
		return false, err
	}
	defer get.Close()
	missing, err := get.missing(newTable(), n)
	return missing == "" && err == nil, err
}

// missing names what the table has not, though it should: "" if there is nothing.
func (g getter) missing(t table, n Network) (string, error) {
	members := t.elementsOf(n)
	questions := []question{chainQuestion(t.Table)}
	for _, p := range members {
		questions = append(questions, elementQuestion(p.set, p.elements[0].Key))
	}
	answers, err := g.ask(questions...)
	if err != nil {
		return "", err
	}
	uses, err := answers[0].uses(t.Table)
	if err != nil {
		return "", err
	}
	for _, c := range chainSizes() {
		if uses[c.name] < c.rules { // jumps to the chain count, too
			return "chain " + c.name, nil
		}
	}
	for i, p := range members {
		element, err := answers[i+1].element(p.set)
		if err != nil {
			return "", err
		}
		if element.key == nil {
			return "set " + p.set.Name, nil
		}
	}
	return "", nil
}

// lock waits for its turn among the callers of Up and Down on this host.
func lock() (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(lockFile), 0o755); err != nil {
		return nil, fmt.Errorf("lock the network: %w", err)
	}
	file, err := os.OpenFile(lockFile, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the network: %w", err)
	}
	for {
		err = unix.Flock(int(file.Fd()), unix.LOCK_EX)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("lock %s: %w", lockFile, err)
	}
	return func() { file.Close() }, nil
}
