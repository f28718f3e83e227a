package linux

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// parseProcessStart reads field 22 of a stat line. The second field is the
// program's name in parentheses and may itself hold spaces and parentheses, so
// counting begins after the last one. The error is os.ErrNotExist for a process
// that has ended and waits for its parent: systemd runs ExecStopPost= before it
// reaps the main process (it peeks with WNOWAIT, manager_dispatch_sigchld). A
// main thread alone may have ended too, hence the number of threads.
func parseProcessStart(stat string) (uint64, error) {
	end := strings.LastIndexByte(stat, ')')
	if end < 0 {
		return 0, fmt.Errorf("process stat %q: no program name", stat)
	}
	const state, threads, startTime = 0, 20 - 3, 22 - 3 // the first field after the name is the third
	fields := strings.Fields(stat[end+1:])
	if len(fields) <= startTime {
		return 0, fmt.Errorf("process stat %q: too few fields", stat)
	}
	if fields[state] == "Z" && fields[threads] == "1" {
		return 0, fmt.Errorf("process has ended: %w", os.ErrNotExist)
	}
	return strconv.ParseUint(fields[startTime], 10, 64)
}
