package launch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/internal/names"
	"github.com/cocker/cocker/internal/paths"
	"github.com/cocker/cocker/netsetup"
)

// namesTimeout bounds what systemd takes to listen or not to.
const namesTimeout = 20 * time.Second

// serveNames makes systemd listen for questions to the name server of a network, on the
// addresses that the network has on the host. It may be repeated: sockets of an earlier
// link of the name, which hear nothing any more, are replaced. A host that has no room
// for the server, as another has port 53, has containers none the less: they are given
// the host's resolvers. That is told in words.
func serveNames(network netsetup.Network) (problem string, err error) {
	zone := zoneOf(network)
	if len(zone.Addresses) == 0 {
		return "", dropIfServed(zone.Network)
	}
	link, err := net.InterfaceByName(zone.Link)
	if err != nil {
		return "", fmt.Errorf("names of network %s: look up link %s: %w", zone.Network, zone.Link, err)
	}
	zone.LinkIndex = link.Index
	unlock, err := lockNames()
	if err != nil {
		return "", err
	}
	defer unlock()
	if before, err := names.Read(zone.Network); err == nil && reflect.DeepEqual(before, zone) && listens(zone) {
		return "", nil
	}
	if err := endNames(zone.Network); err != nil {
		return "", err
	}
	if err := zone.Write(); err != nil { // first: somebody may ask as soon as there is a socket
		return "", err
	}
	if zone.Problem = listen(zone); zone.Problem == "" {
		return "", nil
	}
	return zone.Problem, errors.Join(endSockets(zone.Network), zone.Write())
}

// dropIfServed ends the name server of a network that has been told to have none.
func dropIfServed(network string) error {
	if _, err := names.Read(network); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return dropNames(network)
}

// dropNames ends the name server of a network.
func dropNames(network string) error {
	unlock, err := lockNames()
	if err != nil {
		return err
	}
	defer unlock()
	return endNames(network)
}

func endNames(network string) error {
	return errors.Join(endSockets(network), names.Remove(network))
}

// zoneOf is the network as its name server is told of it. It has no addresses where
// there is no such server: where none is wanted, and where the host is not the router of
// the network, as it has no address there that would be cocker's.
func zoneOf(network netsetup.Network) *names.Zone {
	zone := &names.Zone{Network: network.Name, Link: network.Link, Internal: network.Internal}
	if network.NoDNS || !network.Routed() {
		return zone
	}
	for _, subnet := range []netsetup.Subnet{network.V4, network.V6} {
		if subnet.Prefix.IsValid() {
			zone.Addresses = append(zone.Addresses, subnet.Gateway)
			zone.Subnets = append(zone.Subnets, subnet.Prefix)
		}
	}
	return zone
}

// listens tells whether the sockets are there.
func listens(zone *names.Zone) bool {
	_, err := systemd("systemctl", "is-active", "--quiet", names.Socket(zone.Network))
	return err == nil
}

// listen makes the socket unit. It is a transient one, as the addresses are known only
// now, and systemd need not read all units again for it. FreeBind=: an IPv6 address is
// none yet while the kernel looks for another host that has it. The sockets go with the
// network alone, whose stop waits for that: by default they would stop after
// sockets.target, which itself waits for the network (systemd.socket(5)). And the network
// may outlive systemctl isolate, if a container is started meanwhile.
func listen(zone *names.Zone) (problem string) {
	arguments := []string{"--quiet", "--unit=" + names.Service(zone.Network),
		"--description=Names of container network " + zone.Network,
		"--property=Documentation=man:cocker-dns(8)", "--socket-property=FreeBind=yes",
		"--socket-property=DefaultDependencies=no", "--socket-property=IgnoreOnIsolate=yes"}
	for _, address := range zone.Addresses {
		place := netip.AddrPortFrom(address, 53).String()
		arguments = append(arguments, "--socket-property=ListenDatagram="+place, "--socket-property=ListenStream="+place)
	}
	said, err := systemd("systemd-run", arguments...)
	if err == nil {
		return ""
	}
	return fmt.Sprintf("the names of containers in network %s are not served, they get the host's resolvers: %s", zone.Network, whyNot(zone, said))
}

