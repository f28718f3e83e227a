package host

import (
	"context"
	"fmt"
	"os/exec"
	"runtime"
)

// boot is one life of a host, from power-on to power-off.
type boot interface {
	// waitReady waits until systemd has finished the jobs of the boot.
	waitReady(ctx context.Context) error
	// ended is closed when the host has shut down or its power was cut.
	ended() <-chan struct{}
	// consoleTail is the last of what was written to the host's console.
	consoleTail() string
	// command returns a command that will run in the host, outsideCommand one that
	// will run in the network beyond its eth0.
	command(ctx context.Context, name string, args []string) *Cmd
	outsideCommand(ctx context.Context, name string, args []string) *Cmd
	// release closes the test's ends of the connections to the host.
	release()
}

// waitEnd waits until the host is off.
func waitEnd(ctx context.Context, b boot) error {
	select {
	case <-b.ended():
		b.release()
		return nil
	case <-ctx.Done():
		return fmt.Errorf("shut down: %w; console:\n%s", ctx.Err(), b.consoleTail())
	}
}

// process is the process of this machine that is the host: when it ends the host is off.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

// start starts the process and waits for its end in the background. Both happen on one
// locked thread: the parent-death signal is sent when the thread dies that forked.
func (p *process) start(cmd *exec.Cmd) error {
	p.cmd, p.done = cmd, make(chan struct{})
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			cmd.Wait()
		}
		close(p.done)
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start %s: %w", cmd.Args[0], err)
	}
	return nil
}

func (p *process) ended() <-chan struct{} { return p.done }
