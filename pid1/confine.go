package pid1

import (
	"errors"
	"fmt"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/internal/handoff"
	"github.com/cocker/cocker/internal/seccomp"
)

// confinement is what everything that is not cocker's is put in right before its execve(2):
// the filter of system calls, and with it the last of the capabilities that go.
//
// To install a filter takes CAP_SYS_ADMIN or no_new_privs (seccomp(2)), which would take
// sudo, su and ping from a container. So init, and what serves sessions, keeps that
// capability, over the container's own user namespace, and no program of the container ever
// has it: it leaves the bounding set first, and execve(2) takes the rest. Nor can a program of
// the container get hold of who keeps it: who has fewer capabilities cannot trace
// (ptrace(2), "Ptrace access mode checking"). That init has no filter itself lets profiles
// be as narrow as the command is: all that they must allow is execve.
type confinement struct {
	program *unix.SockFprog // nil: no filter
	filter  []unix.SockFilter
	flags   uintptr
	keeps   bool   // this process has capabilities, for the filter, that the command has not
	drop    uint64 // these, which are to leave the bounding set
	header  unix.CapUserHeader
	data    [2]unix.CapUserData
}

// installer are the capabilities that confining takes: one for the filter, and one to take
// that one away.
const installer = 1<<unix.CAP_SYS_ADMIN | 1<<unix.CAP_SETPCAP

// ofInit are the capabilities that init needs itself, to start a program as another user and
// to stop it, also where the container's programs have less.
const ofInit = 1<<unix.CAP_CHOWN | 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_FOWNER | 1<<unix.CAP_KILL |
	1<<unix.CAP_SETGID | 1<<unix.CAP_SETUID | 1<<unix.CAP_SYS_CHROOT

// ownCapabilities are those of cocker's processes in a container.
func ownCapabilities(plan *handoff.Plan) uint64 {
	own := plan.Capabilities | ofInit
	if !plan.Unfiltered && !plan.NoNewPrivileges {
		own |= installer
	}
	if own != plan.Capabilities {
		own |= 1 << unix.CAP_SETPCAP
	}
	return own
}

// newConfinement is what the plan has.
func newConfinement(plan *handoff.Plan) (*confinement, error) {
	c := &confinement{flags: uintptr(plan.FilterFlags), drop: ownCapabilities(plan) &^ plan.Capabilities}
	if plan.Unfiltered {
		return c, nil
	}
	c.keeps = !plan.NoNewPrivileges
	c.filter = seccomp.Default(plan.Capabilities)
	if plan.Filter != nil {
		var err error
		if c.filter, err = seccomp.Parse(string(plan.Filter)); err != nil {
			return nil, err
		}
	}
	if len(c.filter) == 0 {
		return nil, fmt.Errorf("cocker has no filter for the system calls of %s: seccomp = \"none\" does without", runtime.GOARCH)
	}
	c.program = &unix.SockFprog{Len: uint16(len(c.filter)), Filter: &c.filter[0]} //nolint:gosec // Parse has checked it
	c.header.Version = unix.LINUX_CAPABILITY_VERSION_3
	return c, c.permit(plan.Capabilities)
}

// permit has the filter's capability effective, and permitted beside it what the command may
// have: execve(2) of root gives that, and who gains a capability there loses the parent death
// signal (commit_creds of Linux, cred_cap_issubset).
func (c *confinement) permit(capabilities uint64) error {
	if err := unix.Capget(&c.header, &c.data[0]); err != nil {
		return fmt.Errorf("capget: %w", err)
	}
	for i, wanted := range []uint64{capabilities | 1<<unix.CAP_SYS_ADMIN, capabilities >> 32} {
		c.data[i] = unix.CapUserData{Permitted: c.data[i].Permitted & uint32(wanted)} //nolint:gosec // one half of it
	}
	c.data[0].Effective = 1 << unix.CAP_SYS_ADMIN
	return nil
}

// limit is the first part, for this thread: what needs all of the capabilities still.
// The command can have any user after that.
func (c *confinement) limit() error {
	if err := dropBounding(c.drop); err != nil {
		return err
	}
	if !c.keeps {
		return nil
	}
	// Until execve(2), also across the change to another user (capabilities(7), SECBIT_KEEP_CAPS).
	if err := unix.Prctl(unix.PR_SET_KEEPCAPS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("keep capabilities: %w", err)
	}
	return nil
}

// install is the last part, for this thread: nothing but execve(2) may follow.
func (c *confinement) install() error {
	if c.program == nil {
		return nil
	}
	keepLimit() // that makes no system call of execve's later
	if c.keeps {
		if _, _, errno := syscall.RawSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&c.header)), uintptr(unsafe.Pointer(&c.data[0])), 0); errno != 0 {
			return fmt.Errorf("capset: %w", errno)
		}
	}
	if _, _, errno := syscall.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, c.flags, uintptr(unsafe.Pointer(c.program))); errno != 0 {
		return filterError(errno)
	}
	return nil
}

// filterError says what an errno of seccomp(2) means.
func filterError(err error) error {
	const what = "install the filter for system calls"
	switch {
	case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EINVAL):
		return fmt.Errorf("%s: %w: the kernel lacks CONFIG_SECCOMP_FILTER, or does not know a flag of the profile; seccomp = \"none\" does without", what, err)
	case errors.Is(err, unix.EACCES):
		return fmt.Errorf("%s: %w: it takes CAP_SYS_ADMIN over the container's own user namespace, which a security module can keep from init; no_new_privileges = true does without", what, err)
	case errors.Is(err, unix.ENOMEM):
		return fmt.Errorf("%s: %w: the filters of a process may have 32768 instructions together (seccomp(2)), and others have been there before", what, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}
