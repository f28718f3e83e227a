package dns

import (
	"bytes"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// resolvConfs are the host's: what its programs use, with the stub of systemd-resolved,
// which knows which server is for which domain; and what that uses itself.
var resolvConfs = []string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"}

// maxServers is MAXNS of resolv.conf(5).
const maxServers = 3

// servers are the host's name servers. The files are read again when they have changed,
// as by a network that the host joins.
type servers struct {
	files []string
	port  uint16
	own   []netip.Addr // that this server listens on: never asked

	mutex   sync.Mutex
	seen    []version
	current []netip.AddrPort
}

// version tells one content of a file from another; the time alone is that of the last
// tick of the kernel's clock. Zero: there is no file.
type version struct {
	seconds, nanoseconds, size int64
	inode                      uint64
}

func versionOf(file string) version {
	var st unix.Stat_t
	if unix.Stat(file, &st) != nil {
		return version{}
	}
	return version{st.Mtim.Sec, st.Mtim.Nsec, st.Size, st.Ino}
}

func (s *servers) list() []netip.AddrPort {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	seen := make([]version, len(s.files))
	for i, file := range s.files {
		seen[i] = versionOf(file)
	}
	if s.seen == nil || !slices.Equal(seen, s.seen) {
		s.seen, s.current = seen, s.read()
	}
	return s.current
}

// read takes the first file with a server that is not this one.
func (s *servers) read() (found []netip.AddrPort) {
	for _, file := range s.files {
		data, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		for _, address := range nameservers(data) {
			if !slices.Contains(s.own, address) && len(found) < maxServers {
				found = append(found, netip.AddrPortFrom(address, s.port))
			}
		}
		if len(found) > 0 {
			return found
		}
	}
	return nil
}

// nameservers reads the servers of a resolv.conf(5).
func nameservers(data []byte) (found []netip.Addr) {
	for line := range bytes.Lines(data) {
		fields := strings.Fields(string(line))
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if address, err := netip.ParseAddr(fields[1]); err == nil {
			found = append(found, address.Unmap())
		}
	}
	return found
}
