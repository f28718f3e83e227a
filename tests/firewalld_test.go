package tests

import (
	"strings"
	"testing"

	"github.com/cocker/cocker/tests/host"
)

// firewalld(1) forwards nothing from, and answers nothing to, links of its default zone.
// Those of cocker are in a zone of their own, without a word to firewalld, over its reloads
// and restarts, and of the host containers reach the name server only.
func TestFirewalld(t *testing.T) {
	if *host.InVirtualMachines {
		t.Skip("their disks have no firewalld")
	}
	for _, release := range host.Releases() {
		t.Run(string(release), func(t *testing.T) {
			t.Parallel()
			cleanly(t, host.Start(t, release, host.WithCocker(), host.With(host.Firewalld())), behindFirewalld)
		})
	}
}

func behindFirewalld(t *testing.T, h *host.Host) {
	defer withNetworks(t, h, map[string]string{"front": "subnets = ['10.1.0.0/24', 'fd00:1::/64']\n"})()
	start(t, h, "plain", web("plain", "ports = ['8080:80']"))
	start(t, h, "joined", web("joined", "name = 'front'\nports = ['8081:80']"))
	h.MustRun(t, `systemctl unmask firewalld 2>/dev/null; systemd-run -q --unit=local-service socat TCP-LISTEN:9999,fork,reuseaddr SYSTEM:'echo reached'
			mv /usr/lib/firewalld/zones/cocker.xml /tmp/; timeout 100 systemctl start firewalld`)
	// It asks polkit, which has a network namespace of its own.
	defer cleanup(t, h, `timeout 60 systemctl stop firewalld local-service polkit; systemctl mask firewalld 2>/dev/null
			[ ! -e /tmp/cocker.xml ] || mv /tmp/cocker.xml /usr/lib/firewalld/zones/; cocker network repair cocker0 >/dev/null; rm -rf /etc/firewalld/zones/*`)

	// It has its name on the bus before its rules.
	h.WaitFor(t, eventually, "firewalld's rules", "firewall-cmd --state && nft list chain inet firewalld filter_IN_public")
	r := h.Run(t, "cocker network check front")
	if want := []string{"reach nothing outside", "resolve no names", "firewall-cmd --reload"}; r.ExitCode != 1 || !containsAll(r.Stdout, want) {
		t.Errorf("without the zone: %d\n%s", r.ExitCode, r.Stdout)
	}
	h.MustRun(t, "mv /tmp/cocker.xml /usr/lib/firewalld/zones/")
	for _, change := range []string{"firewall-cmd -q --reload", "timeout 100 systemctl restart firewalld", "systemctl restart cocker-network@front"} {
		h.MustRun(t, change)
		h.WaitFor(t, eventually, "the networks after "+change, "firewall-cmd --get-active-zones | grep -qx 'cocker.*' && nft list chain inet firewalld filter_IN_cocker && cocker network check cocker0 front")
		assertBehindFirewalld(t, h, change)
	}
}

func containsAll(text string, parts []string) bool {
	for _, part := range parts {
		if !strings.Contains(text, part) {
			return false
		}
	}
	return true
}

func assertBehindFirewalld(t *testing.T, h *host.Host, change string) {
	t.Helper()
	for name, port := range map[string]string{"plain": "8080", "joined": "8081"} {
		for from, got := range map[string]string{
			"the host": h.MustRun(t, get, "127.0.0.1:"+port),
			"outside":  strings.TrimSpace(h.Outside(t, get, hostAddress+":"+port).Stdout),
		} {
			if got != name {
				t.Errorf("after %s %s gets %q of %s", change, from, got, name)
			}
		}
		h.MustRun(t, `cocker exec "$1" ping -q -c1 -W30 192.0.2.2; cocker exec "$1" nslookup "$1"`, name)
		if got := inside(t, h, name, netcat(hostAddress+":9999", "5")); got != "nothing" {
			t.Errorf("after %s %s reaches a service of the host: %q", change, name, got)
		}
	}
}
