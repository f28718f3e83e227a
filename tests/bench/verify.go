package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"time"
)

// verify makes sure that what is measured is what the report says it is.
func (b *bench) verify(ctx context.Context) error {
	for _, c := range b.contenders {
		if err := verify(ctx, c); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		if err := call(ctx, c.once[0], c.once[1:]...); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return nil
}

func verify(ctx context.Context, c contender) error {
	if err := call(ctx, "systemctl", "start", c.unit(0)); err != nil {
		return err
	}
	command, err := commandOf(ctx, c.unit(0))
	if err == nil {
		err = checkIsolation(c, command)
	}
	if err == nil && c.published {
		err = checkPort(ctx, command, hostPort(0))
	}
	return errors.Join(err, call(ctx, "systemctl", "stop", c.unit(0)))
}

// commandOf is the process of a unit's command. nspawn says that it is ready a
// moment before the command is executed.
func commandOf(ctx context.Context, unit string) (process, error) {
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		processes, err := processesOf(ctx, unit)
		if err != nil {
			return 0, err
		}
		for _, p := range processes {
			if p.isCommand() {
				return p, nil
			}
		}
	}
	return 0, fmt.Errorf("%s runs without its command", unit)
}

func checkIsolation(c contender, command process) error {
	self := process(os.Getpid())
	for kind, own := range map[string]bool{"mnt": c.ownRoot, "user": c.ownRoot && !c.hostUsers, "net": c.ownNetwork} {
		if command.shares(kind, self) == own {
			return fmt.Errorf("namespace %s: its own: %t, want %t", kind, !own, own)
		}
	}
	_, err := os.Stat(command.path("root/var/lib/dpkg")) // the host is a Debian, the root is not
	if own := err != nil; own != c.ownRoot {
		return fmt.Errorf("root directory: its own: %t, want %t", own, c.ownRoot)
	}
	return nil
}

// checkPort lets a server listen in the container's network and reaches it through
// the published port.
func checkPort(ctx context.Context, command process, port int) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	server := exec.CommandContext(ctx, "nsenter", "--net="+command.path("ns/net"), "/usr/bin/busybox", "httpd", "-f", "-p", "80")
	if err := server.Start(); err != nil {
		return err
	}
	defer server.Wait()
	defer server.Process.Kill()
	var err error
	for ctx.Err() == nil {
		if err = askHTTP(port); err == nil {
			return nil
		}
	}
	return fmt.Errorf("published port %d: %w", port, err)
}

func askHTTP(port int) error {
	conn, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Second))
	fmt.Fprint(conn, "GET / HTTP/1.0\r\n\r\n")
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err == nil && !strings.HasPrefix(line, "HTTP/") {
		err = fmt.Errorf("the answer is %q", line)
	}
	return err
}
