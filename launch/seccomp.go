package launch

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/internal/handoff"
	"github.com/cocker/cocker/internal/seccomp"
	"github.com/cocker/cocker/internal/seccomp/compile"
)

// planSeccomp decides on the filter of system calls. The default one is part of cocker-init
// and needs nothing here.
func planSeccomp(plan *handoff.Plan, c *config.Container) error {
	plan.NoNewPrivileges = c.NoNewPrivileges
	plan.Unfiltered = c.Unfiltered()
	program, flags, err := seccompProfile(c)
	if program == nil || err != nil {
		return err
	}
	plan.Filter, plan.FilterFlags = seccomp.Bytes(program.For(plan.Capabilities)), flags
	return nil
}

// seccompProfile compiles the profile that a container's file names; nil: it names none.
func seccompProfile(c *config.Container) (program *seccomp.Program, flags uint32, err error) {
	path := c.SeccompProfile()
	if path == "" {
		return nil, 0, nil
	}
	text, _, err := readHost(path)
	if err != nil {
		return nil, 0, fmt.Errorf("seccomp: %w", err)
	}
	var system unix.Utsname
	if err := unix.Uname(&system); err != nil {
		return nil, 0, fmt.Errorf("uname: %w", err)
	}
	machine := compile.Machine{Architecture: runtime.GOARCH, Kernel: unix.ByteSliceToString(system.Release[:])}
	if program, flags, err = compile.Profile(path, text, machine); err != nil {
		return nil, 0, fmt.Errorf("seccomp: %w", err)
	}
	return program, flags, nil
}

// CheckSeccomp tells what is wrong with the profile that a container's file names.
func CheckSeccomp(c *config.Container) error {
	_, _, err := seccompProfile(c)
	return err
}
