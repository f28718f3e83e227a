package pid1

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/internal/handoff"
	"github.com/cocker/cocker/internal/linux"
	"github.com/cocker/cocker/internal/session"
)

// statusError is the reason why a session's command was not started, with the exit
// status that says what kind of reason it is.
type statusError struct {
	status int
	error
}

// monitor is a cocker-init that serves one session: a child of PID 1 that starts the
// command in the session's cgroup, with the container's capabilities, and tells the
// client how it ended. Nothing of the host enters the container.
type monitor struct {
	request *session.Request
	files   []int // as the constants session.File... name them
	pid     int   // of the command, which leads a process group
	pidfd   int
}

// runSession serves a session and returns the exit status of this process, which
// nobody asks for.
func runSession() int {
	// Nothing but 0, 1 and 2 may reach the command (CVE-2024-21626).
	if err := unix.CloseRange(sessionClientFD, maxDescriptor, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return exitFailed
	}
	// What the container's init is started with (see package launch) is not for commands.
	if err := linux.UnblockSignals(); err != nil {
		return exitFailed
	}
	switch os.Getenv(sessionVariable) {
	case sessionOfBus:
		return runBusSession()
	case sessionsOfBooted:
		return attend()
	case sessionOfLogin:
		return runLogin()
	}
	m := new(monitor)
	for _, phase := range []func() error{protectSession, m.receive, m.start} {
		if err := phase(); err != nil {
			_ = session.SendFailed(sessionClientFD, statusOf(err), err) // to a client that may be gone
			return exitFailed
		}
	}
	m.wait()
	return 0
}

// protectSession: this process holds what the command must not get, and who may trace
// it gets that.
func protectSession() error { return protectAs("cocker-session") }

func protectAs(name string) error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("make %s undumpable: %w", name, err)
	}
	return os.WriteFile("/proc/self/comm", []byte(name), 0)
}

// requestTimeout bounds the wait for the request of a client that has connected, and that
// makes the session's cgroup meanwhile.
var requestTimeout = unix.Timeval{Sec: 60}

// receive takes the request.
func (m *monitor) receive() error {
	// The number of a process outside of this pid namespace is 0 (SO_PEERCRED, unix(7)),
	// so it is none of the container's.
	credentials, err := unix.GetsockoptUcred(sessionClientFD, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil || credentials.Pid != 0 {
		return errors.New("sessions are for the host to ask for")
	}
	if err := unix.SetsockoptTimeval(sessionClientFD, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &requestTimeout); err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	_, m.files, err = session.Receive(sessionClientFD, 1, session.Files)
	if err == nil && len(m.files) != session.Files {
		err = fmt.Errorf("the request came with %d descriptors, not %d: cocker is of another version than the container's init", len(m.files), session.Files)
	}
	if err != nil {
		return err
	}
	m.request, err = session.Load(os.NewFile(uintptr(m.files[session.FileRequest]), "request"))
	return err
}

// start starts the command.
func (m *monitor) start() error {
	plan, err := readKept(sessionPlanFD)
	if err != nil {
		return err
	}
	command, err := prepareSession(plan, m.request)
	if err == nil {
		err = command.confine(plan)
	}
	if err != nil {
		return err
	}
	if m.request.Terminal {
		if err := m.openTerminal(command.identity); err != nil {
			return fmt.Errorf("open a terminal in the container: %w", err)
		}
	}
	stdio := m.files[session.FileStdin : session.FileStderr+1]
	program, err := command.program()
	if err != nil {
		return err
	}
	program.terminal, program.cgroup, program.orphan = m.request.Terminal, m.files[session.FileCgroup], unix.SIGHUP
	program.wantsPidfd = true
	keepLimit()
	if m.pid, err = program.start(append(slices.Clone(stdio), command.files...)); err != nil {
		return &statusError{session.StatusNotExecutable, command.execError(err)}
	}
	m.pidfd = int(program.pidfd)
	_ = session.SendRunning(sessionClientFD) // without a client wait ends it
	shared := session.FileStdin
	if m.request.Login {
		// login(1) of util-linux closes its terminal before it opens it anew, and the client
		// takes the moment in which nobody has it open for the end.
		shared++
	}
	session.CloseAll([]int{m.files[session.FileRequest]})
	session.CloseAll(m.files[shared:session.FileCgroupKill])
	return nil
}

// hangUpTimeout is what a session gets from SIGHUP, when its client has gone, to
// SIGKILL.
const hangUpTimeout = 5 * time.Second

// wait passes on the client's signals until the command has ended. It waits for both in one
// place: a goroutine for each would take a thread, and to start that takes longer than all
// that happens here.
func (m *monitor) wait() {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, unix.SIGTERM, unix.SIGHUP, unix.SIGINT) // init ends what is left of the container
	go func() {
		for range stop {
			m.hangUp()
		}
	}()
	forever := unix.Timeval{}
	_ = unix.SetsockoptTimeval(sessionClientFD, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &forever)
	waiting := []unix.PollFd{{Fd: int32(m.pidfd), Events: unix.POLLIN}, {Fd: sessionClientFD, Events: unix.POLLIN}}
	timeout := -1
	for {
		n, err := unix.Poll(waiting, timeout)
		switch {
		case err != nil: // EINTR
		case n == 0: // all that it has started, what is stopped or deaf too (cgroups(7))
			_, _ = unix.Write(m.files[session.FileCgroupKill], []byte("1"))
			timeout = -1
		case waiting[0].Revents != 0:
			_ = session.SendEnded(sessionClientFD, m.reap())
			return
		case !m.passSignal():
			waiting[1].Fd, timeout = -1, int(hangUpTimeout.Milliseconds())
			m.hangUp()
		}
	}
}

