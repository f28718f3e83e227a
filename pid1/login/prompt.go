package login

import (
	"errors"
	"io"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Prompt asks who wants to log in.
type Prompt struct {
	Terminal int                      // descriptor, to read from
	Out      io.Writer                // the same, to write to
	Host     string                   // its name is part of the prompt
	File     func(path string) string // reads a file of the container; "": there is none
	Named    func()                   // called when somebody has given a name
	Log      func(text string)
}

// As of login(1), "CONFIG FILE ITEMS": LOGIN_RETRIES, FAIL_DELAY.
const (
	attempts  = 3
	failDelay = 3 * time.Second
	maxEmpty  = 10
)

// ErrRefused is the end of a prompt after which nobody is logged in. The user has been
// told why.
var ErrRefused = errors.New("nobody has logged in")

// Ask asks until somebody may log in, and returns who that is.
func (p *Prompt) Ask() (user string, err error) {
	empty := 0
	for failed := 0; failed < attempts; {
		name, err := p.line(p.Host+" login: ", true)
		if err != nil {
			return "", err
		}
		if name = strings.TrimSpace(name); name == "" {
			if empty++; empty > maxEmpty {
				return "", ErrRefused
			}
			continue
		}
		p.Named()
		a, right, err := p.authenticate(name)
		if err != nil {
			return "", err
		}
		if right {
			return name, p.admit(a)
		}
		failed++
		if a == nil {
			// What does not exist may be a password, typed too early.
			name = "an unknown user"
		}
		p.Log("login of " + name + " failed")
		time.Sleep(failDelay)
		p.say("\nLogin incorrect\n")
	}
	return "", ErrRefused
}

// authenticate asks for the password of a user, who need not exist. The databases are
// read anew, as it may have been set meanwhile.
func (p *Prompt) authenticate(name string) (a *account, right bool, err error) {
	passwd, shadow := p.File("/etc/passwd"), p.File("/etc/shadow")
	a = find(passwd, shadow, name)
	if a != nil && a.password == "" {
		return a, true, nil
	}
	password, err := p.line("Password: ", false)
	if err != nil {
		return nil, false, err
	}
	return a, a.check(password, hashForStrangers(passwd, shadow)), nil
}

// admit tells whether a user who has been recognized may log in now.
func (p *Prompt) admit(a *account) error {
	if reason := a.refusal(time.Now()); reason != "" {
		p.say(reason + "\n")
		p.Log("login of " + a.name + " refused: " + reason)
		time.Sleep(failDelay)
		return ErrRefused
	}
	for _, path := range []string{"/run/nologin", "/etc/nologin"} { // pam_nologin(8), nologin(5)
		text := p.File(path)
		if text == "" {
			continue
		}
		p.say(text)
		if a.uid != "0" {
			p.Log("login of " + a.name + " refused: " + path + " exists")
			time.Sleep(failDelay)
			return ErrRefused
		}
	}
	if notice := a.notice(time.Now()); notice != "" {
		p.say(notice + "\n")
	}
	return nil
}

func (p *Prompt) say(text string) { _, _ = io.WriteString(p.Out, text) }

// maxLine is what the kernel gives of a line (termios(3), "Canonical and noncanonical
// mode").
const maxLine = 4096

// line asks for a line. Without echo, what was typed before the question is no answer
// to it: it has been seen.
func (p *Prompt) line(question string, echo bool) (string, error) {
	if !echo {
		before, err := unix.IoctlGetTermios(p.Terminal, unix.TCGETS)
		if err != nil {
			return "", err
		}
		silent := *before
		silent.Lflag &^= unix.ECHO
		if err := unix.IoctlSetTermios(p.Terminal, unix.TCSETSF, &silent); err != nil {
			return "", err
		}
		defer func() {
			_ = unix.IoctlSetTermios(p.Terminal, unix.TCSETS, before)
			p.say("\n")
		}()
	}
	p.say(question)
	buffer := make([]byte, maxLine)
	for {
		n, err := unix.Read(p.Terminal, buffer)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return "", err
		case n == 0: // Ctrl-D, or a terminal that is gone
			return "", ErrRefused
		default:
			return strings.TrimSuffix(string(buffer[:n]), "\n"), nil
		}
	}
}
