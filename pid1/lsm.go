package pid1

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/internal/handoff"
)

// labelNextProgram lets what this thread executes next, and all that descends from it, run
// under the container's AppArmor profile or with its SELinux label. A program that can
// write to its files in /proc/PID/attr could ask for that; so could a fake of them, which
// would confine nothing (CVE-2019-16884).
func labelNextProgram(plan *handoff.Plan) error {
	if plan.AppArmor == "" && plan.SELinux == "" {
		return nil
	}
	proc, err := openKernel("proc", unix.PROC_SUPER_MAGIC)
	if err != nil {
		return err
	}
	defer unix.Close(proc)
	if plan.AppArmor != "" {
		if err := writeAttribute(proc, "apparmor/exec", "exec "+plan.AppArmor); err != nil {
			return fmt.Errorf("apparmor_profile %q: %w", plan.AppArmor, err)
		}
	}
	if plan.SELinux != "" {
		if err := writeAttribute(proc, "exec", plan.SELinux); err != nil {
			return fmt.Errorf("selinux_label %q: %w", plan.SELinux, err)
		}
	}
	return nil
}

func writeAttribute(proc int, name, value string) error {
	path := fmt.Sprintf("%d/task/%d/attr/%s", os.Getpid(), unix.Gettid(), name)
	fd, err := openBelow(proc, path, unix.O_WRONLY)
	if err == nil && fd < 0 {
		err = errors.New("the kernel has no such security module")
	}
	if err != nil {
		return err
	}
	file := os.NewFile(uintptr(fd), name)
	defer file.Close()
	_, err = file.WriteString(value)
	switch {
	case errors.Is(err, unix.ENOENT):
		return errors.New("the kernel has not loaded it; see apparmor_parser(8)")
	case errors.Is(err, unix.EINVAL):
		return errors.New("the kernel's policy does not know it, or its security module is off")
	}
	return err
}