// passSignal reads what the client has sent; false: it is gone.
func (m *monitor) passSignal() bool {
	packet, files, err := session.Receive(sessionClientFD, 16, session.Files)
	session.CloseAll(files)
	if err != nil || len(packet) == 0 {
		return false
	}
	if number := session.ParseSignal(packet); number != 0 {
		_ = unix.Kill(-m.pid, number)
	}
	return true
}

// hangUp is what a terminal does that goes: a shell does not end for SIGTERM.
func (m *monitor) hangUp() {
	_ = unix.Kill(-m.pid, unix.SIGHUP)
	_ = unix.Kill(-m.pid, unix.SIGCONT)
}

// awaitEnd waits for the end of the command and leaves it a zombie, so that its number
// stays its own until reap.
func (m *monitor) awaitEnd(ended chan<- struct{}) {
	for unix.Waitid(unix.P_PID, m.pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
	}
	close(ended)
}

func (m *monitor) reap() uint32 {
	var status unix.WaitStatus
	for {
		if _, err := unix.Wait4(m.pid, &status, 0, nil); err != unix.EINTR {
			return uint32(status)
		}
	}
}

// statusOf is the exit status that an error stands for.
func statusOf(err error) int {
	var known *statusError
	if errors.As(err, &known) {
		return known.status
	}
	return session.StatusFailed
}

// prepareSession finds out who runs what, and where. The working directory is the
// command's afterwards.
func prepareSession(plan *handoff.Plan, request *session.Request) (*command, error) {
	if request.Login {
		if !request.Terminal {
			return nil, errors.New("a login needs a terminal")
		}
		return loginCommand(plan, request.Environment)
	}
	user := request.User
	if user == "" {
		user = plan.User
	}
	id, err := lookUp(user)
	if err != nil {
		return nil, err
	}
	environment := merge(plan.Environment, request.Environment)
	if len(request.Command) == 0 {
		return loginShell(plan, id, environment, request.WorkDir)
	}
	if _, ok := lookUpVariable(environment, "HOME"); !ok {
		environment = append(environment, "HOME="+id.home)
	}
	dir := request.WorkDir
	if dir == "" {
		dir = plan.WorkDir
	}
	if err := enterDirectory(dir); err != nil {
		return nil, err
	}
	return findCommand(id, request.Command, environment)
}

// findCommand is for what a caller names; the exit status tells a command that is not
// there from one that cannot be executed, as a shell's does.
func findCommand(id *identity, words, environment []string) (*command, error) {
	path, err := findProgram(words[0], environment)
	if err != nil {
		status := session.StatusNotFound
		if _, statErr := os.Stat(words[0]); strings.Contains(words[0], "/") && !errors.Is(statErr, fs.ErrNotExist) {
			status = session.StatusNotExecutable
		}
		return nil, &statusError{status, err}
	}
	if err := checkLoader(path); err != nil {
		return nil, &statusError{session.StatusNotExecutable, err}
	}
	return &command{path: path, arguments: words, environment: environment, identity: id}, nil
}

