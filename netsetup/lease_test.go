package netsetup

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/cocker/cocker/config"
)

func fixed(address netip.Addr) config.Join { return config.Join{Address: address} }

// testNetwork is a bridge network with those subnets.
func testNetwork(name string, subnets ...string) Network {
	n := Network{Name: name, Link: name, Kind: config.KindBridge}
	for _, text := range subnets {
		s := completed(config.Subnet{Prefix: netip.MustParsePrefix(text)})
		if s.Prefix.Addr().Is4() {
			n.V4 = s
		} else {
			n.V6 = s
		}
	}
	return n
}

// smallNetwork is small enough to fill: .1 is the gateway, .2
// to .6 are for containers.
func smallNetwork() Network {
	return testNetwork("small", "192.0.2.0/29")
}

func TestAcquireGivesTheSameAddressAgain(t *testing.T) {
	dir, n := t.TempDir(), Default()
	first, err := Acquire(dir, n, "web", config.Join{})
	if err != nil {
		t.Fatal(err)
	}
	if first.V4.Bits() != 16 || !n.V4.Prefix.Contains(first.V4.Addr()) || first.Gateway4 != n.V4.Gateway {
		t.Errorf("lease = %+v", first)
	}
	again, err := Acquire(dir, n, "web", config.Join{}) // the previous run was killed
	if err != nil || again != first {
		t.Errorf("with the lease left: %v, %v, want %v", again, err, first)
	}
	if err := Release(dir, n, "web"); err != nil {
		t.Fatal(err)
	}
	if again, err = Acquire(dir, n, "web", config.Join{}); err != nil || again != first {
		t.Errorf("after Release: %v, %v, want %v", again, err, first)
	}
}

func TestAcquireFixed(t *testing.T) {
	dir, n := t.TempDir(), Default()
	five, six := netip.MustParseAddr("10.88.0.5"), netip.MustParseAddr("10.88.0.6")
	if lease, err := Acquire(dir, n, "web", fixed(five)); err != nil || lease.V4.Addr() != five {
		t.Fatal(lease, err)
	}
	_, err := Acquire(dir, n, "db", fixed(five))
	if !errors.Is(err, ErrAddressTaken) || !strings.Contains(err.Error(), "web") || !strings.Contains(err.Error(), "10.88.0.5") {
		t.Errorf("error %q does not name holder and address", err)
	}
	if lease, err := Acquire(dir, n, "web", fixed(six)); err != nil || lease.V4.Addr() != six {
		t.Errorf("moved to %v, %v", lease, err)
	}
	if lease, err := Acquire(dir, n, "db", fixed(five)); err != nil || lease.V4.Addr() != five {
		t.Errorf("the address moved away from: %v, %v", lease, err)
	}
	for _, bad := range []string{"10.88.0.0", "10.88.0.1", "10.88.255.255", "10.89.0.5", "fd00::1"} {
		if _, err := Acquire(dir, n, "x", fixed(netip.MustParseAddr(bad))); err == nil || errors.Is(err, ErrAddressTaken) {
			t.Errorf("%s: %v, want a word about the subnet", bad, err)
		}
	}
	wantLeases(t, dir, n, "db", "web")
}

func TestAcquireFillsTheSubnet(t *testing.T) {
	dir, n := t.TempDir(), smallNetwork()
	seen := map[netip.Addr]bool{}
	for i := range 5 {
		lease, err := Acquire(dir, n, fmt.Sprint("c", i), config.Join{})
		if err != nil {
			t.Fatal(err)
		}
		seen[lease.V4.Addr()] = true
	}
	for _, host := range []string{"2", "3", "4", "5", "6"} {
		if !seen[netip.MustParseAddr("192.0.2."+host)] {
			t.Errorf("nobody got .%s of %v", host, seen)
		}
	}
	if _, err := Acquire(dir, n, "late", config.Join{}); !errors.Is(err, ErrNoAddress) {
		t.Errorf("full subnet: %v", err)
	}
	if err := Release(dir, n, "c3"); err != nil {
		t.Fatal(err)
	}
	if _, err := Acquire(dir, n, "late", config.Join{}); err != nil {
		t.Error(err)
	}
}

