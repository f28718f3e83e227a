// Package pid1 is the container's init: it completes the root file system that
// the launcher has assembled, starts the command as the right user with the
// right capabilities, forwards signals, reaps orphans and ends with the command's
// exit status. It runs inside the container's namespaces, as its root. Other kinds of it
// serve a session each, ask who logs in, or take requests for sessions beside the image's
// own init (see the constants session...). It may import internal/handoff,
// internal/linux, internal/session and pid1/bus, and little else: its memory stays.
package pid1

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/internal/handoff"
)

// Exit statuses that are not the command's.
const (
	exitRestart   = 133 // restart me: systemd-nspawn's code, RestartForceExitStatus= of the unit
	exitFailed    = 1   // the container could not be started; the launcher has the reason
	signalExit    = 128 // plus the signal that ended the command, as a shell reports it
	exitCommand   = 127 // the command was not found
	maxDescriptor = ^uint(0)
)

// Run does all the work of cocker-init, in two stages of which the first executes
// the second, and returns its exit status. The caller must have locked the main
// goroutine to the main thread: capabilities, namespaces and a view are a thread's.
func Run() int {
	// Nothing but 0, 1 and 2 may reach the command (CVE-2024-21626).
	if err := unix.CloseRange(handoff.ChannelFD, maxDescriptor, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		fmt.Fprintln(os.Stderr, "cocker-init: close_range:", err)
		return exitFailed
	}
	if os.Getenv(sessionVariable) != "" {
		return runSession()
	}
	channel := handoff.NewInit(os.NewFile(handoff.ChannelFD, "launcher"))
	receive, begin := channel.ReceivePlan, complete
	if fd, second := keptPlan(); second {
		receive = func() (*handoff.Plan, error) { return readKept(fd) }
		begin = func(plan *handoff.Plan, channel *handoff.Init) (int, error) { return start(plan, channel, fd) }
	}
	plan, err := receive()
	if err != nil {
		fmt.Fprintln(os.Stderr, "cocker-init:", err)
		return exitFailed
	}
	status, err := begin(plan, channel)
	if err != nil && !errors.Is(err, handoff.ErrGone) { // a launcher that gave up has said why
		reason, _, _ := strings.Cut(err.Error(), "\n")
		tell(plan, "STATUS="+reason)
		if err := channel.Failed(err); err != nil {
			fmt.Fprintln(os.Stderr, "cocker-init:", reason)
		}
	}
	return status
}

// complete is the first stage: it completes what only a process with all
// capabilities over its namespaces can, phase by phase, and becomes the second
// stage, or the command if that shall be PID 1.
func complete(plan *handoff.Plan, channel *handoff.Init) (status int, err error) {
	for _, phase := range []func(*handoff.Plan) error{dieWithCaller, ownKeyring, noNewPrivileges, completeRoot, giveCredentials, configureNamespaces, setSysctls, protectKernel} {
		if err := phase(plan); err != nil {
			return exitFailed, err
		}
	}
	if plan.Boot {
		return boot(plan, channel)
	}
	if !plan.Exec {
		return exitFailed, enterSecondStage(plan)
	}
	command, err := prepareCommand(plan)
	if err != nil {
		return exitCommand, err
	}
	return exitCommand, runAsInit(plan, command, channel)
}

// start is the second stage: it starts the command and supervises it. kept is the
// descriptor of the plan.
func start(plan *handoff.Plan, channel *handoff.Init, kept int) (status int, err error) {
	for _, phase := range []func(*handoff.Plan) error{dieWithCaller, protectInit} {
		if err := phase(plan); err != nil {
			return exitFailed, err
		}
	}
	keepLimit()
	processes, err := prepareProcesses(plan)
	if err != nil {
		return exitCommand, err
	}
	if err := channel.Assembled(); err != nil {
		return exitFailed, err
	}
	// systemd and machined are told of the container while supervise prepares.
	ended, bus := make(chan struct{}), make(chan *os.File, 1)
	go func() {
		defer close(ended)
		status, err = supervise(plan, processes, channel, kept, bus)
	}()
	listener, busErr := enterView(keptView())
	if busErr != nil {
		explainNoBus(busErr)
	}
	bus <- listener
	<-ended
	return status, err
}

