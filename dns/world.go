package dns

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/internal/names"
)

// state is what a file of launch.State says that matters here; TestStateOfTheLauncher
// compares the two.
type state struct {
	Name    string      `json:"name"`
	Leader  int         `json:"leader"`
	Pod     string      `json:"pod"` // a name of each of its containers, as they share an address
	Network string      `json:"network"`
	Address string      `json:"address"`
	Joins   []stateJoin `json:"joins"`
}

type stateJoin struct {
	Network  string   `json:"network"`
	Address  string   `json:"address"`
	Address6 string   `json:"address6"`
	Aliases  []string `json:"aliases"`
}

// world follows the states of the containers that run. It reads each once, and again
// when inotify(7) tells that it was written: a question costs one system call for that,
// and the answer is never older than the question.
type world struct {
	dir     string
	network string
	served  func(network string) bool

	mutex   sync.Mutex
	inotify int // -1: the kernel gives none, and everything is read for each question
	watched bool
	states  map[string]state  // by the name of the file
	names   map[string]*Names // by network; made when they are asked for
}

func newWorld(dir, network string) *world {
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		fd = -1
	}
	return &world{dir: dir, network: network, served: served, inotify: fd}
}

// served tells whether a network has a name server.
func served(network string) bool {
	zone, err := names.Read(network)
	return err == nil && zone.Problem == ""
}

// current returns who is in the network now.
func (w *world) current() *Names {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if w.changed() {
		w.names = map[string]*Names{}
	}
	return w.of(w.network)
}

// further returns who is in the other networks of the container that has an address in
// this one. That address is all that is known of who asks, and a neighbour may send from
// it; but it is the one that hears the answer.
func (w *world) further(asker netip.Addr) (found []*Names) {
	own := w.current()
	m, ok := own.at(asker)
	if !ok {
		return nil
	}
	w.mutex.Lock()
	defer w.mutex.Unlock()
	for _, s := range w.states {
		if s.Name != m.container {
			continue
		}
		for _, j := range s.Joins {
			if j.Network != w.network && w.served(j.Network) {
				found = append(found, w.of(j.Network))
			}
		}
	}
	return found
}

// of returns who is in a network.
func (w *world) of(network string) *Names {
	if n, ok := w.names[network]; ok {
		return n
	}
	var members []join
	for _, name := range slices.Sorted(maps.Keys(w.states)) { // so that turns are fair
		if j, ok := w.states[name].in(network); ok {
			members = append(members, j)
		}
	}
	n := newNames(network, members, alive)
	w.names[network] = n
	return n
}

// alive tells whether a process is there. Signal 0 asks for no right on it, unlike /proc
// where that is mounted with hidepid= (kill(2), proc(5)).
func alive(pid int) bool {
	return pid > 0 && !errors.Is(unix.Kill(pid, 0), unix.ESRCH)
}

// changed brings the states up to date, and tells whether one has changed.
func (w *world) changed() bool {
	if !w.watched {
		w.watched = w.watch()
		w.readAll()
		return true
	}
	changed := false
	var buffer [16 << 10]byte
	for {
		n, err := unix.Read(w.inotify, buffer[:])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n == 0 {
			return changed
		}
		changed = true
		if !w.take(buffer[:n]) {
			w.watched = w.watch()
			w.readAll()
		}
	}
}

// watch comes before the first look: what is written between the two is seen twice.
func (w *world) watch() bool {
	if w.inotify < 0 {
		return false
	}
	_, err := unix.InotifyAddWatch(w.inotify, w.dir, unix.IN_MOVED_TO|unix.IN_MOVED_FROM|unix.IN_DELETE|
		unix.IN_CLOSE_WRITE|unix.IN_MOVE_SELF|unix.IN_ONLYDIR)
	return err == nil
}

// take reads what events name. It returns false if the watch has come to its end, with
// the directory, or if the kernel had to forget events.
func (w *world) take(events []byte) bool {
	for len(events) >= unix.SizeofInotifyEvent {
		mask, length := binary.NativeEndian.Uint32(events[4:]), binary.NativeEndian.Uint32(events[12:])
		end := unix.SizeofInotifyEvent + int(length)
		name := strings.TrimRight(string(events[unix.SizeofInotifyEvent:end]), "\x00")
		events = events[end:]
		if mask&(unix.IN_IGNORED|unix.IN_Q_OVERFLOW|unix.IN_MOVE_SELF) != 0 {
			return false
		}
		w.read(name)
	}
	return true
}

func (w *world) readAll() {
	w.states = map[string]state{}
	entries, err := os.ReadDir(w.dir)
	if err != nil {
		return // no container has run yet
	}
	for _, entry := range entries {
		w.read(entry.Name())
	}
}

// read reads one state. A file that is gone, or that is about to be renamed, is none.
func (w *world) read(name string) {
	if !strings.HasSuffix(name, ".json") {
		return
	}
	delete(w.states, name)
	data, err := os.ReadFile(filepath.Join(w.dir, name))
	if err != nil {
		return
	}
	var s state
	if err := json.Unmarshal(data, &s); err != nil {
		fmt.Fprintf(os.Stderr, "<4>read %s: %v\n", name, err)
		return
	}
	w.states[name] = s
}

// in returns the container's part in a network. A container that is not started yet has
// none: its address may still turn out to be taken.
func (s state) in(network string) (join, bool) {
	if s.Leader == 0 {
		return join{}, false
	}
	joins := s.Joins
	if len(joins) == 0 { // of an older cocker
		joins = []stateJoin{{Network: s.Network, Address: s.Address}}
	}
	for _, j := range joins {
		if j.Network != network {
			continue
		}
		m := member{container: s.Name, leader: s.Leader}
		for _, text := range []string{j.Address, j.Address6} {
			if address, ok := parseAddress(text); ok {
				m.addresses = append(m.addresses, address)
			}
		}
		aliases := j.Aliases
		if s.Pod != "" {
			aliases = append(aliases, s.Pod)
		}
		return join{m, aliases}, len(m.addresses) > 0
	}
	return join{}, false
}

// parseAddress reads an address with or without the length of its prefix.
func parseAddress(text string) (netip.Addr, bool) {
	text, _, _ = strings.Cut(text, "/")
	address, err := netip.ParseAddr(text)
	return address, err == nil
}