// loginShell is the user's shell of /etc/passwd, started as login(1) starts it: in the
// home directory, with a dash before its name, knowing who the user is. Where it is
// not there, /bin/sh will do, or else the rescue shell.
func loginShell(plan *handoff.Plan, id *identity, environment []string, dir string) (*command, error) {
	shell := id.loginShell()
	environment = merge(environment, id.variables())
	switch {
	case dir != "":
		if err := enterDirectory(dir); err != nil {
			return nil, err
		}
	case enterDirectory(id.home) != nil:
		if err := unix.Chdir("/"); err != nil {
			return nil, err
		}
	}
	c, err := findCommand(id, []string{shell}, environment)
	if statusOf(err) == session.StatusNotFound {
		if c, err = findCommand(id, []string{"/bin/sh"}, environment); statusOf(err) == session.StatusNotFound {
			return rescueShell(plan, id, environment)
		}
	}
	if err != nil {
		return nil, err
	}
	c.arguments = []string{"-" + filepath.Base(c.path)}
	return c, nil
}

// rescueShell is the host's busybox, a shell that has its other programs in itself. It
// is executed by its descriptor, as no path in the container leads to it.
func rescueShell(plan *handoff.Plan, id *identity, environment []string) (*command, error) {
	const advice = "there is no shell in the container; with a static busybox on the host (apt-get install busybox-static), the next start has one"
	path := "/proc/self/fd/" + strconv.Itoa(sessionRescueFD)
	if !plan.Rescue {
		return nil, &statusError{session.StatusNotFound, errors.New(advice)}
	}
	if err := checkLoader(path); err != nil { // it needs libraries
		return nil, &statusError{session.StatusNotFound, errors.New(advice)}
	}
	return &command{path: path, arguments: []string{"-sh"}, environment: environment, identity: id}, nil
}

func (id *identity) loginShell() string {
	if id.shell == "" {
		return "/bin/sh" // passwd(5)
	}
	return id.shell
}

// variables are what login(1) sets.
func (id *identity) variables() []string {
	return []string{"HOME=" + id.home, "USER=" + id.name, "LOGNAME=" + id.name, "SHELL=" + id.loginShell()}
}

// enterDirectory changes to a directory inside the root (see enterWorkDir).
func enterDirectory(dir string) error {
	if err := unix.Chdir(dir); err != nil {
		return fmt.Errorf("enter working directory %q: %w", dir, err)
	}
	if now, err := unix.Getwd(); err != nil || !strings.HasPrefix(now, "/") {
		return fmt.Errorf("working directory %q is outside of the container", dir)
	}
	return nil
}

// merge sets variables in an environment.
func merge(environment, more []string) []string {
	merged := make([]string, 0, len(environment)+len(more))
	for _, variable := range environment {
		name, _, _ := strings.Cut(variable, "=")
		if _, replaced := lookUpVariable(more, name); !replaced {
			merged = append(merged, variable)
		}
	}
	return append(merged, more...)
}

// openTerminal makes a terminal of the container's own devpts the command's standard
// descriptors, and sends the other end to the client.
func (m *monitor) openTerminal(id *identity) error {
	master, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &fs.PathError{Op: "open", Path: "/dev/ptmx", Err: err}
	}
	defer unix.Close(master)
	if err := unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err != nil {
		return fmt.Errorf("unlock: %w", err)
	}
	// Not by its name: what is at that path is the container's to say.
	peer, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(master), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		return fmt.Errorf("open the other end: %w", errno)
	}
	slave := int(peer)
	size := &unix.Winsize{Row: m.request.Rows, Col: m.request.Columns}
	if err := unix.IoctlSetWinsize(master, unix.TIOCSWINSZ, size); err != nil {
		return fmt.Errorf("set the size: %w", err)
	}
	if err := ownTerminal(slave, id); err != nil {
		return err
	}
	for standard := session.FileStdin; standard <= session.FileStderr; standard++ {
		if err := unix.Dup3(slave, m.files[standard], unix.O_CLOEXEC); err != nil {
			return os.NewSyscallError("dup3", err)
		}
	}
	return errors.Join(unix.Close(slave), session.SendTerminal(sessionClientFD, master))
}

// ownTerminal gives a terminal to a user.
func ownTerminal(slave int, id *identity) error {
	if err := errors.Join(unix.Fchown(slave, int(id.uid), ttyGroup), unix.Fchmod(slave, ttyMode)); err != nil {
		return fmt.Errorf("give the terminal to the user: %w", err)
	}
	return nil
}

// What login(1) gives a terminal: write(1) is of the group tty.
const (
	ttyMode  = 0o620
	ttyGroup = 5
)
