package main

import (
	"context"
	"fmt"

	"github.com/cocker/cocker/tests/host"
)

// step is one command of the demonstration.
type step struct {
	say     string // what it shows, printed before it
	command string // as a user would type it
}

func demoSteps() []step {
	return []step{
		{"An image. This one is made here; others come from a registry (`cocker image pull`), a directory or a tar file (`image import`).",
			"cocker image demo"},
		{"A container is a TOML file.",
			`cat >/etc/cocker/containers/hello.toml <<'EOF'
description = "Hello from a container"
image = "demo"

[network]
ports = ["8080:80"]
EOF`},
		{"Every mistake in the files is found before anything is started.",
			"cocker check && systemctl daemon-reload"},
		{"From here on it is a unit like any other.",
			"systemctl start cocker@hello"},
		{"", "curl -sS --retry 5 --retry-connrefused http://127.0.0.1:8080/"},
		{"", "systemctl status --no-pager cocker@hello"},
		{"", "journalctl --no-pager -u cocker@hello"},
		{"It is a machine, too.",
			"machinectl list"},
		{"Nothing is left after the stop.",
			"systemctl stop cocker@hello"},
		{"", "machinectl list"},
	}
}

const goodbye = `
That was cocker. Where to go next:
  make shell-host    a shell on a host like this one, to try things
  examples/          containers to copy: a web server, a job, two that need each other, ...
  README.md          installing cocker on this machine
`

func demo(ctx context.Context, s settings, _ []string) (int, error) {
	fmt.Fprintf(s.out, "Booting a Debian %s test host: a real systemd in namespaces of its own ...\n", s.release)
	return withHost(ctx, s, func(h *host.Host) (int, error) {
		fmt.Fprintf(s.out, "systemd is %s.\n", h.State)
		return show(ctx, s, h, demoSteps())
	})
}

// show types every command at a prompt and runs it; the first that fails ends it.
func show(ctx context.Context, s settings, h *host.Host, steps []step) (int, error) {
	for _, st := range steps {
		if st.say != "" {
			fmt.Fprintf(s.out, "\n# %s", st.say)
		}
		fmt.Fprintf(s.out, "\n%s:~# %s\n", s.release, st.command)
		cmd := h.Command(ctx, "/bin/bash", "-c", st.command)
		cmd.Stdout, cmd.Stderr = s.out, s.err
		if err := cmd.Run(); err != nil {
			if ctx.Err() != nil {
				return 130, nil // Ctrl-C
			}
			showJournal(ctx, s, h)
			return 1, fmt.Errorf("%q: %w", st.command, err)
		}
	}
	fmt.Fprint(s.out, goodbye)
	return 0, nil
}

// showJournal prints why a step may have failed.
func showJournal(ctx context.Context, s settings, h *host.Host) {
	fmt.Fprintln(s.err, "\nThe end of the host's journal:")
	cmd := h.Command(ctx, "journalctl", "--no-pager", "--lines=40")
	cmd.Stdout, cmd.Stderr = s.err, s.err
	if err := cmd.Run(); err != nil {
		fmt.Fprintf(s.err, "journalctl: %v\n", err)
	}
}
