// Package cli is the command cocker: a thin front. Lifecycle verbs call systemd
// over D-Bus and wait for the job; nothing here has to stay alive for a
// container to live, save a client that a container in the foreground belongs
// to. There is one file for each verb. It may import every package of cocker
// but the commands.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// The exit statuses of cocker itself. "cocker run" ends with that of its container,
// "cocker exec" with that of its command, and both with exitRun when there was none
// to end.
const (
	exitFailure = 1
	exitRun     = 125 // as docker, podman and chroot(1) have it
)

// streams are where a command reads and writes. They are files, since a
// container in the foreground inherits them.
type streams struct {
	in, out, err *os.File
	version      string
}

// exitError ends the program with a status and no words: somebody else has said
// what there is to say.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// statusError is an error with an exit status of its own.
type statusError struct {
	status int
	error
}

// secondSignal is when another signal counts as the second. timeout(1) sends the one it has
// both to the process and to its group: were the second of these the end, what is half done
// would be left.
const secondSignal = 250 * time.Millisecond

// Run runs the command line args of the program of that version and returns its
// exit status.
func Run(version string, args []string, in, out, err *os.File) int {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	context.AfterFunc(ctx, func() { time.AfterFunc(secondSignal, stop) }) // a second one ends what the first one has not
	root := commandFor(args, version, in, out, err)
	root.SetArgs(args)
	command, failure := root.ExecuteContextC(ctx)
	return report(err, command, failure)
}

// alone are the commands that are called often and are to begin at once. To make all the
// others beside them would take a third of a millisecond.
var alone = map[string]func(*streams) *cobra.Command{"exec": execCommand, "shell": shellCommand, "login": loginCommand}

// commandFor is the part of the command line that args need.
func commandFor(args []string, version string, in, out, err *os.File) *cobra.Command {
	if len(args) == 0 || alone[args[0]] == nil {
		return Command(version, in, out, err)
	}
	root := rootCommand(in, out, err)
	root.AddCommand(alone[args[0]](&streams{in, out, err, version}))
	return root
}

// Command is the whole command line, for the manual pages and for Run.
func Command(version string, in, out, err *os.File) *cobra.Command {
	root := rootCommand(in, out, err)
	s := &streams{in, out, err, version}
	for _, add := range commands() {
		root.AddCommand(add(s))
	}
	addCompletion(root)
	return root
}

func rootCommand(in, out, err *os.File) *cobra.Command {
	root := &cobra.Command{
		Use:   "cocker",
		Short: "Containers as systemd units, without a daemon",
		Long: `cocker runs containers as units of systemd. A container is a file,
/etc/cocker/containers/NAME.toml; its unit is cocker@NAME.service, and
systemctl, journalctl and machinectl work on it as on any other unit.
This command adds what they do not have: images, checks, containers
without a file ("cocker run"), and short ways to what is used most.`,
		Example: `  cocker image demo                         # make an image to try things with
  cocker run -it demo sh                    # a shell in a container
  cocker create web demo httpd -f -p 80     # write /etc/cocker/containers/web.toml
  systemctl enable --now cocker@web         # start it, now and at boot`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(err)
	root.SetFlagErrorFunc(flagError)
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp)
	return root
}

// addCompletion adds the scripts of cobra for the shells that Linux has.
func addCompletion(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		for _, shell := range c.Commands() {
			if shell.Name() == "powershell" {
				c.RemoveCommand(shell)
			}
		}
	}
}

// commands lists the verbs; each is in a file of its name.
func commands() []func(*streams) *cobra.Command {
	return []func(*streams) *cobra.Command{
		checkCommand, createCommand, setCommand, runCommand, psCommand, statsCommand, topCommand, startCommand, stopCommand, restartCommand,
		killCommand, execCommand, shellCommand, loginCommand, sessionsCommand, processCommand, rmCommand, inspectCommand, securityCommand, logsCommand, cpCommand, exportCommand, copyAgentCommand, diffCommand, commitCommand, checkoutCommand, imageCommand, networkCommand, volumeCommand, systemCommand, versionCommand,
		pullBeforeStartCommand, renderCommand, renderAgentCommand,
	}
}

func flagError(c *cobra.Command, err error) error {
	return fmt.Errorf("%w (see \"%s --help\")", err, c.CommandPath())
}

// report says what went wrong, each problem on a line of its own, and returns
// the exit status.
func report(w io.Writer, command *cobra.Command, err error) int {
	var exit exitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return int(exit)
	}
	prefix := "cocker: "
	if command.HasParent() {
		prefix += strings.TrimPrefix(command.CommandPath(), "cocker ") + ": "
	}
	for line := range strings.SplitSeq(err.Error(), "\n") {
		fmt.Fprintln(w, oneLine(prefix+line))
	}
	var failure *statusError
	switch {
	case errors.As(err, &failure):
		return failure.status
	case slices.Contains([]string{"run", "exec", "shell", "login"}, command.Name()):
		return exitRun
	}
	return exitFailure
}
