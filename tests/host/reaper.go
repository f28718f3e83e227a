package host

import (
	_ "embed"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

//go:embed reaper.sh
var reaperScript []byte

// reaper is the process that removes everything of a host when its standard input
// ends: when Close is called, or when the program that started the host is gone.
type reaper struct {
	cmd     *exec.Cmd
	stdin   io.Closer
	outside *os.File // its network namespace
}

// startReaper starts the reaper in a session of its own, out of reach of Ctrl-C. It
// inherits the lock, so that the scratch directory counts as alive until it is gone.
func startReaper(s *scratch, tree *cgroupTree) (*reaper, error) {
	script := s.path("reaper.sh")
	if err := os.WriteFile(script, reaperScript, 0o755); err != nil {
		return nil, err
	}
	cmd := exec.Command("/bin/sh", script, s.dir, s.name)
	cmd.ExtraFiles = []*os.File{tree.root, s.lock}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Cloneflags: unix.CLONE_NEWNET}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the reaper of %s: %w", filepath.Base(s.dir), err)
	}
	r := &reaper{cmd: cmd, stdin: stdin}
	r.outside, err = os.Open(r.network())
	return r, err
}

// network is the path of the network namespace that plays the outside world.
func (r *reaper) network() string { return fmt.Sprintf("/proc/%d/ns/net", r.cmd.Process.Pid) }

// Close ends the host and waits until nothing of it is left.
func (r *reaper) Close() error {
	r.stdin.Close()
	if r.outside != nil {
		r.outside.Close()
	}
	if err := r.cmd.Wait(); err != nil {
		return fmt.Errorf("reaper: %w", err)
	}
	return nil
}
