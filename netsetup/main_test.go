package netsetup

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const insideHost = "NETSETUP_TEST_HOST"

// TestMain runs all tests in a host of their own: new network, mount and, for
// somebody who is not root, user namespaces, with an empty /run. The machine's
// own network is out of reach whatever a test does.
func TestMain(m *testing.M) {
	if os.Getenv(insideHost) != "" {
		if err := prepareHost(); err != nil {
			fmt.Fprintln(os.Stderr, "prepare the test host:", err)
			os.Exit(1)
		}
		os.Exit(m.Run())
	}
	err := runInHost()
	var exit *exec.ExitError
	switch {
	case err == nil:
		os.Exit(0)
	case errors.As(err, &exit):
		os.Exit(exit.ExitCode())
	}
	fmt.Fprintln(os.Stderr, "no namespaces for a test host, its tests are skipped:", err)
	os.Exit(m.Run())
}

func runInHost() error {
	command := exec.Command("/proc/self/exe", os.Args[1:]...)
	command.Stdin, command.Stdout, command.Stderr = os.Stdin, os.Stdout, os.Stderr
	command.Env = append(os.Environ(), insideHost+"=1")
	command.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS,
		Pdeathsig:  syscall.SIGKILL,
	}
	if os.Getuid() != 0 {
		command.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		command.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		command.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	return command.Run()
}

func prepareHost() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, ""); err != nil {
		return fmt.Errorf("mount /run: %w", err)
	}
	return setUp(loopbackIndex)
}

// requireHost skips a test that changes the network, if there is no host for it.
func requireHost(t testing.TB) {
	t.Helper()
	if os.Getenv(insideHost) == "" {
		t.Skip("needs root or user namespaces")
	}
}

// requireTool skips a test whose judge is missing.
func requireTool(t testing.TB, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skip("needs the command " + name)
	}
}

// output runs a command and returns what it printed.
func output(t testing.TB, name string, args ...string) string {
	t.Helper()
	text, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, text)
	}
	return string(text)
}
