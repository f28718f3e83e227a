package launch

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/rootfs"
)

// files are the files that a container gets filled in at every start.
func (l *launcher) files() []rootfs.File {
	id := machineID(l.container.Name)
	files := []rootfs.File{
		whole("/etc/hostname", 0o644, l.container.Hostname+"\n"),
		whole("/etc/machine-id", 0o444, hex.EncodeToString(id[:])+"\n"),
		{Path: "/etc/hosts", Mode: 0o644, Update: func(old []byte) []byte {
			return updateHosts(old, l.container, l.address())
		}},
	}
	servers := l.resolvConf()
	if servers != nil {
		files = append(files, whole("/etc/resolv.conf", 0o644, string(servers)))
	}
	if l.container.Init == config.InitImage {
		files = append(files, interfaceFiles(id)...)
		files = append(files, networkFiles(l.connector, servers)...)
	}
	return files
}

func whole(path string, mode uint32, content string) rootfs.File {
	return rootfs.File{Path: path, Mode: mode, Update: func([]byte) []byte { return []byte(content) }}
}

// The lines of /etc/hosts between these belong to cocker, all others to whoever
// works in the container.
const (
	hostsBegin = "# cocker: written at every start\n"
	hostsEnd   = "# cocker: end\n"
)

// updateHosts replaces cocker's lines in a hosts file (hosts(5)) or puts them in
// front of it.
func updateHosts(old []byte, c *config.Container, address netip.Addr) []byte {
	var b bytes.Buffer
	b.WriteString(hostsBegin)
	b.WriteString("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n")
	if !address.IsValid() {
		address = netip.AddrFrom4([4]byte{127, 0, 1, 1})
	}
	names := c.Hostname
	if short, _, found := strings.Cut(c.Hostname, "."); found {
		names += " " + short
	}
	if c.Name != c.Hostname {
		names += " " + c.Name
	}
	fmt.Fprintf(&b, "%s %s\n", address, names)
	b.WriteString(hostsEnd)
	b.Write(withoutBlock(old))
	return b.Bytes()
}

func withoutBlock(old []byte) []byte {
	before, rest, found := bytes.Cut(old, []byte(hostsBegin))
	if !found {
		return old
	}
	_, after, found := bytes.Cut(rest, []byte(hostsEnd))
	if !found {
		return old
	}
	return append(bytes.Clone(before), after...)
}

// resolvConfSources are tried in this order: the stub of systemd-resolved listens
// on the host's loopback only, which the container cannot reach.
var resolvConfSources = [...]string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"}

// resolvConf names the name servers of the container's networks, or else those of the
// host that it can reach.
func (l *launcher) resolvConf() []byte {
	mode := l.container.Network.Mode
	if mode != config.NetworkBridge {
		return resolvConf(mode)
	}
	var host []byte
	for _, source := range resolvConfSources {
		var err error
		if host, err = os.ReadFile(source); err == nil {
			break
		}
	}
	resolvers, err := l.resolvers()
	if err != nil {
		l.options.Warn(fmt.Sprintf("the container gets the host's resolvers: %v", err))
	}
	if content := withResolvers(host, resolvers); content != nil {
		return content
	}
	return resolvConf(mode)
}

// resolvConf returns the host's resolver configuration as far as it is of use in
// the container; nil leaves the container's own alone.
func resolvConf(mode config.NetworkMode) []byte {
	if mode == config.NetworkNone || mode == config.NetworkCustom {
		return nil
	}
	var usable []byte
	for _, source := range resolvConfSources {
		data, err := os.ReadFile(source)
		if err != nil {
			continue
		}
		if mode == config.NetworkHost {
			return data
		}
		content, servers := withoutLoopback(data)
		if servers > 0 {
			return content
		}
		usable = content
	}
	return usable
}

// withoutLoopback drops the name servers on loopback addresses and counts the
// others (resolv.conf(5)).
func withoutLoopback(data []byte) (content []byte, servers int) {
	for line := range bytes.Lines(data) {
		fields := strings.Fields(string(line))
		if len(fields) >= 2 && fields[0] == "nameserver" {
			address, err := netip.ParseAddr(fields[1])
			if err != nil || address.IsLoopback() {
				continue
			}
			servers++
		}
		content = append(content, line...)
	}
	return content, servers
}

// id128 is a machine ID (machine-id(5)).
type id128 [16]byte

// machineID is the container's own: the same at every start, different on every
// host, and it does not reveal the host's, as machine-id(5) asks for.
func machineID(container string) (id id128) {
	host, _ := os.ReadFile("/etc/machine-id") // without one it is still the container's own
	sum := sha256.Sum256(append(append([]byte("cocker machine-id\x00"), bytes.TrimSpace(host)...), "\x00"+container...))
	copy(id[:], sum[:])
	id[6] = id[6]&0x0f | 0x40 // a version 4 UUID, as systemd makes them
	id[8] = id[8]&0x3f | 0x80
	return id
}

func (id id128) uuid() string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[0:4], id[4:6], id[6:8], id[8:10], id[10:16])
}
