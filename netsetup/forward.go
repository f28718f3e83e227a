package netsetup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// ensureForwarding turns forwarding on where the network needs it and it is off, and
// tells what it changed.
func ensureForwarding(n Network) (changes []string, err error) {
	if n.Internal {
		return nil, nil
	}
	if n.V4.valid() {
		changes, err = forwardIPv4()
	}
	if n.V6.valid() && err == nil {
		var more []string
		more, err = forwardIPv6()
		changes = append(changes, more...)
	}
	return changes, err
}

func forwardIPv4() (changes []string, err error) {
	const key = "net/ipv4/ip_forward"
	value, err := getSysctl(key)
	if err != nil || value != "0" {
		return nil, err
	}
	if err := setSysctl(key, "1"); err != nil {
		return nil, err
	}
	return []string{"turned IPv4 forwarding on (net.ipv4.ip_forward=1)"}, nil
}

// forwardIPv6 makes the host a router, which by itself no longer believes other routers:
// the kernel then forgets the default routes that it has from them, and takes no new
// ones (accept_ra 1, ip-sysctl.rst). So first, links that do get accept_ra 2, which is to
// believe them all the same. New links get what they always got: a container's could not
// be told from one of the host's.
func forwardIPv6() (changes []string, err error) {
	const conf = "net/ipv6/conf"
	value, err := getSysctl(conf + "/all/forwarding")
	if err != nil || value != "0" {
		return nil, err
	}
	links, err := os.ReadDir(filepath.Join("/proc/sys", conf))
	if err != nil {
		return nil, fmt.Errorf("list links with IPv6: %w", err)
	}
	for _, link := range links {
		name := link.Name()
		if name == "all" || name == "default" || name == "lo" {
			continue
		}
		key := filepath.Join(conf, name, "accept_ra")
		value, err := getSysctl(key)
		if err == nil && value == "1" {
			err = setSysctl(key, "2")
			changes = append(changes, fmt.Sprintf("%s goes on believing routers (net.ipv6.conf.%[1]s.accept_ra=2)", name))
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // it is gone
			return changes, err
		}
	}
	if err := setSysctl(conf+"/all/forwarding", "1"); err != nil {
		return changes, err
	}
	return append(changes, "turned IPv6 forwarding on (net.ipv6.conf.all.forwarding=1)"), nil
}

func getSysctl(key string) (string, error) {
	value, err := os.ReadFile(filepath.Join("/proc/sys", key))
	if err != nil {
		return "", fmt.Errorf("read sysctl %s: %w", key, err)
	}
	return strings.TrimSpace(string(value)), nil
}
