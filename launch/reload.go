package launch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/internal/paths"
)

// reloadUnit is ExecReload= of a unit: the templates are filled in again, and the command
// gets its reload signal, or the reload command runs beside it.
func reloadUnit(ctx context.Context, name string) error {
	c, err := config.Load(paths.ConfigDirs(), name)
	if err != nil {
		return err
	}
	results, err := Render(ctx, name, true, warn)
	for _, r := range results {
		if r.Changed {
			say(os.Stderr, "<6>", "filled in "+r.Target)
		}
	}
	switch {
	case err != nil:
		return err
	case len(c.ReloadCommand) > 0:
		return runReloadCommand(ctx, name, c.ReloadCommand)
	case c.ReloadSignal != "":
		return signalLeader(name, c.ReloadSignal)
	}
	return nil
}

// outputTimeout is what a reload command that has ended gets for what it has left in the
// background to close its output.
const outputTimeout = time.Second

// runReloadCommand runs a command as "cocker exec" does, which is the one who knows how. How
// long it may take is TimeoutStartSec= (systemd.service(5), ExecReload=): systemd kills this
// process then, with it goes cocker exec, and with that the command.
func runReloadCommand(ctx context.Context, container string, words []string) error {
	runtime.LockOSThread() // PR_SET_PDEATHSIG is about the thread
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, paths.Command, append([]string{"exec", container, "--"}, words...)...)
	// A pipe: the journal is a socket, and /dev/stderr of the command could not be opened (ENXIO, open(2)).
	journal := struct{ io.Writer }{os.Stderr}
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = journal, journal, outputTimeout
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	if err := cmd.Run(); err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		return fmt.Errorf("reload_command %q in %s: %w", words[0], container, err)
	}
	return nil
}
