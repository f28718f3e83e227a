package pid1

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/internal/handoff"
	"github.com/cocker/cocker/internal/session"
	"github.com/cocker/cocker/pid1/bus"
)

// busTimeout bounds the wait for a client of the bus socket, which says all it has to
// say at once.
var busTimeout = unix.Timeval{Sec: 25}

// runBusSession serves a client of the container's bus socket: machined, when somebody
// calls machinectl shell or login. For a shell it becomes the shell.
func runBusSession() int {
	if err := protectSession(); err != nil {
		return exitFailed
	}
	credentials, err := unix.GetsockoptUcred(sessionClientFD, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil || credentials.Uid != 0 {
		return exitFailed
	}
	if err := unix.SetsockoptTimeval(sessionClientFD, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &busTimeout); err != nil {
		return exitFailed
	}
	plan, err := readKept(sessionPlanFD)
	if err != nil {
		return exitFailed
	}
	conn := bus.NewConn(sessionClientFD)
	if err := conn.Authenticate(); err != nil {
		return exitFailed
	}
	for {
		call, err := conn.Next()
		if err != nil {
			return exitFailed // or the client has what it wanted
		}
		if err := answer(conn, call, plan); err != nil {
			return exitFailed
		}
	}
}

// answer does what a call asks for; an error is that of the connection.
func answer(conn *bus.Conn, call *bus.Call, plan *handoff.Plan) error {
	var reason error
	switch {
	case call.Interface == bus.Manager && call.Member == "StartTransientUnit":
		reason = becomeShell(conn, call, plan)
	case call.Interface == bus.Manager && call.Member == "StartUnit":
		reason = serveLogin(conn, call, plan)
	default:
		return conn.Fail(call, "org.freedesktop.DBus.Error.UnknownMethod",
			"this container has no systemd of its own: only machinectl shell and machinectl login work")
	}
	return conn.Fail(call, "org.freedesktop.DBus.Error.Failed", reason.Error())
}

// becomeShell answers the call and executes the program. It returns only on failure:
// after the answer the user sees the reason on the terminal.
func becomeShell(conn *bus.Conn, call *bus.Call, plan *handoff.Plan) error {
	shell, err := bus.ParseShell(call)
	if err != nil {
		return err
	}
	command, err := prepareShell(shell, plan)
	if err == nil {
		err = command.confine(plan)
	}
	if err != nil {
		return err
	}
	files := conn.TakeFiles()
	for standard, index := range shell.Files {
		if index < 0 || index >= len(files) {
			return errors.New("the call came without a terminal")
		}
		shell.Files[standard] = reopen(files[index])
	}
	if err := errors.Join(ownTerminal(shell.Files[0], command.identity), unix.IoctlSetInt(shell.Files[0], unix.TIOCSCTTY, 0)); err != nil {
		return err
	}
	about := session.About{User: command.identity.name, Terminal: true}
	if !asksForLoginShell(shell) {
		about.Command = shell.Arguments
	}
	name := enterSessionCgroup(about)
	logSession(fmt.Sprintf("%s: machinectl runs as %s: %s", name, shell.User, strings.Join(command.arguments, " ")))
	if err := conn.Done(call); err != nil {
		os.Exit(exitFailed)
	}
	for standard, fd := range shell.Files {
		_ = unix.Dup3(fd, standard, 0) // all are open
	}
	if err = command.becomeUser(); err == nil {
		err = command.replaceInit()
	}
	fmt.Fprintf(os.Stderr, "cocker: %v\r\n", err)
	os.Exit(exitFailed)
	return err
}

// reopen opens a terminal by the name that it has here: as machined opened it in the view
// (see openView), it has none by which ttyname(3) of every C library finds it.
func reopen(fd int) int {
	var theirs, ours unix.Stat_t
	if unix.Fstat(fd, &theirs) != nil || theirs.Mode&unix.S_IFMT != unix.S_IFCHR {
		return fd
	}
	slave, err := openSlave(int(unix.Minor(theirs.Rdev)))
	if err != nil {
		return fd
	}
	defer slave.Close()
	if unix.Fstat(int(slave.Fd()), &ours) != nil || ours.Dev != theirs.Dev || ours.Ino != theirs.Ino {
		return fd
	}
	_ = unix.Dup3(int(slave.Fd()), fd, unix.O_CLOEXEC) // both are open
	return fd
}

// prepareShell finds out who runs what. The working directory is the program's
// afterwards.
func prepareShell(shell *bus.Shell, plan *handoff.Plan) (*command, error) {
	id, err := lookUp(shell.User)
	if err != nil {
		return nil, err
	}
	environment := merge(plan.Environment, shell.Environment)
	if asksForLoginShell(shell) {
		return loginShell(plan, id, environment, "")
	}
	environment = merge(environment, id.variables())
	if enterDirectory(id.home) != nil {
		if err := unix.Chdir("/"); err != nil {
			return nil, err
		}
	}
	path, err := findProgram(shell.Path, environment)
	if err != nil {
		return nil, err
	}
	if err := checkLoader(path); err != nil {
		return nil, err
	}
	return &command{path: path, arguments: shell.Arguments, environment: environment, identity: id}, nil
}

// asksForLoginShell recognizes what machined runs when the user names no program: a
// script for /bin/sh that looks the shell up with getent(1), neither of which an image
// need have, or in older versions /bin/sh itself.
func asksForLoginShell(shell *bus.Shell) bool {
	if shell.Path != "/bin/sh" {
		return false
	}
	words := shell.Arguments
	return len(words) == 1 && words[0] == "-bin/sh" ||
		len(words) == 3 && words[1] == "-c" && strings.Contains(words[2], "getent passwd") && strings.Contains(words[2], "exec \"${shell:-/bin/sh}\"")
}

func logSession(line string) { logTo(os.Stderr, line) }

// serveLogin answers the call and runs a login on the terminal, again and
// again until whoever opened it has closed it: `machinectl login` shows a new prompt
// after each logout, and hears nothing of an end.
func serveLogin(conn *bus.Conn, call *bus.Call, plan *handoff.Plan) error {
	number, err := bus.ParseGetty(call)
	if err != nil {
		return err
	}
	login, err := loginCommand(plan, []string{"TERM=vt220"}) // agetty(8); machinectl does not tell its own
	if err == nil {
		err = login.confine(plan)
	}
	if err != nil {
		return err
	}
	slave, err := openSlave(number)
	if err != nil {
		return fmt.Errorf("open the terminal: %w", err)
	}
	if err := errors.Join(conn.Done(call), unix.Close(sessionClientFD)); err != nil {
		os.Exit(exitFailed)
	}
	name := enterSessionCgroup(session.About{Login: true, Terminal: true})
	logSession(fmt.Sprintf("%s: machinectl login on %s", name, slave.Name()))
	keepLimit()
	closed := make(chan struct{})
	go awaitHangUp(slave, closed)
	for { // until os.Exit, or SIGTERM when the container stops
		if err := login.runOn(slave, closed); err != nil {
			logSession(err.Error())
		}
		select {
		case <-closed:
			os.Exit(0)
		case <-time.After(restartPause):
		}
	}
}

// restartPause is between a logout and the next prompt. An image's login that ends at
// once must not keep a processor busy.
const restartPause = 100 * time.Millisecond

// openSlave opens a terminal of the container's devpts and keeps its number from being
// another's.
func openSlave(number int) (*os.File, error) {
	path := filepath.Join("/dev/pts", strconv.Itoa(number))
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	if _, err := unix.IoctlGetTermios(fd, unix.TCGETS); err != nil {
		return nil, errors.Join(&os.PathError{Op: "tcgetattr", Path: path, Err: err}, unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), path), nil
}

// awaitHangUp waits until the other end of a terminal is closed.
func awaitHangUp(slave *os.File, closed chan<- struct{}) {
	poll := []unix.PollFd{{Fd: int32(slave.Fd())}} // POLLHUP comes without being asked for
	for {
		if n, err := unix.Poll(poll, -1); n > 0 || err != nil && err != unix.EINTR {
			close(closed)
			return
		}
	}
}

// runOn runs a command in a session of its own on a terminal, reset to what a terminal
// is at first, and waits for its end, which is not far when the terminal is closed.
func (c *command) runOn(slave *os.File, closed <-chan struct{}) error {
	fd := slave.Fd()
	if err := errors.Join(ownTerminal(int(fd), c.identity), resetTerminal(int(fd))); err != nil {
		return err
	}
	pid, err := c.start(true, append([]int{int(fd), int(fd), int(fd)}, c.files...), -1)
	if err != nil {
		return err
	}
	m := &monitor{pid: pid}
	ended := make(chan struct{})
	go m.awaitEnd(ended)
	select {
	case <-ended:
	case <-closed:
		m.hangUp()
		select {
		case <-ended:
		case <-time.After(hangUpTimeout):
			_ = unix.Kill(-pid, unix.SIGKILL)
			<-ended
		}
	}
	m.reap()
	return nil
}

// resetTerminal undoes what a program that was killed has set (termios(3)).
func resetTerminal(fd int) error {
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return err
	}
	t.Iflag = t.Iflag&^(unix.IGNBRK|unix.INLCR|unix.IGNCR|unix.ISTRIP) | unix.BRKINT | unix.ICRNL | unix.IXON
	t.Oflag |= unix.OPOST | unix.ONLCR
	t.Lflag = t.Lflag&^(unix.NOFLSH|unix.TOSTOP) | unix.ISIG | unix.ICANON | unix.IEXTEN | unix.ECHO | unix.ECHOE | unix.ECHOK | unix.ECHOCTL | unix.ECHOKE
	return unix.IoctlSetTermios(fd, unix.TCSETSW, t)
}
