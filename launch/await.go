package launch

import (
	"errors"
	"fmt"
	"math"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/internal/linux"
)

// Process names this process for await.
func Process() (string, error) {
	start, err := linux.ProcessStart(os.Getpid())
	return fmt.Sprintf("%d:%d", os.Getpid(), start), err
}

// await waits for the end of a process, named by its number and its start time. A
// unit whose main process does so ends, and does what its ExecStopPost= says,
// whatever the end of that process is.
func await(process string) error {
	var pid int
	var start uint64
	if _, err := fmt.Sscanf(process, "%d:%d", &pid, &start); err != nil || fmt.Sprintf("%d:%d", pid, start) != process {
		return fmt.Errorf("%q is no PID:START", process)
	}
	pidfd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("pidfd_open %d: %w", pid, err)
	}
	defer unix.Close(pidfd)
	// After the descriptor is open: the number may have been another process's before.
	if now, err := linux.ProcessStart(pid); err != nil || now != start {
		return nil
	}
	for !linux.WaitReadable(pidfd, time.Duration(math.MaxInt32)*time.Millisecond) {
		if linux.ProcessExiting(pid) {
			break
		}
	}
	return nil
}
