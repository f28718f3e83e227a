package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/internal/oom"
	"github.com/cocker/cocker/internal/paths"
	"github.com/cocker/cocker/launch"
	"github.com/cocker/cocker/scope"
	"github.com/cocker/cocker/units"
)

// foreground is a container whose PID 1 is a child of this process. The launcher
// is started first and waits at a gate; it is put into the scope, the gate opens,
// it clones PID 1 as a sibling of itself (clone(2), CLONE_PARENT) and ends.
type foreground struct {
	container *config.Container
	launcher  *exec.Cmd
	gate      *os.File // one byte written here lets the launcher go on
	report    *os.File // the launcher writes "PID n" here
	signals   chan os.Signal
	stdio     *stdio
	kernel    *oom.Log    // from here on; nil: it cannot be read
	idBase    uint32      // the host's id of the container's root
	early     []os.Signal // those that came before there was a PID 1 to pass them on to
}

// interruptedError is the signal that ended a start on its way.
type interruptedError unix.Signal

func (e interruptedError) Error() string {
	return fmt.Sprintf("the start was ended by %s", unix.SignalName(unix.Signal(e)))
}

// startGrace is how long a start may take that was asked to end: a container that
// is nearly there gets the signal instead.
const startGrace = time.Second

func runForeground(ctx context.Context, s *streams, systemd func() (*scope.Manager, error), c *config.Container, o runOptions) (err error) {
	// PID 1 asks the kernel to be killed when its parent ends, and the parent is
	// the thread that started the launcher: prctl(2), PR_SET_PDEATHSIG. So that
	// thread is this goroutine's until the process ends.
	runtime.LockOSThread()
	f := &foreground{container: c, signals: make(chan os.Signal, 16)}
	signal.Notify(f.signals, forwarded()...)
	if f.stdio, err = openStdio(s, o); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.stdio.restore()) }()
	if log, err := oom.OpenLogEnd(); err == nil {
		defer log.Close()
		f.kernel = log
	}
	if err := f.startLauncher(); err != nil {
		return err
	}
	defer f.stdio.start()() // from here on, so that the launcher's own words are shown
	m, err := systemd()
	if err == nil {
		defer m.Close()
		err = f.enterScope(ctx, m, o.remove)
	}
	if err != nil {
		_ = f.launcher.Process.Kill() // it waits at the gate and has done nothing
		_ = f.launcher.Wait()
		if interrupted := f.interruption(ctx); interrupted != nil && m != nil {
			return errors.Join(interrupted, f.cleanUp(m, o.remove)) // systemd may have made the scope nevertheless
		}
		return err
	}
	status, err := f.runToEnd()
	f.tellKills(s)
	if errors.As(err, new(interruptedError)) {
		f.abandon(m)
	}
	return errors.Join(status, err, f.cleanUp(m, o.remove))
}

// interruption is the signal that has ended the context, nil if none has.
func (f *foreground) interruption(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	select {
	case s := <-f.signals:
		return interruptedError(s.(unix.Signal))
	case <-time.After(startGrace): // it came before this was listening
		return nil
	}
}

// abandon kills what a start that hangs has made so far: the launcher and, where
// it has come that far, PID 1, which is a child of this process, too. Neither may
// be left half-dead: the cleanup refuses to work for a container whose PID 1 exists.
func (f *foreground) abandon(m *scope.Manager) {
	_ = m.Kill(context.Background(), units.Scope(f.container.Name), scope.KillAll, unix.SIGKILL) // nothing left is fine
	_ = f.launcher.Process.Kill()
	_ = f.launcher.Wait()
	for {
		if _, err := unix.Wait4(-1, nil, 0, nil); err != nil && err != unix.EINTR {
			return // ECHILD
		}
	}
}

// forwarded are the signals that are the container's.
func forwarded() []os.Signal {
	return []os.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2}
}

// Descriptors of the launcher beside 0, 1 and 2 are in the order of ExtraFiles:
// 3 is the gate, 4 the report.
func (f *foreground) startLauncher() (err error) {
	gateOut, gateIn, err := os.Pipe()
	if err != nil {
		return err
	}
	defer gateOut.Close()
	reportOut, reportIn, err := os.Pipe()
	if err != nil {
		return errors.Join(err, gateIn.Close())
	}
	defer reportIn.Close()
	f.gate, f.report = gateIn, reportOut
	f.launcher = exec.Command(paths.Launcher(), "run", f.container.Name)
	f.launcher.Stdin, f.launcher.Stdout, f.launcher.Stderr = f.stdio.in, f.stdio.out, f.stdio.err
	f.launcher.ExtraFiles = []*os.File{gateOut, reportIn}
	// A session of its own: what is typed at this terminal, Ctrl-C above all, is
	// for this process, which passes it on once.
	f.launcher.SysProcAttr = &unix.SysProcAttr{Setsid: true}
	if err := f.launcher.Start(); err != nil {
		return errors.Join(fmt.Errorf("start the launcher: %w", err), gateIn.Close(), reportOut.Close())
	}
	return nil
}

