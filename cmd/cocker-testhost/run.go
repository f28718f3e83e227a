package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"

	"github.com/cocker/cocker/tests/host"
)

// streams are the standard streams of the tool and of what it runs in a host.
type streams struct {
	in, out, err *os.File
}

// verb is a subcommand. Its result is the exit status where err is nil.
type verb struct {
	name, help string
	run        func(ctx context.Context, s settings, args []string) (status int, err error)
}

// settings are what the flags said.
type settings struct {
	streams
	release host.Release
	bare    bool
	virtual bool
}

func verbs() []verb {
	return []verb{
		{"shell", "a shell on a host; leaving it stops the host", shell},
		{"demo", "what cocker does, command by command", demo},
		{"run", "run a command on a host and stop the host: run -- COMMAND [ARGUMENT...]", runCommand},
		{"build", "make the Debian roots of the hosts, once", build},
	}
}

func run(ctx context.Context, args []string, std streams) int {
	if len(args) > 0 {
		for _, v := range verbs() {
			if v.name == args[0] {
				return runVerb(ctx, v, args[1:], std)
			}
		}
	}
	fmt.Fprintln(std.err, "usage: cocker-testhost VERB [--release trixie|bookworm] [--bare] [--virtual]")
	for _, v := range verbs() {
		fmt.Fprintf(std.err, "  %-6s %s\n", v.name, v.help)
	}
	return 2
}

func runVerb(ctx context.Context, v verb, args []string, std streams) int {
	s := settings{streams: std}
	flags := flag.NewFlagSet(v.name, flag.ContinueOnError)
	flags.SetOutput(std.err)
	release := flags.String("release", string(host.Trixie), "Debian release of the host: trixie or bookworm")
	flags.BoolVar(&s.bare, "bare", false, "a host without cocker")
	flags.BoolVar(&s.virtual, "virtual", false, "a virtual machine")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	var err error
	status := 1
	if s.release, err = host.ParseRelease(*release); err == nil {
		status, err = v.run(ctx, s, flags.Args())
	}
	if err != nil {
		fmt.Fprintf(std.err, "cocker-testhost %s: %v\n", v.name, err)
		return 1
	}
	return status
}

// withHost boots a host, calls use, and stops the host again.
func withHost(ctx context.Context, s settings, use func(*host.Host) (int, error)) (status int, err error) {
	if os.Geteuid() != 0 {
		return 1, errors.New("needs root")
	}
	h, err := host.New(ctx, host.Config{Release: s.release, Virtual: s.virtual, Cocker: !s.bare, Progress: s.err})
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	return use(h)
}

func build(ctx context.Context, s settings, _ []string) (int, error) {
	if os.Geteuid() != 0 {
		return 1, errors.New("needs root")
	}
	for _, release := range host.Releases() {
		if _, err := host.BuildRoot(ctx, release, host.Extra{}, s.err); err != nil {
			return 1, err
		}
		if !s.virtual {
			continue
		}
		if _, err := host.BuildDisk(ctx, release, s.err); err != nil {
			return 1, err
		}
	}
	return 0, nil
}
