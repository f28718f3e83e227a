package pid1

import (
	"bytes"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/internal/handoff"
)

// killsPause is the least time between two looks: the kernel says up to 100 times in a
// second that something in the file has changed (CGROUP_FILE_NOTIFY_MIN_INTV of
// kernel/cgroup/cgroup.c), and most often it is that the container is at its limit.
const killsPause = 100 * time.Millisecond

// watchKills says on the host that the kernel has killed a process of the container because
// memory ran out, for the rest of init's life. It sees only how many, and that they were
// its own; which ones the kernel's log says, which is not the container's to read.
func watchKills(plan *handoff.Plan) {
	if !plan.Kills {
		return
	}
	events, err := unix.Openat(handoff.CgroupFD, "memory.events", unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil { // the host counts no memory
		_ = unix.Close(handoff.KillsFD)
		return
	}
	changes, err := watchChanges(events)
	if err != nil {
		_, _ = unix.Close(events), unix.Close(handoff.KillsFD)
		return
	}
	go func() {
		var buffer [512]byte
		told := 0
		for {
			kills := readKills(events, buffer[:])
			if kills < 0 {
				return // the cgroup is gone
			}
			if kills > told {
				_, _ = unix.Write(handoff.KillsFD, []byte{'\n'}) // if it is full, somebody will look anyway
			}
			told = kills
			if changes() != nil {
				return
			}
			time.Sleep(killsPause)
		}
	}()
}

// watchChanges returns a function that waits for the next change of a file of a cgroup after
// it was read. Not inotify(7): each instance of it would be one of the 128 that all of the
// host's root together may have (max_user_instances; those of a user namespace count for who
// has made it). The runtime waits for the epoll(7) descriptor as for any other, without a thread.
func watchChanges(file int) (wait func() error, err error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	err = unix.EpollCtl(fd, unix.EPOLL_CTL_ADD, file, &unix.EpollEvent{Events: unix.EPOLLPRI})
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	poll := os.NewFile(uintptr(fd), "memory.events")
	raw, err := poll.SyscallConn()
	if err != nil {
		_ = poll.Close()
		return nil, err
	}
	var ready [1]unix.EpollEvent
	changed := func(fd uintptr) bool {
		n, err := unix.EpollWait(int(fd), ready[:], 0)
		return n > 0 || err != nil
	}
	return func() error { return raw.Read(changed) }, nil
}

// readKills reads how many processes were killed; -1: the file cannot be read any more.
func readKills(file int, buffer []byte) int {
	n, err := unix.Pread(file, buffer, 0)
	for err == unix.EINTR {
		n, err = unix.Pread(file, buffer, 0)
	}
	if err != nil {
		return -1
	}
	return countKills(buffer[:n])
}

// countKills finds the line "oom_kill NUMBER" of memory.events.
func countKills(text []byte) int {
	for line := range bytes.Lines(text) {
		if number, ok := bytes.CutPrefix(line, []byte("oom_kill ")); ok {
			n, _ := strconv.Atoi(string(bytes.TrimSpace(number)))
			return n
		}
	}
	return 0
}
