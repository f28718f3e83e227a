package cli

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

func loginCommand(s *streams) *cobra.Command {
	command := &cobra.Command{
		Use:   "login NAME",
		Short: "Log in to a container that runs",
		Long: `Login asks for a user and a password, as at the console of a machine, and opens
that user's shell: by login(1) of the image or, where it has none, by cocker's own,
which reads /etc/passwd and /etc/shadow of the container. With autologin in the
container's file nobody is asked.

It ends with the shell, with Ctrl-D at the prompt, after three wrong passwords, or
when Ctrl-] is pressed three times within a second; then what runs on the terminal
gets SIGHUP, and SIGKILL after 5 seconds. "machinectl login" does the same, and
prompts again after each logout. "cocker shell" needs no password.`,
		Example:           "  cocker login web",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeFirstContainer,
		RunE: func(c *cobra.Command, args []string) error {
			if !isTerminal(s.in) {
				return errors.New("login needs a terminal as the standard input; \"cocker shell\" does not")
			}
			return inSession(c.Context(), s, args[0], nil, sessionOptions{interactive: true, terminal: true, login: true})
		},
	}
	return asRoot(command)
}

// What leaves a login, as in machinectl(1).
const (
	escapeKey    = 0x1d // Ctrl-]
	escapeCount  = 3
	escapeWithin = time.Second
)

// escape passes on what is typed, until somebody wants to leave.
type escape struct {
	typed io.Reader
	leave func()
	count int
	first time.Time
}

func (e *escape) Read(p []byte) (int, error) {
	n, err := e.typed.Read(p)
	for _, key := range p[:n] {
		if e.sees(key, time.Now()) {
			e.leave()
			return 0, io.EOF
		}
	}
	return n, err
}

// sees looks at one key and tells whether it is the last of the escape.
func (e *escape) sees(key byte, now time.Time) bool {
	switch {
	case key != escapeKey:
		e.count = 0
	case e.count == 0 || now.Sub(e.first) > escapeWithin:
		e.count, e.first = 1, now
	default:
		e.count++
	}
	return e.count == escapeCount
}

// greet says how to leave a login.
func (c *client) greet() {
	c.stdio.leave = func() {
		c.left.Store(true)
		_ = unix.Shutdown(c.socket, unix.SHUT_RDWR) // the session sees that nobody is here
	}
	fmt.Fprintf(c.stdio.streams.out, "Connected to container %s. Press ^] three times within 1s to leave.\r\n", c.name)
}
