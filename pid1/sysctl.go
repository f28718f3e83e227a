package pid1

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/internal/handoff"
)

// setSysctls sets what the container's file says of its namespaces.
func setSysctls(plan *handoff.Plan) error {
	if len(plan.Sysctls) == 0 {
		return nil
	}
	proc, err := openKernel("proc", unix.PROC_SUPER_MAGIC)
	if err != nil {
		return err
	}
	defer unix.Close(proc)
	for _, line := range plan.Sysctls {
		name, value, _ := strings.Cut(line, "=")
		if name == "kernel.domainname" { // the file is for the host's root only
			err = unix.Setdomainname([]byte(value))
		} else {
			err = writeSysctl(proc, name, value)
		}
		if err != nil {
			return fmt.Errorf("set %s = %q of [sysctls]: %w", name, value, err)
		}
	}
	return nil
}

func writeSysctl(proc int, name, value string) error {
	fd, err := openBelow(proc, "sys/"+strings.ReplaceAll(name, ".", "/"), unix.O_WRONLY)
	if err != nil {
		return err
	}
	if fd < 0 {
		return errors.New("the kernel has none of that name that a container may set")
	}
	file := os.NewFile(uintptr(fd), name)
	defer file.Close()
	_, err = file.WriteString(value)
	if errors.Is(err, unix.EINVAL) {
		return errors.New("the kernel does not take this value")
	}
	return err
}
