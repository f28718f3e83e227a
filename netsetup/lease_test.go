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

func TestLeaseOfBothFamilies(t *testing.T) {
	dir, n := t.TempDir(), testNetwork("dual", "10.89.1.0/24", "fd00:1::/64")
	n.V4.First, n.V4.Last = netip.MustParseAddr("10.89.1.100"), netip.MustParseAddr("10.89.1.101")
	acquire := func(container, v4, v6 string) (Lease, error) {
		var join config.Join
		if v4 != "" {
			join.Address = netip.MustParseAddr(v4)
		}
		if v6 != "" {
			join.Address6 = netip.MustParseAddr(v6)
		}
		return Acquire(dir, n, container, join)
	}
	for _, test := range []struct{ container, v4, v6, want4, want6, says string }{
		{"fixed4", "10.89.1.5", "", "10.89.1.5/24", "fd00:1::5/64", ""},
		{"both", "10.89.1.6", "fd00:1::beef", "10.89.1.6/24", "fd00:1::beef/64", ""},
		{"late", "10.89.1.7", "fd00:1::beef", "", "", "by container both"},
		{"squats", "10.89.1.8", "fd00:1::64", "10.89.1.8/24", "fd00:1::64/64", ""}, // .100's
		{"leased", "", "", "10.89.1.101/24", "fd00:1::65/64", ""},
		{"none", "", "", "", "", "no free address"},
		{"gateway", "10.89.1.9", "fd00:1::1", "", "", "no address for a container"},
		{"outside", "10.89.1.9", "fd00:2::9", "", "", "no address for a container"},
	} {
		lease, err := acquire(test.container, test.v4, test.v6)
		if test.says != "" {
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%s: %v, want %q", test.container, err, test.says)
			}
			if err := Release(dir, n, test.container); err != nil {
				t.Error(err)
			}
			continue
		}
		if err != nil || lease.V4.String() != test.want4 || lease.V6.String() != test.want6 || lease.Gateway6 != n.V6.Gateway {
			t.Errorf("%s: %+v, %v", test.container, lease, err)
		}
	}
	if again, err := acquire("leased", "", ""); err != nil || again.V4.Addr().String() != "10.89.1.101" {
		t.Errorf("again: %+v, %v", again, err)
	}
	for _, container := range []string{"fixed4", "both", "squats", "leased"} {
		if err := Release(dir, n, container); err != nil {
			t.Error(err)
		}
	}
	left, err := filepath.Glob(filepath.Join(dir, "dual", "*", "*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestLeaseOfIPv6Alone(t *testing.T) {
	dir, n := t.TempDir(), testNetwork("six", "fd00:6::/64")
	lease, err := Acquire(dir, n, "web", config.Join{})
	if err != nil || lease.V4.IsValid() || !n.V6.Prefix.Contains(lease.V6.Addr()) || lease.Address() != lease.V6.Addr() {
		t.Fatalf("%+v, %v", lease, err)
	}
	fixed, err := Acquire(dir, n, "web", config.Join{Address6: netip.MustParseAddr("fd00:6::7")})
	if err != nil || fixed.V6.String() != "fd00:6::7/64" {
		t.Errorf("fixed: %+v, %v", fixed, err)
	}
	if _, err := Acquire(dir, n, "db", config.Join{Address6: netip.MustParseAddr("fd00:6::7")}); !errors.Is(err, ErrAddressTaken) {
		t.Errorf("taken: %v", err)
	}
	if _, err := Acquire(dir, n, "db", config.Join{Address: netip.MustParseAddr("10.0.0.7")}); err == nil {
		t.Error("an IPv4 address in a network of IPv6 is taken")
	}
}

// Somebody removes the directory under running containers.
func TestRestore(t *testing.T) {
	dir, n := t.TempDir(), testNetwork("dual", "10.89.1.0/24", "fd00:1::/64")
	lease, err := Acquire(dir, n, "web", config.Join{Address6: netip.MustParseAddr("fd00:1::beef")})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, n.Name)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := Restore(dir, n, "web", lease); err != nil {
			t.Fatal(err)
		}
	}
	wantHolder(t, dir, n, lease.V4.Addr(), "web")
	wantHolder(t, dir, n, lease.V6.Addr(), "web")
	if err := Restore(dir, n, "thief", lease); !errors.Is(err, ErrAddressTaken) {
		t.Errorf("Restore of another's: %v", err)
	}
	if err := Release(dir, n, "web"); err != nil {
		t.Error(err)
	}
	wantLeases(t, dir, n)
}

// A /16 fills up without rows of leases that each new one has to walk along: the tries
// that a lease takes depend on how full the subnet is, not on how many there are.
func TestProbesStayFew(t *testing.T) {
	subnet := Default().V4
	first := subnet.number(subnet.First)
	count := subnet.number(subnet.Last) - first + 1
	taken := make([]bool, count)
	tries, leased := 0, 0
	for i := range 65000 {
		start, step := sequence(fmt.Sprint("container-", i), count)
		for j := range count {
			place := (start + j*step) % count
			tries++
			if !taken[place] {
				taken[place] = true
				leased++
				break
			}
		}
		if leased == 32000 && tries > 2*leased {
			t.Errorf("half full: %d tries for %d leases", tries, leased)
		}
	}
	if leased != 65000 || tries > 10*leased {
		t.Errorf("%d tries for %d leases", tries, leased)
	}
}
