package netsetup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/nftables"
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
// changed for the host as a whole, for a log. Afterwards there is
//   - the bridge, up, with the gateway's address and route_localnet,
//   - the links of running containers on it, if it had been deleted under them,
//   - the nft table "cocker" with all its rules, and the network in its sets;
//     the elements of published ports stay, but see Publish,
//   - IPv4 forwarding.
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
	created, err := ensureBridge(n)
	if err != nil {
		return nil, err
	}
	if created {
		changes = append(changes, "created bridge "+n.Link)
		if err := adoptLinks(n); err != nil {
			return changes, err
		}
	}
	if err := ensureTable(n); err != nil {
		return changes, err
	}
	forwarding, err := ensureForwarding()
	if forwarding {
		changes = append(changes, "turned IPv4 forwarding on (net.ipv4.ip_forward=1)")
	}
	return changes, err
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
	return nil
}

// Down removes the network: the bridge, what is left of stopped containers, and
// the table or, if other networks are in it, the network's elements. Containers
// that still run lose their network until the next Up (and Publish). It
// goes on after an error; what is gone already is success. IPv4 forwarding stays
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
	return errors.Join(deleteCutLinks(n), deleteBridge(n), leaveTable(n))
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
	if err != nil {
		return fmt.Errorf("list bridges of table %s: %w", tableName, err)
	}
	name := string(interfaceName(n.Link))
	switch {
	case len(bridges) == 0 || len(bridges) == 1 && string(bridges[0].Key) == name:
		conn.DelTable(t.Table)
	case contains(bridges, name):
		err = errors.Join(conn.SetDeleteElements(t.bridges, bridgeElements(n)), conn.SetDeleteElements(t.subnets, subnetElements(n)))
	}
	if err := errors.Join(err, conn.Flush()); err != nil {
		return fmt.Errorf("remove %s from table %s: %w", n.Name, tableName, err)
	}
	return nil
}

func contains(elements []nftables.SetElement, key string) bool {
	for _, element := range elements {
		if string(element.Key) == key {
			return true
		}
	}
	return false
}

func nothingIf(gone bool, err error) error {
	if gone {
		return nil
	}
	return err
}

// IsUp tells whether bridge and table are there: two system calls for the one and
// four for the other, cheap enough for each start. It does not see a table that
// somebody has emptied.
func IsUp(n Network) (bool, error) {
	if _, err := linkIndex(n.Link); err != nil {
		return false, nothingIf(errors.Is(err, unix.ENODEV), err)
	}
	conn, err := nftables.New()
	if err != nil {
		return false, fmt.Errorf("open nftables: %w", err)
	}
	if _, err := conn.ListTableOfFamily(tableName, nftables.TableFamilyINet); err != nil {
		return false, nothingIf(errors.Is(err, unix.ENOENT), fmt.Errorf("look up table %s: %w", tableName, err))
	}
	return true, nil
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
