package oom

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/internal/linux"
)

// mark is how far somebody has told what was killed of a container.
type mark struct {
	kills    int    // as many as the cgroup had counted
	sequence uint64 // the last record of the kernel's log; 0: not known
}

// markAttribute is an extended attribute of the container's cgroup: it goes with the
// counter that it is about, and only root of the host sees or sets it (xattr(7), "trusted").
const markAttribute = "trusted.cocker.oom"

// News is what was killed since it was asked the last time, for who tells of it; nil if
// nothing was. Two who ask in the same moment may both hear of it.
func News(cgroup string, idBase uint32) *Report {
	dir := linux.CgroupPath(cgroup)
	r, to := read(cgroup, idBase, readMark(dir))
	if r != nil {
		_ = unix.Setxattr(dir, markAttribute, []byte(to.String()), 0) // or it is told again
	}
	return r
}

func readMark(dir string) mark {
	text := make([]byte, 64)
	n, err := unix.Getxattr(dir, markAttribute, text)
	if err != nil {
		return mark{}
	}
	return parseMark(string(text[:n]))
}

func (m mark) String() string { return fmt.Sprintf("%d %d", m.kills, m.sequence) }

func parseMark(text string) (m mark) {
	if n, err := fmt.Sscanf(text, "%d %d", &m.kills, &m.sequence); n != 2 || err != nil {
		return mark{}
	}
	return m
}
