package oom

import (
	"errors"
	"io"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Log is the kernel's log, see Documentation/ABI/testing/dev-kmsg.
type Log struct{ fd int }

// OpenLog opens it before its first entry.
func OpenLog() (*Log, error) {
	fd, err := unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return &Log{fd}, nil
}

// OpenLogEnd opens it behind its last entry.
func OpenLogEnd() (*Log, error) {
	log, err := OpenLog()
	if err != nil {
		return nil, err
	}
	if _, err := unix.Seek(log.fd, 0, io.SeekEnd); err != nil {
		log.Close()
		return nil, err
	}
	return log, nil
}

// Close closes it.
func (l *Log) Close() { _ = unix.Close(l.fd) }

// Since reports what has been killed of the container of a range of ids since the
// log was opened; nil if nothing was.
func (l *Log) Since(idBase uint32) *Report {
	found := l.victims(container{idBase: idBase})
	if len(found) == 0 {
		return nil
	}
	r := &Report{Kills: len(found)}
	r.add(found)
	return r
}

// entry is one process that was killed.
type entry struct {
	Victim
	host bool // the memory of the host ran out, not that of a cgroup
}

// victims reads the log to its end. The kernel writes two lines for a process, of
// which the first is left out when there are many (ratelimited, oom_kill_process()
// of Linux 6.1 to 6.18) and the second says nothing of the cgroup.
func (l *Log) victims(of container) []entry {
	var found []entry
	buffer := make([]byte, 8192) // a shorter one gets EINVAL for a long record
	for {
		n, err := unix.Read(l.fd, buffer)
		switch {
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EPIPE): // EPIPE: records were overwritten meanwhile
			continue
		case err != nil || n == 0: // EAGAIN: that was the last one
			return found
		}
		e, ok := parseRecord(string(buffer[:n]), of)
		if !ok {
			continue
		}
		if last := len(found) - 1; last >= 0 && found[last].PID == e.PID {
			found[last] = e
			continue
		}
		found = append(found, e)
	}
}

// parseRecord reads "PRIORITY,SEQUENCE,TIME,FLAGS;TEXT\n". What programs write
// into the log never has the kernel's own facility, 0: nobody can forge a record.
func parseRecord(record string, of container) (entry, bool) {
	prefix, text, _ := strings.Cut(record, ";")
	number, _, _ := strings.Cut(prefix, ",")
	priority, err := strconv.Atoi(number)
	if err != nil || priority > 7 {
		return entry{}, false
	}
	text, _, _ = strings.Cut(text, "\n")
	if e, ok := parseSummary(text, of); ok {
		return e, true
	}
	return parseKilled(text, of)
}

// parseSummary reads "oom-kill:constraint=CONSTRAINT_MEMCG,...,task_memcg=PATH,
// task=NAME,pid=PID,uid=UID". The name may be anything, so the end counts.
func parseSummary(text string, of container) (e entry, ok bool) {
	rest, isSummary := strings.CutPrefix(text, "oom-kill:")
	constraint, rest, hasGroup := strings.Cut(rest, ",task_memcg=")
	group, rest, hasTask := strings.Cut(rest, ",task=")
	i := strings.LastIndex(rest, ",pid=")
	if !isSummary || !hasGroup || !hasTask || i < 0 {
		return e, false
	}
	pid, uid, _ := strings.Cut(rest[i+len(",pid="):], ",uid=")
	id, _ := strconv.ParseUint(uid, 10, 32)
	e.PID, _ = strconv.Atoi(pid)
	e.Process = rest[:i]
	e.host = !strings.HasPrefix(constraint, "constraint=CONSTRAINT_MEMCG")
	return e, e.PID > 0 && (of.hasCgroup(group) || of.hasID(id))
}

// parseKilled reads "Memory cgroup out of memory: Killed process PID (NAME)
// total-vm:..., UID:UID pgtables:...". The host's own begins with "Out of memory".
func parseKilled(text string, of container) (e entry, ok bool) {
	cause, rest, isKilled := strings.Cut(text, ": Killed process ")
	pid, rest, hasName := strings.Cut(rest, " (")
	end := strings.LastIndex(rest, ") total-vm:")
	i := strings.LastIndex(rest, " UID:")
	if !isKilled || !hasName || end < 0 || i < end {
		return e, false
	}
	uid, _, _ := strings.Cut(rest[i+len(" UID:"):], " ")
	id, err := strconv.ParseUint(uid, 10, 32)
	e.PID, _ = strconv.Atoi(pid)
	e.Process = rest[:end]
	e.host = strings.HasPrefix(cause, "Out of memory")
	return e, err == nil && e.PID > 0 && of.hasID(id)
}
