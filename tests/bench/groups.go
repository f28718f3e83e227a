package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cocker/cocker/tests/host"
)

// groups are what can be measured by itself; "network" is all that begin with it.
func groups() []string {
	return []string{"start", "sessions", "network", "network-start", "network-traffic", "network-names", "network-crowd", "generator", "images"}
}

func checkGroups(only string) error {
	for _, group := range strings.Split(only, ",") {
		if only != "" && !slices.Contains(groups(), group) {
			return fmt.Errorf("group %q: want of %s", group, strings.Join(groups(), ", "))
		}
	}
	return nil
}

// selected tells whether a group is measured. What a part needs is the whole's, and what
// belongs to no group is for all.
func selected(only, group string) bool {
	if only == "" || group == "" {
		return true
	}
	return slices.ContainsFunc(strings.Split(only, ","), func(wanted string) bool {
		return wanted == group || strings.HasPrefix(group, wanted+"-") || strings.HasPrefix(wanted, group+"-")
	})
}

// peers is what cocker is measured beside, and with, on the host. Daemons are started for
// their turn only.
func peers() host.Extra {
	return host.Extra{
		Packages: []string{"docker.io", "docker-cli", "iptables", "netavark", "aardvark-dns", "iperf3", "dnsperf"},
		Masked:   []string{"docker.service", "docker.socket", "containerd.service", "iperf3.service"},
	}
}