// Whatever a kill leaves of the two links, the next start gets an address and
// Release leaves nothing of the container's and everything of the others'.
func TestLeaseSurvivesAnyKill(t *testing.T) {
	n := smallNetwork()
	for _, byName := range []string{"", "192.0.2.3", "192.0.2.4", "198.51.100.7", "rubbish"} {
		for _, third := range []string{"", "web", "db"} {
			for _, fixed := range []string{"", "192.0.2.3", "192.0.2.4"} {
				if third == "web" && byName != "192.0.2.3" {
					continue // never: the intention is written first
				}
				name := fmt.Sprintf("by-name %q, .3 held by %q, fixed %q", byName, third, fixed)
				t.Run(name, func(t *testing.T) {
					dir := t.TempDir()
					plant(t, filepath.Join(dir, n.Name, "by-name", "web"), byName)
					plant(t, filepath.Join(dir, n.Name, "by-name", ".web"), "192.0.2.5")
					plant(t, filepath.Join(dir, n.Name, "by-address", "192.0.2.3"), third)
					checkKilled(t, dir, n, third, fixed)
				})
			}
		}
	}
}

func checkKilled(t *testing.T, dir string, n Network, third, wanted string) {
	want, _ := netip.ParseAddr(wanted)
	lease, err := Acquire(dir, n, "web", fixed(want))
	switch {
	case third == "db" && wanted == "192.0.2.3":
		if !errors.Is(err, ErrAddressTaken) {
			t.Errorf("taken address: %v, %v", lease, err)
		}
	case err != nil || want.IsValid() && lease.V4.Addr() != want:
		t.Errorf("lease = %v, %v", lease, err)
	default:
		wantHolder(t, dir, n, lease.V4.Addr(), "web")
	}
	for range 2 {
		if err := Release(dir, n, "web"); err != nil {
			t.Error(err)
		}
	}
	if third == "db" {
		wantLeases(t, dir, n, "db")
	} else {
		wantLeases(t, dir, n)
	}
}

func plant(t *testing.T, path, target string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if target == "" {
		return
	}
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
}

func wantHolder(t *testing.T, dir string, n Network, address netip.Addr, want string) {
	t.Helper()
	got, err := os.Readlink(filepath.Join(dir, n.Name, "by-address", address.String()))
	if err != nil || got != want {
		t.Errorf("holder of %s = %q, %v, want %q", address, got, err, want)
	}
}

// wantLeases checks who holds leases, sorted, and that nobody else left a file.
func wantLeases(t *testing.T, dir string, n Network, holders ...string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, n.Name, "by-address"))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, entry := range entries {
		holder, _ := os.Readlink(filepath.Join(dir, n.Name, "by-address", entry.Name()))
		got[holder] = true
	}
	if len(entries) != len(holders) {
		t.Errorf("%d leases, want those of %v", len(entries), holders)
	}
	for _, holder := range holders {
		if !got[holder] {
			t.Errorf("%s has no lease", holder)
		}
	}
	if _, err := os.Lstat(filepath.Join(dir, n.Name, "by-name", ".web")); err == nil {
		t.Error("a temporary link is left")
	}
}

func TestAcquireAtOnce(t *testing.T) {
	dir, n := t.TempDir(), smallNetwork()
	var group sync.WaitGroup
	got := make([]netip.Addr, 5)
	for i := range got {
		group.Go(func() {
			lease, err := Acquire(dir, n, fmt.Sprint("c", i), config.Join{})
			if err != nil {
				t.Error(err)
				return
			}
			got[i] = lease.V4.Addr()
		})
	}
	group.Wait()
	for i, address := range got {
		wantHolder(t, dir, n, address, fmt.Sprint("c", i))
	}
}

func TestAcquireRefusesPaths(t *testing.T) {
	for _, name := range []string{"", ".", "..", "../x", "a/b", ".hidden"} {
		if _, err := Acquire(t.TempDir(), Default(), name, config.Join{}); err == nil {
			t.Errorf("%q is taken for a container name", name)
		}
	}
}

func BenchmarkLease(b *testing.B) {
	requireHost(b)
	dir, n := "/run/leases", Default() // a tmpfs, as on a real host
	for i := range 500 {
		if _, err := Acquire(dir, n, fmt.Sprint("other", i), config.Join{}); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if _, err := Acquire(dir, n, "web", config.Join{}); err != nil {
			b.Fatal(err)
		}
		if err := Release(dir, n, "web"); err != nil {
			b.Fatal(err)
		}
	}
}
