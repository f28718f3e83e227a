package linux

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// The places in what statFields returns, which begins with the third field, of those
// that proc_pid_stat(5) numbers 3, 9, 20 and 22.
const (
	fieldState     = 0
	fieldFlags     = 6
	fieldThreads   = 17
	fieldStartTime = 19
)

// statFields splits a line of proc_pid_stat(5), from the third field on. The second
// is the program's name in parentheses and may itself hold spaces and parentheses, so
// counting begins after the last one.
func statFields(stat string) ([]string, error) {
	end := strings.LastIndexByte(stat, ')')
	if end < 0 {
		return nil, fmt.Errorf("process stat %q: no program name", stat)
	}
	fields := strings.Fields(stat[end+1:])
	if len(fields) <= fieldStartTime {
		return nil, fmt.Errorf("process stat %q: too few fields", stat)
	}
	return fields, nil
}

// parseProcessStart reads the start time of a stat line. The error is os.ErrNotExist for a process
// that has ended and waits for its parent: systemd runs ExecStopPost= before it
// reaps the main process (it peeks with WNOWAIT, manager_dispatch_sigchld). A
// main thread alone may have ended too, hence the number of threads.
func parseProcessStart(stat string) (uint64, error) {
	fields, err := statFields(stat)
	if err != nil {
		return 0, err
	}
	if fields[fieldState] == "Z" && fields[fieldThreads] == "1" {
		return 0, fmt.Errorf("process has ended: %w", os.ErrNotExist)
	}
	return strconv.ParseUint(fields[fieldStartTime], 10, 64)
}

// exiting is PF_EXITING of include/linux/sched.h: the process is in exit(2).
const exiting = 0x4

// parseExiting tells whether a stat line is that of a process that is in exit(2).
func parseExiting(stat string) bool {
	fields, err := statFields(stat)
	if err != nil {
		return false
	}
	flags, err := strconv.ParseUint(fields[fieldFlags], 10, 32)
	return err == nil && flags&exiting != 0
}
