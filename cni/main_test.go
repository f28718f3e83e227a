package cni

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const insideHost = "CNI_TEST_HOST"

// TestMain runs all tests in network and mount namespaces of their own, as root, so that
// real plugins can do their work; their leases and locks are in an empty /var/lib/cni.
func TestMain(m *testing.M) {
	if os.Getenv(insideHost) != "" || os.Getuid() != 0 {
		os.Exit(m.Run())
	}
	command := exec.Command("/proc/self/exe", os.Args[1:]...)
	command.Stdin, command.Stdout, command.Stderr = os.Stdin, os.Stdout, os.Stderr
	command.Env = append(os.Environ(), insideHost+"=1")
	command.SysProcAttr = &syscall.SysProcAttr{
		Unshareflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, // makes mounts private, too
		Pdeathsig:    syscall.SIGKILL,
	}
	err := command.Run()
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

// requirePlugins skips a test without the real plugins, or what they need. There are
// private directories for what they keep.
func requirePlugins(t *testing.T) {
	t.Helper()
	if os.Getenv(insideHost) == "" {
		t.Skip("needs root")
	}
	for _, file := range []string{"/usr/lib/cni/bridge", "/usr/lib/cni/portmap", "/usr/sbin/iptables"} {
		if _, err := os.Stat(file); err != nil {
			t.Skip("needs the packages containernetworking-plugins and iptables")
		}
	}
	for _, dir := range []string{"/var/lib", "/run"} {
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
				t.Error(err)
			}
		})
	}
	sh(t, "ip link set lo up")
}

func sh(t *testing.T, script string) string {
	t.Helper()
	out, err := exec.Command("sh", "-ec", script).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return string(out)
}
