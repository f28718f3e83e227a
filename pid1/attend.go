package pid1

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/internal/handoff"
)

// attendantCgroup is where the attendant lives, below the unit's cgroup: a leaf that the
// init does not know.
const attendantCgroup = "cocker"

// startAttendant starts the process that takes requests for sessions in a container whose
// PID 1 is not ours. It is one of the container's, a child of its init, and ends with it:
// so no process of the host enters the container for a session here either.
func startAttendant(plan *handoff.Plan) error {
	kept, err := keepPlan(forSessions(plan))
	if err != nil {
		return err
	}
	defer kept.Close()
	cgroup := filepath.Join(ownCgroup, attendantCgroup)
	if err := os.Mkdir(cgroup, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make a cgroup: %w", err)
	}
	dir, err := os.Open(cgroup)
	if err != nil {
		return err
	}
	defer dir.Close()
	const closed = ^uintptr(0)
	files := []uintptr{closed, closed, 2, sessionClientFD: handoff.ControlFD, sessionPlanFD: kept.Fd(), sessionRescueFD: closed}
	if plan.Rescue {
		files[sessionRescueFD] = handoff.RescueFD
	}
	_, err = syscall.ForkExec("/proc/self/exe", []string{"cocker-attend"}, &syscall.ProcAttr{
		Env:   []string{sessionVariable + "=" + sessionsOfBooted, oneProcessor, smallHeap},
		Files: files,
		Sys:   &syscall.SysProcAttr{Setsid: true, UseCgroupFD: true, CgroupFD: int(dir.Fd())},
	})
	if err != nil {
		return fmt.Errorf("start a process for sessions: %w", err)
	}
	return nil
}

// forSessions is the plan as sessions have it: the socket for notifications is the
// init's, and nobody else is heard.
func forSessions(plan *handoff.Plan) *handoff.Plan {
	served := *plan
	served.Environment = slices.DeleteFunc(slices.Clone(plan.Environment), func(variable string) bool {
		return strings.HasPrefix(variable, "NOTIFY_SOCKET=")
	})
	return &served
}

// attend is the attendant: it takes requests until it is killed, as by systemd when the
// container shuts down.
func attend() int {
	if err := protectAs("cocker-attend"); err != nil {
		fmt.Fprintln(os.Stderr, "cocker-attend:", err)
		return exitFailed
	}
	keepLimit()
	plan, err := readKept(sessionPlanFD)
	if err != nil {
		fmt.Fprintln(os.Stderr, "cocker-attend:", err)
		return exitFailed
	}
	const closed = ^uintptr(0)
	s := &sessions{plan: sessionPlanFD, rescue: closed}
	if plan.Rescue {
		s.rescue = sessionRescueFD
	}
	children := make(chan os.Signal, 1)
	signal.Notify(children, syscall.SIGCHLD)
	s.listen(os.NewFile(sessionClientFD, "control"), sessionOfControl)
	for range children {
		for {
			pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
			if err != unix.EINTR && (err != nil || pid == 0) {
				break
			}
		}
	}
	return 0
}
