package sshrepo

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"golang.org/x/term"

	"github.com/cocker/cocker/image"
)

// server is the program that runs on the other side.
//
//go:embed server.sh
var server string

// program is server.sh with its variables.
func program(nonce, directory string) string {
	return "nonce=" + quote(nonce) + "\ndir=" + quote(directory) + "\n" + server
}

// quote makes a word of the shell of any text: in single quotes nothing but a single
// quote has a meaning (POSIX, Shell Command Language, 2.2.2).
func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// bootstrap is what the login shell there is told. It has nothing in it that depends on
// a name, and means the same to every shell that knows single quotes, csh and fish too.
func bootstrap(size int) string {
	return `sh -c 'eval "$(head -c ` + strconv.Itoa(size) + `)"'`
}

// sshArguments are those for a place. What ssh_config(5) says of the host holds, but for
// what would get in the way: a terminal, forwarded ports, a command of its own, being the
// connection of other sessions (which would stay in the background, and hold our pipes).
func sshArguments(p image.Place, batch bool, remote string) []string {
	args := []string{"-T", "-a", "-x", "-e", "none", "-o", "LogLevel=ERROR"}
	for _, option := range []string{
		"RemoteCommand=none", "PermitLocalCommand=no", "ClearAllForwardings=yes", "ControlMaster=no",
		"ConnectTimeout=30", "ServerAliveInterval=20", "ServerAliveCountMax=3",
	} {
		args = append(args, "-o", option)
	}
	if batch {
		args = append(args, "-o", "BatchMode=yes")
	}
	if p.Port != 0 {
		args = append(args, "-p", strconv.Itoa(p.Port))
	}
	if p.User != "" {
		args = append(args, "-l", p.User)
	}
	return append(args, "--", p.Host, remote)
}

// sshCommand runs a command on the other side by ssh(1), which asks questions only if
// there is a terminal to ask them on.
func sshCommand(ctx context.Context, p image.Place, remote string) (*exec.Cmd, error) {
	path, err := exec.LookPath("ssh")
	if err != nil {
		return nil, fmt.Errorf("there is no program ssh here; install it (package openssh-client): %w", err)
	}
	batch := !term.IsTerminal(int(os.Stdin.Fd()))
	return exec.CommandContext(ctx, path, sshArguments(p, batch, remote)...), nil
}
