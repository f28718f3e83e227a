package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"

	"github.com/cocker/cocker/tests/host"
)

const greeting = `
This is a shell on Debian %s with its own systemd (%s) and cocker installed.
What happens here stays here; leaving the shell throws the host away. Try:

  cocker image demo                                  # a small image, made without a network
  cocker create -p 8080:80 web demo                  # writes /etc/cocker/containers/web.toml
  systemctl start cocker@web
  curl http://127.0.0.1:8080/
  systemctl status cocker@web
  machinectl list
  cocker run --rm -it demo sh                        # a shell in a container
  cocker --help

`

func shell(ctx context.Context, s settings, _ []string) (int, error) {
	return withHost(ctx, s, func(h *host.Host) (int, error) {
		if !s.bare {
			fmt.Fprintf(s.out, greeting, s.release, h.State)
		}
		// Not ctx: Ctrl-C in the shell is for the shell.
		_, err := interactive(s, h.Command(context.WithoutCancel(ctx), "/bin/bash"))
		return 0, err // how the last command in the shell ended is no news to its user
	})
}

func runCommand(ctx context.Context, s settings, args []string) (int, error) {
	if len(args) == 0 {
		return 2, errors.New("which command? run -- COMMAND [ARGUMENT...]")
	}
	return withHost(ctx, s, func(h *host.Host) (int, error) {
		return interactive(s, h.Command(ctx, args[0], args[1:]...))
	})
}

// interactive runs a command on the tool's own terminal, in its process group: in
// one of its own it would be a background job there.
func interactive(s settings, cmd *host.Cmd) (int, error) {
	cmd.SysProcAttr.Setpgid = false
	cmd.Stdin, cmd.Stdout, cmd.Stderr = s.in, s.out, s.err
	cmd.Env = []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/root", "USER=root", "LOGNAME=root", "SHELL=/bin/bash", "LANG=C.UTF-8",
		"TERM=" + os.Getenv("TERM"),
	}
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return host.ExitCode(exit.ProcessState), nil
	}
	return 0, err
}
