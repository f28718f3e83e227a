package cli

import (
	"errors"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/internal/session"
)

// sessionOptions are the flags of exec and shell.
type sessionOptions struct {
	interactive, terminal bool
	login                 bool
	user, workDir         string
	environment           []string
}

func execCommand(s *streams) *cobra.Command {
	o := sessionOptions{}
	command := &cobra.Command{
		Use:   "exec [flags] NAME [--] COMMAND [ARG...]",
		Short: "Run a command in a container that runs",
		Long: `Exec runs a command beside that of a running container: in its namespaces,
with its limits, capabilities and environment. The command's input, output and
errors are those of cocker exec, so that pipes work, and its exit status is that
of cocker exec: 128+N if signal N ended it, 127 if there is no such command,
126 if it cannot be executed, 125 if something else has kept it from running.

Each command has a cgroup of its own below that of the container, and a line in
the container's journal; "cocker sessions" lists them. SIGINT, SIGTERM, SIGHUP,
SIGQUIT, SIGUSR1 and SIGUSR2 are passed on. If cocker exec is killed, the command
gets SIGHUP, and SIGKILL after 5 seconds. What a command that has ended leaves in
the background goes on until the container ends.

The command is started from inside the container, by its init or, with
init = "image", by cocker-attend beside it; with init = "none" there is nobody.`,
		Example: `  cocker exec web nginx -t
  cocker exec web cat /var/log/app.log | grep error
  cocker exec -i db psql <dump.sql
  cocker exec -it -u www-data web sh`,
		Args:              cobra.MinimumNArgs(2),
		ValidArgsFunction: completeFirstContainer,
		RunE: func(c *cobra.Command, args []string) error {
			words := args[1:]
			if words[0] == "--" {
				words = words[1:]
			}
			if len(words) == 0 {
				return errors.New("name the command; for a shell there is \"cocker shell\"")
			}
			return inSession(c.Context(), s, args[0], words, o)
		},
	}
	flags := command.Flags()
	flags.SetInterspersed(false) // what stands behind the name is the command's
	flags.BoolVarP(&o.interactive, "interactive", "i", false, "give it the standard input")
	flags.BoolVarP(&o.terminal, "tty", "t", false, "give it a terminal")
	flags.StringVarP(&o.user, "user", "u", "", "who runs it, `USER[:GROUP]` by name or number (default: as the container's command)")
	flags.StringVarP(&o.workDir, "workdir", "w", "", "the `DIR` where it starts (default: as the container's command)")
	flags.StringArrayVarP(&o.environment, "env", "e", nil, "set a variable, `NAME[=VALUE]`; without a value: as it is here")
	return asRoot(command)
}

func shellCommand(s *streams) *cobra.Command {
	o := sessionOptions{}
	command := &cobra.Command{
		Use:   "shell [flags] NAME",
		Short: "Open a shell in a container that runs",
		Long: `Shell is "cocker exec -it" of a user's login shell, as /etc/passwd of the
container names it, in the home directory. With the standard input not a terminal
it reads commands from there.`,
		Example:           "  cocker shell web\n  cocker shell -u www-data web\n  echo 'ps; df' | cocker shell web",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeFirstContainer,
		RunE: func(c *cobra.Command, args []string) error {
			o.interactive, o.terminal = true, isTerminal(s.in)
			return inSession(c.Context(), s, args[0], nil, o)
		},
	}
	flags := command.Flags()
	flags.StringVarP(&o.user, "user", "u", "root", "whose shell, `USER[:GROUP]` by name or number")
	flags.StringVarP(&o.workDir, "workdir", "w", "", "the `DIR` where it starts (default: the home directory)")
	flags.StringArrayVarP(&o.environment, "env", "e", nil, "set a variable, `NAME[=VALUE]`; without a value: as it is here")
	return asRoot(command)
}

// request is what init is asked for.
func (o *sessionOptions) request(command []string) (*session.Request, error) {
	c := new(config.Container) // reads flags of variables as "run" does
	for _, variable := range o.environment {
		if err := setVariable(c, variable); err != nil {
			return nil, err
		}
	}
	r := &session.Request{Command: command, Login: o.login, User: o.user, WorkDir: o.workDir, Terminal: o.terminal}
	if o.terminal {
		r.Environment = append(r.Environment, "TERM="+terminalType())
	}
	for _, variable := range c.Environment {
		r.Environment = append(r.Environment, variable.Name+"="+variable.Value)
	}
	for _, text := range append(append([]string{r.User, r.WorkDir}, command...), r.Environment...) {
		if strings.ContainsRune(text, 0) {
			return nil, errors.New("an argument contains a NUL character")
		}
	}
	return r, nil
}

func terminalType() string {
	if name := os.Getenv("TERM"); name != "" {
		return name
	}
	return "xterm"
}

// completeFirstContainer offers containers as the first argument only.
func completeFirstContainer(c *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	return completeContainers(c, args, word)
}
