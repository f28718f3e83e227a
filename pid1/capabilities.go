package pid1

import (
	"fmt"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/internal/handoff"
)

// ofInit are the capabilities that init needs itself, to start a program as another user and
// to stop it. A container that may have less than these keeps them for init: the programs
// that it starts get them from nowhere.
const ofInit = 1<<unix.CAP_CHOWN | 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_FOWNER | 1<<unix.CAP_KILL |
	1<<unix.CAP_SETGID | 1<<unix.CAP_SETUID | 1<<unix.CAP_SYS_CHROOT

// keptForInit are those of ofInit that the container's programs do not have.
func keptForInit(plan *handoff.Plan) uint64 { return ofInit &^ plan.Capabilities }

// limitCapabilities leaves the capabilities in set, bit n for capability n, to
// this thread and to everything that it executes or starts: bounding, permitted
// and effective set. The ambient set is empty, as it is a part of the inheritable one
// (CVE-2022-29162 was about a default that was not).
//
// Those in kept come along through the next execve(2) of a root, in the inheritable set
// (capabilities(7), "Transformation of capabilities during execve()"); see forkExec.
//
// The other threads keep theirs, and the container's root must not get hold of
// them: execve(2), which ends them, comes next.
func limitCapabilities(set, kept uint64) error {
	if kept != 0 { // what is no more in the bounding set cannot be added (capabilities(7))
		if err := setCapabilities(allCapabilities, kept); err != nil {
			return err
		}
	}
	if err := limitBounding(set); err != nil {
		return err
	}
	return setCapabilities(set|kept, kept)
}

const allCapabilities = ^uint64(0)

func limitBounding(set uint64) error {
	for capability := uintptr(0); capability <= unix.CAP_LAST_CAP; capability++ {
		if set&(1<<capability) != 0 {
			continue
		}
		err := unix.Prctl(unix.PR_CAPBSET_DROP, capability, 0, 0, 0)
		if err == unix.EINVAL {
			break // the kernel is older than this list
		}
		if err != nil {
			return fmt.Errorf("drop capability %d: %w", capability, err)
		}
	}
	return nil
}

// setCapabilities sets the permitted, effective and inheritable set of this thread. Of what
// the container's file adds the host itself may lack some.
func setCapabilities(set, inheritable uint64) error {
	permitted, _, err := ownCapabilities()
	if err != nil {
		return err
	}
	header, data := capabilityData(set&permitted, inheritable&permitted)
	if err := unix.Capset(&header, &data[0]); err != nil {
		return fmt.Errorf("capset: %w", err)
	}
	return nil
}

func ownCapabilities() (permitted, inheritable uint64, err error) {
	header, data := capabilityData(0, 0)
	if err := unix.Capget(&header, &data[0]); err != nil {
		return 0, 0, fmt.Errorf("capget: %w", err)
	}
	return uint64(data[0].Permitted) | uint64(data[1].Permitted)<<32, uint64(data[0].Inheritable) | uint64(data[1].Inheritable)<<32, nil
}

func capabilityData(set, inheritable uint64) (unix.CapUserHeader, [2]unix.CapUserData) {
	low, high := uint32(set), uint32(set>>32)
	return unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, [2]unix.CapUserData{
		{Effective: low, Permitted: low, Inheritable: uint32(inheritable)},
		{Effective: high, Permitted: high, Inheritable: uint32(inheritable >> 32)},
	}
}

// dropInheritable empties the inheritable set of this thread, so that what it executes does
// not get what has been kept for init. Most containers keep nothing.
func dropInheritable() error {
	permitted, inheritable, err := ownCapabilities()
	if err != nil || inheritable == 0 {
		return err
	}
	return setCapabilities(permitted, 0)
}

// forkExec is syscall.ForkExec for a program that is the container's: it gets nothing that is
// kept for init. The thread that gives that up could not get it back; it ends.
func forkExec(path string, arguments []string, attributes *syscall.ProcAttr) (pid int, err error) {
	_, inheritable, err := ownCapabilities()
	if err != nil {
		return -1, err
	}
	if inheritable == 0 {
		return syscall.ForkExec(path, arguments, attributes)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if err = dropInheritable(); err == nil {
			pid, err = syscall.ForkExec(path, arguments, attributes)
		}
	}()
	<-done
	return pid, err
}
