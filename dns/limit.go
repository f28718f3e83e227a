package dns

import (
	"net/netip"
	"sync"
)

const (
	// maxWaiting bounds the questions that wait for the host's resolvers, and with them
	// sockets and memory; maxWaitingEach leaves some to the other containers.
	maxWaiting     = 256
	maxWaitingEach = 64
	// maxStreams and maxStreamsEach bound TCP connections.
	maxStreams     = 128
	maxStreamsEach = 16
)

// limit counts what is in work, in all and for each container.
type limit struct {
	all, each int

	mutex sync.Mutex
	total int
	of    map[netip.Addr]int
}

func newLimit(all, each int) *limit { return &limit{all: all, each: each, of: map[netip.Addr]int{}} }

// enter tells whether one more may be taken in work; leave is to be called then.
func (l *limit) enter(from netip.Addr) bool {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if l.total >= l.all || l.of[from] >= l.each {
		return false
	}
	l.total++
	l.of[from]++
	return true
}

func (l *limit) leave(from netip.Addr) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.total--
	if l.of[from]--; l.of[from] == 0 {
		delete(l.of, from)
	}
}

// empty tells whether nothing is in work.
func (l *limit) empty() bool {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.total == 0
}
