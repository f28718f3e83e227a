package host_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cocker/cocker/tests/host"
)

// starterVariable makes this test binary a program that starts a host and hangs.
const starterVariable = "COCKER_TEST_STARTER"

// TestStarter is the program that TestKilledStarter kills, not a test.
func TestStarter(t *testing.T) {
	if os.Getenv(starterVariable) == "" {
		t.Skip("only run by TestKilledStarter")
	}
	h := host.Start(t, host.Trixie)
	fmt.Printf("\nSTARTED %s\n", h.Scratch())
	<-h.Done()
}

func TestKilledStarter(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a test host needs root: run this test as root")
	}
	tests := []struct {
		name   string
		signal syscall.Signal
		reaper bool // killed as well, first
	}{
		{"Ctrl-C", syscall.SIGINT, false},
		{"kill -9", syscall.SIGKILL, false},
		{"kill -9, and of the reaper", syscall.SIGKILL, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			starter, scratch := startStarter(t)
			host1, reaper := processOne(t, scratch), 0
			if test.reaper {
				reaper = reaperOf(t, scratch)
				kill(t, reaper, syscall.SIGKILL)
			}
			kill(t, starter.Process.Pid, test.signal)
			starter.Wait()
			waitFor(t, "the end of process 1", func() bool { return !exists(fmt.Sprintf("/proc/%d/ns/pid", host1)) })
			if test.reaper {
				// Until then the lock says that the host is alive.
				waitFor(t, "the end of the reaper", func() bool { return !exists(fmt.Sprintf("/proc/%d/ns/pid", reaper)) })
				host.Start(t, host.Trixie) // the next start removes what nobody else could
			}
			waitFor(t, "the removal of "+scratch, func() bool { return !exists(scratch) && len(cgroupsOf(scratch)) == 0 })
		})
	}
}

// startStarter starts the program and returns it with the scratch directory of its host.
func startStarter(t *testing.T) (*exec.Cmd, string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestStarter$")
	cmd.Env = append(os.Environ(), starterVariable+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if scratch, ok := strings.CutPrefix(lines.Text(), "STARTED "); ok {
			return cmd, scratch
		}
	}
	t.Fatal("the starter ended without a host")
	return nil, ""
}

func cgroupsOf(scratch string) (found []string) {
	for _, tree := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		if dir := filepath.Join(tree, filepath.Base(scratch)); exists(dir) {
			found = append(found, dir)
		}
	}
	return found
}

// processOne returns the process id, on the machine, of the host's process 1.
func processOne(t *testing.T, scratch string) int {
	t.Helper()
	cgroups := cgroupsOf(scratch)
	if len(cgroups) == 0 {
		t.Fatalf("%s has no cgroup", scratch)
	}
	pids, err := os.ReadFile(filepath.Join(cgroups[0], "init.scope/cgroup.procs"))
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(pids), "\n")
	return number(t, first)
}

// reaperOf returns the process id of the reaper, whose first argument is the directory.
func reaperOf(t *testing.T, scratch string) int {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		line, _ := os.ReadFile(file)
		if strings.HasPrefix(string(line), "/bin/sh\x00"+scratch+"/reaper.sh\x00") {
			return number(t, filepath.Base(filepath.Dir(file)))
		}
	}
	t.Fatalf("%s has no reaper", scratch)
	return 0
}

func number(t *testing.T, text string) int {
	t.Helper()
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func kill(t *testing.T, pid int, signal syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, signal); err != nil {
		t.Fatalf("send %v to %d: %v", signal, pid, err)
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// waitFor looks until it sees what other processes do in their own time.
func waitFor(t *testing.T, what string, seen func() bool) {
	t.Helper()
	deadline := time.After(time.Minute)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !seen() {
		select {
		case <-deadline:
			t.Fatalf("%s: not within a minute", what)
		case <-tick.C:
		}
	}
}
