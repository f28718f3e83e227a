package oom

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Log is the kernel's log, see Documentation/ABI/testing/dev-kmsg.
type Log struct {
	fd   int    // of /dev/kmsg; -1: there is only the text
	text string // as syslog(2) gives it
}

// OpenLog opens it before its first entry. Where the device may not be opened, as in the
// cgroup of a container (DevicePolicy=), it is read as it is now, by syslog(2).
func OpenLog() (*Log, error) {
	fd, err := unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.EPERM) {
		text, err := readAll()
		return &Log{-1, text}, err
	}
	if err != nil {
		return nil, err
	}
	return &Log{fd: fd}, nil
}

// readAll copies all of the log.
func readAll() (string, error) {
	size, err := unix.Klogctl(unix.SYSLOG_ACTION_SIZE_BUFFER, nil)
	if err != nil {
		return "", fmt.Errorf("syslog: %w", err)
	}
	buffer := make([]byte, size)
	n, err := unix.Klogctl(unix.SYSLOG_ACTION_READ_ALL, buffer)
	if err != nil {
		return "", fmt.Errorf("syslog: %w", err)
	}
	return string(buffer[:n]), nil
}

// OpenLogEnd opens it behind its last entry.
func OpenLogEnd() (*Log, error) {
	log, err := OpenLog()
	if err != nil {
		return nil, err
	}
	if log.fd < 0 {
		log.text = ""
		return log, nil
	}
	if _, err := unix.Seek(log.fd, 0, io.SeekEnd); err != nil {
		log.Close()
		return nil, err
	}
	return log, nil
}

// Close closes it.
func (l *Log) Close() {
	if l.fd >= 0 {
		_ = unix.Close(l.fd)
	}
}

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
	host     bool   // the memory of the host ran out, not that of a cgroup
	sequence uint64 // the number of the record, which no other since the boot has; 0: not known
}

// later are those behind a record.
func later(entries []entry, sequence uint64) []entry {
	for len(entries) > 0 && entries[0].sequence <= sequence && entries[0].sequence > 0 {
		entries = entries[1:]
	}
	return entries
}

// victims reads the log to its end. The kernel writes two lines for a process, of
// which the first is left out when there are many (ratelimited, oom_kill_process()
// of Linux 6.1 to 6.18) and the second says nothing of the cgroup.
func (l *Log) victims(of container) (found []entry) {
	l.records(func(record string) {
		e, ok := parseRecord(record, of)
		if !ok {
			return
		}
		if last := len(found) - 1; last >= 0 && found[last].PID == e.PID {
			found[last] = e
			return
		}
		found = append(found, e)
	})
	return found
}

// records calls with each that is left.
func (l *Log) records(each func(record string)) {
	if l.fd < 0 {
		for line := range strings.Lines(l.text) {
			each(asRecord(line))
		}
		return
	}
	buffer := make([]byte, 8192) // a shorter one gets EINVAL for a long record
	for {
		n, err := unix.Read(l.fd, buffer)
		switch {
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EPIPE): // EPIPE: records were overwritten meanwhile
		case err != nil || n == 0: // EAGAIN: that was the last one
			return
		default:
			each(string(buffer[:n]))
		}
	}
}

// asRecord makes a record of "<PRIORITY>[SECONDS.MICROSECONDS] TEXT\n", the form of
// syslog(2), each line of which has the priority of its record. It has no number there,
// and with printk.time=0 no time.
func asRecord(line string) string {
	priority, text, _ := strings.Cut(strings.TrimPrefix(line, "<"), ">")
	if strings.HasPrefix(text, "[") {
		if _, rest, ok := strings.Cut(text, "] "); ok {
			text = rest
		}
	}
	return priority + ",0,0,-;" + text
}

// parseRecord reads "PRIORITY,SEQUENCE,TIME,FLAGS;TEXT\n". What programs write
// into the log never has the kernel's own facility, 0: nobody can forge a record.
func parseRecord(record string, of container) (entry, bool) {
	prefix, text, _ := strings.Cut(record, ";")
	number, rest, _ := strings.Cut(prefix, ",")
	priority, err := strconv.Atoi(number)
	if err != nil || priority > 7 {
		return entry{}, false
	}
	text, _, _ = strings.Cut(text, "\n")
	e, ok := parseSummary(text, of)
	if !ok {
		e, ok = parseKilled(text, of)
	}
	number, _, _ = strings.Cut(rest, ",")
	e.sequence, _ = strconv.ParseUint(number, 10, 64)
	return e, ok
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