// runAsInit makes the command PID 1. The launcher looks whether the caller is still
// there after Assembled, so the parent death signal must be set for good by then.
func runAsInit(plan *handoff.Plan, command *command, channel *handoff.Init) error {
	if err := command.becomeCommand(plan); err != nil {
		return err
	}
	if err := channel.Assembled(); err != nil {
		return err
	}
	if err := channel.WaitProceed(); err != nil {
		return err
	}
	announce(plan) // execve(2) leaves no later moment
	return command.replaceInit()
}

// protectInit gives init its name, after the second execve(2) that of a link in
// /proc, and makes it undumpable: the container's root cannot trace it, write its
// memory or take its descriptors, and with them what it says to systemd (ptrace(2),
// "Ptrace access mode checking"; PR_SET_DUMPABLE in prctl(2)).
func protectInit(*handoff.Plan) error {
	if err := os.WriteFile("/proc/self/comm", []byte("cocker-init"), 0); err != nil {
		return fmt.Errorf("name init: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("make init undumpable: %w", err)
	}
	return nil
}

// ownKeyring gives the container a session keyring of its own: that of whoever
// called `cocker run` would come along otherwise (session-keyring(7)). A kernel
// without keys has none to keep apart.
func ownKeyring(*handoff.Plan) error {
	_, err := unix.KeyctlInt(unix.KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0, 0)
	if err != nil && !errors.Is(err, unix.ENOSYS) {
		return fmt.Errorf("join a new session keyring: %w", err)
	}
	return nil
}

// noNewPrivileges is for all that this thread starts or becomes, and cannot be taken back
// (PR_SET_NO_NEW_PRIVS in prctl(2)).
func noNewPrivileges(plan *handoff.Plan) error {
	if !plan.NoNewPrivileges {
		return nil
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	return nil
}

// dieWithCaller ties the container to the `cocker run` that waits for it: its
// parent, because the launcher cloned with CLONE_PARENT (prctl(2)).
func dieWithCaller(plan *handoff.Plan) error {
	if !plan.Foreground {
		return nil
	}
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("set parent death signal: %w", err)
	}
	return nil
}

// configureNamespaces sets what the new uts and network namespaces start without.
func configureNamespaces(plan *handoff.Plan) error {
	if !plan.Shared {
		if err := unix.Sethostname([]byte(plan.Hostname)); err != nil {
			return fmt.Errorf("set host name %q: %w", plan.Hostname, err)
		}
	}
	unix.Umask(0o022)
	if err := keepCgroups(plan); err != nil {
		return err
	}
	if !plan.OwnNetwork {
		return nil
	}
	// Images expect to bind port 80 and to ping as an ordinary user, as in
	// Docker. Both are limited to the container's own network namespace
	// (ip(7) ip_unprivileged_port_start, icmp(7) ping_group_range).
	return errors.Join(
		setSysctl("net/ipv4/ip_unprivileged_port_start", "0"),
		setSysctl("net/ipv4/ping_group_range", "0 65535"),
	)
}

// keepCgroups keeps the container's root from the unit's cgroup, which is its own for the
// sessions of machined and mounted read-only: in a user namespace of its own it could make a
// cgroup namespace and mount all of it anew (cgroup_namespaces(7)), freeze what systemd runs
// ExecStopPost= in, and with that systemd (see launch, keepControl). Only CAP_SYS_RESOURCE
// could raise the limit again (namespaces(7)).
func keepCgroups(plan *handoff.Plan) error {
	if plan.Exec || !plan.OwnUsers { // else it would be the host's limit
		return nil
	}
	return setSysctl("user/max_cgroup_namespaces", "0")
}

func setSysctl(name, value string) error {
	err := os.WriteFile("/proc/sys/"+name, []byte(value), 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil // the kernel was built without it
	}
	return err
}
