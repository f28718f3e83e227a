// Command cocker-testhost is a tool for people who work on cocker: it boots the
// hosts of the system tests to try things by hand. It is not installed. It owns its
// command line and the demonstration; hosts are package tests/host.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	status := run(ctx, os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr})
	stop()
	os.Exit(status)
}