// enterScope puts the launcher into a new scope.
func (f *foreground) enterScope(ctx context.Context, m *scope.Manager, remove bool) error {
	if err := awaitEarlier(ctx, m, f.container.Name, remove); err != nil {
		return err
	}
	return m.StartTransientScope(ctx, units.Scope(f.container.Name), []int{f.launcher.Process.Pid}, scopeDirectives(f.container, remove))
}

// runToEnd opens the gate and waits for the container's end. The status is an
// exitError if it is not 0; err says why there was no container to end.
func (f *foreground) runToEnd() (status, err error) {
	if _, err := f.gate.Write([]byte{1}); err != nil {
		return nil, errors.Join(fmt.Errorf("tell the launcher to go on: %w", err), f.waitLauncher())
	}
	f.gate.Close()
	pid, err := f.awaitReport()
	switch {
	case errors.As(err, new(interruptedError)):
		return nil, err
	case err != nil:
		return nil, cmpError(f.waitLauncher(), err)
	}
	if state, err := launch.ReadState(f.container.Name); err == nil { // gone soon after its end
		f.idBase = state.IDBase
	}
	end := make(chan struct{})
	go f.forward(pid, end)
	launchErr := f.waitLauncher()
	wait, err := waitFor(pid)
	close(end)
	if launchErr != nil || err != nil {
		return nil, errors.Join(launchErr, err)
	}
	return exitOf(wait), nil
}

// awaitReport waits for the launcher's report. A signal that asks this program to
// end leaves it startGrace, a second one nothing.
func (f *foreground) awaitReport() (int, error) {
	var pid int
	var err error
	reported := make(chan struct{})
	go func() {
		defer close(reported)
		pid, err = f.readReport()
	}()
	var asked unix.Signal
	var overdue <-chan time.Time
	for {
		select {
		case <-reported:
			return pid, err
		case <-overdue:
			return 0, interruptedError(asked)
		case s := <-f.signals:
			f.early = append(f.early, s)
			switch {
			case s == unix.SIGUSR1 || s == unix.SIGUSR2:
			case asked != 0:
				return 0, interruptedError(asked)
			default:
				asked, overdue = s.(unix.Signal), time.After(startGrace)
			}
		}
	}
}

func (f *foreground) readReport() (pid int, err error) {
	defer f.report.Close()
	line, err := bufio.NewReader(f.report).ReadString('\n')
	if errors.Is(err, io.EOF) {
		return 0, errors.New("the launcher ended without a word")
	}
	if _, err := fmt.Sscanf(line, "PID %d\n", &pid); err != nil {
		return 0, fmt.Errorf("the launcher said %q", line)
	}
	return pid, nil
}

// tellKills says which processes the kernel has killed because memory ran out. The
// counters of the scope's cgroup are gone with it, so its log alone must do.
func (f *foreground) tellKills(s *streams) {
	if f.kernel == nil || f.idBase == 0 {
		return
	}
	report := f.kernel.Since(f.idBase)
	if report == nil {
		return
	}
	if !report.Host {
		report.Limit = f.container.Resources.MemoryMax
	}
	fmt.Fprintf(s.err, "cocker: run: killed by the kernel: %s\n", report)
}

// waitLauncher reports a launcher that failed. It has said why on the standard
// error, so only the status is left to tell.
func (f *foreground) waitLauncher() error {
	err := f.launcher.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return errors.New("the container was not started")
	}
	if err != nil {
		return fmt.Errorf("launcher: %w", err)
	}
	return nil
}

// forward passes signals on to PID 1 until it has ended. PID 1 is a child that
// is not waited for before that, so that its number cannot be another process.
func (f *foreground) forward(pid int, end <-chan struct{}) {
	for _, s := range f.early {
		_ = unix.Kill(pid, s.(unix.Signal))
	}
	for {
		select {
		case s := <-f.signals:
			_ = unix.Kill(pid, s.(unix.Signal)) // it may have ended just now
		case <-end:
			return
		}
	}
}

func waitFor(pid int) (unix.WaitStatus, error) {
	var status unix.WaitStatus
	for {
		_, err := unix.Wait4(pid, &status, 0, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("wait for the container: %w", err)
		}
		return status, nil
	}
}

// exitOf makes this program end as the container did.
func exitOf(status unix.WaitStatus) error {
	switch {
	case status.Signaled():
		return exitError(128 + int(status.Signal()))
	case status.ExitStatus() != 0:
		return exitError(status.ExitStatus())
	}
	return nil
}

// cleanUp waits until systemd has seen the end of the scope and what it held is
// free, so that the next "cocker run" finds name, ports and address. systemd does
// it without being asked; asking begins it at once and tells when it is done.
func (f *foreground) cleanUp(m *scope.Manager, remove bool) error {
	after := units.Cleanup(f.container.Name)
	if remove {
		after = units.Removal(f.container.Name)
	}
	var wg sync.WaitGroup
	errs := make([]error, 2)
	for i, unit := range []string{units.Scope(f.container.Name), after} {
		wg.Go(func() { errs[i] = m.Stop(context.Background(), unit) })
	}
	wg.Wait()
	for i, err := range errs {
		if errors.Is(err, scope.ErrNotFound) {
			errs[i] = nil // systemd was faster
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("clean up: %s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return nil
}
