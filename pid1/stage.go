package pid1

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/internal/handoff"
)

// planVariable is the environment variable that tells the cocker-init that
// supervises which descriptor has the plan. It is no argument, because systemctl
// status and ps show those. Init executes itself when the root file system is complete: execve(2) leaves one thread and
// nothing of the old memory, so what is limited by then is limited for good. To
// limit the threads of a running Go program takes a signal to each of them for
// each capability, 2 to 5 ms of two processors; to start it again takes 1 ms.
const planVariable = "COCKER_INIT_PLAN"

// enterSecondStage limits the capabilities and executes this program again, with
// the descriptors of the first stage and one more, the plan. It returns only on
// failure.
func enterSecondStage(plan *handoff.Plan) error {
	if err := labelNextProgram(plan); err != nil {
		return err
	}
	view := openView(plan)
	if err := limitCapabilities(ownCapabilities(plan)); err != nil {
		return err
	}
	kept, err := keepPlan(plan)
	if err != nil {
		return err
	}
	defer kept.Close()
	inherited := []uintptr{handoff.ChannelFD, kept.Fd()}
	if plan.Announce != "" {
		inherited = append(inherited, handoff.NotifyFD)
	}
	if plan.Sessions {
		inherited = append(inherited, handoff.ControlFD, handoff.CgroupFD)
	}
	if plan.Kills {
		inherited = append(inherited, handoff.KillsFD)
	}
	if plan.Rescue {
		inherited = append(inherited, handoff.RescueFD)
	}
	environment := []string{planVariable + "=" + strconv.Itoa(int(kept.Fd())), oneProcessor, smallHeap}
	if view >= 0 {
		inherited = append(inherited, uintptr(view))
		environment = append(environment, viewVariable+"="+strconv.Itoa(view))
	}
	if len(plan.Processes) > 0 {
		inherited = append(inherited, handoff.ProcessesFD)
	}
	for i := range plan.Processes {
		inherited = append(inherited, processDescriptors(plan, i)...)
	}
	for _, fd := range inherited {
		if _, err := unix.FcntlInt(fd, unix.F_SETFD, 0); err != nil {
			return fmt.Errorf("keep descriptor %d: %w", fd, err)
		}
	}
	err = syscall.Exec("/proc/self/exe", []string{"cocker-init"}, environment)
	return fmt.Errorf("execute cocker-init again: %w", err)
}

// keepPlan returns a file in memory with the plan, which nobody can change any more:
// sessions read it, too.
func keepPlan(plan *handoff.Plan) (*os.File, error) {
	fd, err := unix.MemfdCreate("plan", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("keep the plan: %w", err)
	}
	file := os.NewFile(uintptr(fd), "plan")
	err = handoff.NewLauncher(file).SendPlan(plan)
	if err == nil {
		_, err = unix.FcntlInt(file.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_WRITE|unix.F_SEAL_GROW|unix.F_SEAL_SHRINK|unix.F_SEAL_SEAL)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("keep the plan: %w", err), file.Close())
	}
	return file, nil
}

// keptPlan is the descriptor of the plan that the first stage has kept; false:
// this is the first stage.
func keptPlan() (fd int, ok bool) {
	fd, err := strconv.Atoi(os.Getenv(planVariable))
	return fd, err == nil
}

// readKept reads the plan and leaves the descriptor open, at any offset.
func readKept(fd int) (*handoff.Plan, error) {
	return handoff.ReadPlan(io.NewSectionReader(keptFile(fd), 0, maxPlan))
}

// maxPlan bounds the plan: its environment and command passed through execve(2).
const maxPlan = 16 << 20

type keptFile int

func (fd keptFile) ReadAt(p []byte, offset int64) (int, error) {
	n, err := unix.Pread(int(fd), p, offset)
	if n == 0 && err == nil {
		return 0, io.EOF
	}
	return max(n, 0), err
}

// oneProcessor is an environment variable of the Go runtime: what init does it does
// one after the other, and each processor more costs memory and threads.
const oneProcessor = "GOMAXPROCS=1"

// smallHeap is another: garbage is collected when there is 1 MiB of it, not 4.
const smallHeap = "GOGC=25"
