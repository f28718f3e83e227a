package pid1

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/internal/handoff"
	"github.com/cocker/cocker/internal/session"
	"github.com/cocker/cocker/pid1/login"
)

// loginPrograms are tried in this order; each asks for name and password itself.
var loginPrograms = [...]string{"/bin/login", "/usr/bin/login", "/sbin/login"}

// loginCommand is what asks for name and password on a terminal: the image's login(1) or,
// where it has none or nobody is to be asked, this program once more.
func loginCommand(plan *handoff.Plan, environment []string) (*command, error) {
	root, err := lookUp("root")
	if err != nil {
		return nil, err
	}
	if err := unix.Chdir("/"); err != nil {
		return nil, err
	}
	if plan.Autologin != "" {
		if _, err := lookUp(plan.Autologin); err != nil {
			return nil, fmt.Errorf("autologin: %w", err)
		}
		return ownLogin(plan, root, environment), nil
	}
	for _, path := range loginPrograms {
		if checkProgram(path) == nil && checkLoader(path) == nil {
			environment = merge(plan.Environment, environment)
			return &command{path: path, arguments: []string{"login"}, environment: environment, identity: root}, nil
		}
	}
	if !login.Possible(databaseText("/etc/passwd"), databaseText("/etc/shadow")) {
		return nil, &statusError{session.StatusFailed, errors.New(`nobody can log in: no account in the container's /etc/passwd and /etc/shadow has a password. A shell needs none, and autologin = "root" in the container's file makes a login without`)}
	}
	return ownLogin(plan, root, environment), nil
}

// loginLogFD is where a login writes what is for the journal; the descriptors after it are as
// those of a session.
const loginLogFD = sessionClientFD

func ownLogin(plan *handoff.Plan, root *identity, environment []string) *command {
	rescue := -1
	if plan.Rescue {
		rescue = sessionRescueFD
	}
	return &command{
		path: "/proc/self/exe", arguments: []string{"cocker-login"}, identity: root, ours: true,
		environment: merge(environment, []string{sessionVariable + "=" + sessionOfLogin, oneProcessor}),
		files:       []int{loginLogFD - 3: 2, sessionPlanFD - 3: sessionPlanFD, sessionRescueFD - 3: rescue},
	}
}

// loginTimeout is how long who has given a name may take from there (login(1),
// LOGIN_TIMEOUT); the first prompt stays, as agetty's does.
const loginTimeout = 60 * time.Second

// runLogin asks who is at the terminal, this process' standard descriptors, and becomes
// that user's shell.
func runLogin() int {
	journal := os.NewFile(loginLogFD, "journal")
	plan, err := readKept(sessionPlanFD)
	if err == nil {
		err = protectSession()
	}
	var user string
	if err == nil {
		user, err = whoLogsIn(plan, journal)
	}
	if err == nil {
		err = becomeLoginShell(plan, user)
	}
	if !errors.Is(err, login.ErrRefused) {
		fmt.Println("cocker:", err)
		logTo(journal, "login: "+err.Error())
	}
	return exitFailed
}

func whoLogsIn(plan *handoff.Plan, journal *os.File) (user string, err error) {
	terminal, _ := os.Readlink("/proc/self/fd/0")
	// The runtime would print what it does on SIGQUIT; what is ignored would stay so in the shell.
	signal.Notify(make(chan os.Signal, 1), unix.SIGQUIT, unix.SIGTSTP)
	if user = plan.Autologin; user == "" {
		var patience *time.Timer
		begin := func() {
			if patience == nil {
				patience = time.AfterFunc(loginTimeout, timeOut)
			}
		}
		defer func() {
			if patience != nil {
				patience.Stop()
			}
		}()
		prompt := login.Prompt{
			Terminal: 0, Out: os.Stdout, Host: plan.Hostname, File: databaseText, Named: begin,
			Log: func(text string) { logTo(journal, text+" on "+terminal) },
		}
		if user, err = prompt.Ask(); err != nil {
			return "", err
		}
	}
	logTo(journal, "login of "+user+" on "+terminal)
	return user, nil
}

func timeOut() {
	fmt.Printf("\nLogin timed out after %.0f seconds.\n", loginTimeout.Seconds())
	os.Exit(exitFailed)
}

// databaseText is the text of a file of the container, "" if it cannot be read.
func databaseText(path string) string {
	text, _ := readDatabase(path)
	return text
}

// becomeLoginShell executes the shell of a user, who knows neither the environment of
// the container's command, in which there may be secrets, nor what this process has open.
func becomeLoginShell(plan *handoff.Plan, user string) error {
	id, err := lookUp(user)
	if err == nil && id.name != user { // a name of digits is not looked up as one
		err = fmt.Errorf("user %q cannot log in by that name", user)
	}
	if err != nil {
		return err
	}
	environment := []string{"TERM=" + os.Getenv("TERM"), "PATH=" + defaultPath}
	c, err := loginShell(plan, id, environment, "")
	if err == nil && id.uid != 0 && id.shell != "" && c.path != id.shell {
		// No shell can mean that there shall be none.
		err = fmt.Errorf("%s, the shell of %s, is not in the container", id.shell, user)
	}
	if err != nil {
		return err
	}
	if err := c.confine(plan); err != nil {
		return err
	}
	fmt.Print(databaseText("/etc/motd"))
	if err := errors.Join(ownTerminal(0, id), c.becomeUser()); err != nil {
		return err
	}
	return c.replaceInit()
}

// logTo writes a line of a session to the journal; init's own standard error goes there,
// or to the terminal of a cocker run, for which it is not meant.
func logTo(journal *os.File, line string) {
	line = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, line)
	if isSocket(journal) {
		fmt.Fprintf(journal, "<6>Session: %s\n", line)
	}
}
