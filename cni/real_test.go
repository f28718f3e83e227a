package cni

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cocker/cocker/config"
)

const realList = `{"cniVersion": "%s", "name": "real", "plugins": [
	{"type": "bridge", "bridge": "cnitest", "isGateway": true, "ipMasq": true,
	 "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.77.0.0/24"}], [{"subnet": "fd00:77::/64"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
	{"type": "portmap", "capabilities": {"portMappings": true}}]}`

// left is what plugins leave on a host.
func left(t *testing.T) string {
	t.Helper()
	return sh(t, `ip -o link show type veth; nft list ruleset 2>/dev/null | grep -e 10.77 -e fd00:77 -e 8080 -e CNI-DN- || :
		find /var/lib/cni -type f ! -name last_reserved_ip.\* ! -name lock 2>/dev/null || :`)
}

// The real plugins of Debian make an interface, check it, and leave nothing.
func TestRealPlugins(t *testing.T) {
	requirePlugins(t)
	for _, version := range []string{"0.4.0", "1.0.0"} {
		t.Run(version, func(t *testing.T) { realPlugins(t, version) })
	}
}

func realPlugins(t *testing.T, version string) {
	h := hostWith(t, map[string]string{"10.conflist": fmt.Sprintf(realList, version)})
	h.Plugins = []string{"/usr/lib/cni"}
	list := found(t, h, "real")
	if err := h.Verify(t.Context(), list); err != nil {
		t.Fatal(err)
	}
	sh(t, "ip netns add one")
	t.Cleanup(func() { sh(t, "ip netns del one 2>/dev/null || :; ip link del cnitest") })
	r := Request{Owner: "one", Interface: "eth0", Namespace: "/run/netns/one", Addresses: []netip.Addr{netip.MustParseAddr("10.77.0.9")}, MAC: "02:00:5e:00:53:01",
		Ports: []config.Port{{HostPort: 8080, ContainerPort: 80, Protocol: config.TCP}}}
	result, err := h.Add(t.Context(), list, r)
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintf("%s %s %d %s %d", result.V4, result.Gateway4, result.V6.Bits(), result.MAC, len(result.Host)); got != "10.77.0.9/24 10.77.0.1 64 02:00:5e:00:53:01 2" {
		t.Errorf("the result is %s: %+v", got, result)
	}
	if got := sh(t, `ip netns exec one ip -o addr show eth0; nft list ruleset`); !strings.Contains(got, "10.77.0.9/24") || !strings.Contains(got, "dport 8080") {
		t.Errorf("the plugins have made:\n%s", got)
	}
	if err := h.Check(t.Context(), "one", "eth0"); err != nil {
		t.Error(err)
	}
	sh(t, "ip netns exec one ip addr del 10.77.0.9/24 dev eth0")
	if err := h.Check(t.Context(), "one", "eth0"); err == nil || !strings.Contains(err.Error(), "/usr/lib/cni/bridge, CHECK: ") {
		t.Errorf("check of an interface without its address: %v", err)
	}
	sh(t, "ip netns exec one ip addr add 10.77.0.9/24 dev eth0")
	if err := h.Del(t.Context(), "one"); err != nil {
		t.Error(err)
	}
	if got := left(t); got != "" {
		t.Errorf("left after DEL:\n%s", got)
	}
	assertGone(t, h, "one")
}

// A start that failed half way, and one whose namespace is gone, are undone as well.
func TestRealPluginsHalfWay(t *testing.T) {
	requirePlugins(t)
	const list = `{"cniVersion": "1.0.0", "name": "real", "plugins": [{"type": "bridge", "bridge": "cnitest", "isGateway": true,
		"ipam": {"type": "host-local", "subnet": "10.77.0.0/24"}}, {"type": "broken"}]}`
	h := hostWith(t, map[string]string{"10.conflist": list})
	h.Plugins = append(h.Plugins, "/usr/lib/cni")
	plugin(t, h, "broken", `[ "$CNI_COMMAND" = DEL ] && exit 0; echo '{"code": 11, "msg": "try again later"}'; exit 1`)
	sh(t, "ip netns add one")
	t.Cleanup(func() { sh(t, "ip netns del one 2>/dev/null || :; ip link del cnitest") })
	for _, gone := range []bool{false, true} {
		if _, err := h.Add(t.Context(), found(t, h, "real"), Request{Owner: "one", Interface: "eth0", Namespace: "/run/netns/one"}); err == nil || !strings.Contains(err.Error(), "try again later (code 11)") {
			t.Errorf("ADD: %v", err)
		}
		if leases, _ := filepath.Glob("/var/lib/cni/networks/real/10.*"); len(leases) != 1 {
			t.Errorf("before DEL there are the leases %v", leases)
		}
		if gone {
			sh(t, "ip netns del one")
		}
		if err := h.Del(t.Context(), "one"); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat("/run/netns/one"); (err != nil) != gone {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(20 * time.Second); left(t) != ""; time.Sleep(10 * time.Millisecond) {
			if !gone || time.Now().After(deadline) { // the namespace takes its links along, but not at once
				t.Fatalf("left after DEL:\n%s", left(t))
			}
		}
		assertGone(t, h, "one")
	}
}
