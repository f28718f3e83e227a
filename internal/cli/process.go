package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/internal/handoff"
	"github.com/cocker/cocker/internal/linux"
	"github.com/cocker/cocker/internal/paths"
	"github.com/cocker/cocker/launch"
)

func processCommand(*streams) *cobra.Command {
	command := &cobra.Command{
		Use:   "process",
		Short: "Start, stop and restart one of several processes in a container",
		Long: `Process controls one of the processes that a running container has by the
[process.NAME] tables of its file. "cocker ps NAME" lists them; what they write is
in the container's journal under NAME/PROCESS.`,
		Example: `  cocker process restart web php
  cocker ps web
  journalctl -t web/php`,
	}
	command.AddCommand(
		processVerb(handoff.ProcessStart, "Start a process that does not run, and wait until it is ready",
			`Start starts a process that has been stopped, has ended or has failed, or that
waits for its next restart, and waits until it is ready as its table has it. Its
restarts are counted from 0 again.`),
		processVerb(handoff.ProcessStop, "Stop a process and wait until it has ended",
			`Stop sends a process its stop signal, and after its stop_timeout SIGKILL to it and
all that it has started. It is not restarted until "cocker process start" or the
container's next start. The main process can't be stopped: the container ends with
it, and "cocker stop" stops both.`),
		processVerb(handoff.ProcessRestart, "Stop a process, start it again and wait until it is ready",
			`Restart stops a process, if it runs, and starts it again. The main process can be
restarted, too: the container goes on.`),
	)
	return command
}

func processVerb(verb, short, long string) *cobra.Command {
	return asRoot(&cobra.Command{
		Use:               verb + " NAME PROCESS",
		Short:             short,
		Long:              long,
		Example:           "  cocker process " + verb + " web php",
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: completeProcess,
		RunE: func(c *cobra.Command, args []string) error {
			state, err := runningState(args[0])
			if err != nil {
				return err
			}
			_, err = askInit(c.Context(), state, verb+" "+args[1])
			return err
		},
	})
}

// completeProcess offers containers, and then the processes of the one that was named.
func completeProcess(c *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	if len(args) != 1 {
		return completeFirstContainer(c, args, word)
	}
	found, err := config.Load(paths.ConfigDirs(), args[0])
	if err != nil {
		return nil, noFiles
	}
	var names []string
	for _, p := range found.Ordered() {
		names = append(names, p.Name)
	}
	return names, noFiles
}

// errOneProcess says that a container has no [process.NAME] tables.
var errOneProcess = errors.New("has no [process.NAME] tables, only its command")

// askInit asks a container's init something about its processes, and waits for the answer.
func askInit(ctx context.Context, state *launch.State, request string) (*handoff.ProcessReply, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	patience := unix.NsecToTimeval(int64(answerTimeout))
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &patience) // the queue may be full
	err = unix.Connect(fd, &unix.SockaddrUnix{Name: launch.ProcessSocket(state.Name)})
	if err == nil {
		err = unix.Send(fd, []byte(request), unix.MSG_NOSIGNAL)
	}
	switch {
	case errors.Is(err, unix.ENOENT):
		return nil, fmt.Errorf("container %s %w", state.Name, errOneProcess)
	case errors.Is(err, unix.ECONNREFUSED), errors.Is(err, unix.ECONNRESET), errors.Is(err, unix.EPIPE):
		return nil, fmt.Errorf("container %s is stopping", state.Name)
	case err != nil:
		return nil, fmt.Errorf("ask the init of %s: %w", state.Name, err)
	}
	return awaitReply(ctx, fd, state)
}

// awaitReply waits as long as a process takes to become ready, or to stop. What comes is
// the container's to say.
func awaitReply(ctx context.Context, fd int, state *launch.State) (*handoff.ProcessReply, error) {
	for !linux.WaitReadable(fd, 200*time.Millisecond) {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if cgroup, err := linux.CgroupOf(state.Leader); err == nil && linux.CgroupFrozen(cgroup) {
			return nil, fmt.Errorf("container %s is frozen; \"systemctl thaw\" of its unit thaws it", state.Name)
		}
	}
	packet := make([]byte, handoff.MaxProcessPacket)
	n, err := unix.Read(fd, packet)
	if err != nil || n <= 0 {
		return nil, fmt.Errorf("container %s has ended", state.Name)
	}
	reply := new(handoff.ProcessReply)
	if err := json.Unmarshal(packet[:n], reply); err != nil {
		return nil, fmt.Errorf("the init of %s gave no answer that makes sense", state.Name)
	}
	if reply.Error != "" {
		return nil, errors.New(oneLine(strings.TrimSpace(reply.Error)))
	}
	return reply, nil
}