// whyNot looks for the likely reason: systemd says that in the socket's log only.
func whyNot(zone *names.Zone, said string) string {
	for _, address := range zone.Addresses {
		listener, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(address, 53)))
		if errors.Is(err, unix.EADDRINUSE) {
			return fmt.Sprintf("port 53 of %s is taken (ss -lntup 'sport = 53' tells by whom); make that listen on addresses of its own, then: systemctl reload cocker-network@%s", address, zone.Network)
		}
		if err == nil {
			listener.Close()
		}
	}
	return said
}

// endSockets ends socket and server; that there are none is no error.
func endSockets(network string) error {
	units := []string{names.Socket(network), names.Service(network)}
	_, _ = systemd("systemctl", append([]string{"reset-failed"}, units...)...)
	said, err := systemd("systemctl", append([]string{"stop"}, units...)...)
	if err != nil && !strings.Contains(said, "not loaded") {
		return fmt.Errorf("stop %s: %w: %s", units[0], err, said)
	}
	return nil
}

func systemd(program string, arguments ...string) (said string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), namesTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, program, arguments...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// lockNames waits for its turn: the directory is flock(2)ed, so a killed caller leaves
// no lock.
func lockNames() (unlock func(), err error) {
	if err := os.MkdirAll(paths.Names, 0o755); err != nil {
		return nil, fmt.Errorf("lock the names: %w", err)
	}
	dir, err := os.Open(paths.Names)
	if err != nil {
		return nil, fmt.Errorf("lock the names: %w", err)
	}
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX); err != nil {
		dir.Close()
		return nil, fmt.Errorf("lock %s: %w", paths.Names, err)
	}
	return func() { dir.Close() }, nil
}

// maxServers is MAXNS of resolv.conf(5): further servers are not read.
const maxServers = 3

// resolver is what a network has in its containers' resolv.conf(5).
type resolver struct{ servers, search, options []string }

// resolvers are those of the container's networks: their own name servers, or those that
// plugins of CNI have told.
func (l *launcher) resolvers() (all []resolver, err error) {
	for _, join := range l.state.Joins {
		if join.DNS != nil {
			all = append(all, resolver{join.DNS.Servers, join.DNS.Search, join.DNS.Options})
		}
	}
	for _, join := range l.container.Network.Joins {
		zone, err := names.Read(join.Name)
		if errors.Is(err, fs.ErrNotExist) || err == nil && zone.Problem != "" {
			continue
		}
		if err != nil {
			return nil, err
		}
		r := resolver{search: []string{zone.Network}}
		for _, address := range zone.Addresses {
			r.servers = append(r.servers, address.String())
		}
		all = append(all, r)
	}
	return all, nil
}

// withResolvers makes the host's resolver configuration one for a container in networks with
// name servers; nil: none of them has one. The networks' own names are searched before
// the host's domains, so that a sibling is found without a question to the outside, and
// systemd-resolved in a container looks for a name of one word nowhere else.
func withResolvers(host []byte, resolvers []resolver) []byte {
	var servers, search, options []string
	for _, r := range resolvers {
		servers, search, options = append(servers, r.servers...), append(search, r.search...), append(options, r.options...)
	}
	if len(servers) == 0 {
		return nil
	}
	rest, domains := withoutServers(host)
	var b bytes.Buffer
	for _, server := range servers[:min(len(servers), maxServers)] {
		fmt.Fprintf(&b, "nameserver %s\n", server)
	}
	if search = append(search, domains...); len(search) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(search, " "))
	}
	b.Write(rest)
	if len(options) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(options, " "))
	}
	return b.Bytes()
}

// withoutServers takes servers and search domains out of a resolv.conf(5), of whose lines
// domain and search the last one counts. Comments speak of the host.
func withoutServers(data []byte) (rest []byte, domains []string) {
	for line := range bytes.Lines(data) {
		fields := strings.Fields(string(line))
		switch {
		case len(fields) == 0 || strings.ContainsAny(fields[0][:1], "#;") || fields[0] == "nameserver":
		case fields[0] == "search" || fields[0] == "domain":
			domains = slices.DeleteFunc(fields[1:], func(domain string) bool { return domain == "." })
		default:
			rest = append(rest, bytes.TrimRight(line, "\n")...)
			rest = append(rest, '\n')
		}
	}
	return rest, domains
}
