package host_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"

	"github.com/cocker/cocker/tests/host"
)

// One virtual machine for all of it: a boot is the expensive part.
func TestVMHost(t *testing.T) {
	if !*host.InVirtualMachines {
		t.Skip("needs a virtual machine: make test-vm")
	}
	var h *host.Host
	t.Cleanup(func() { // after Start's, which stops it
		if left := traces(h); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	})
	h = host.Start(t, host.Trixie)
	t.Run("system", func(t *testing.T) { vmIsARealSystem(t, h) })
	t.Run("commands", func(t *testing.T) { vmRunsCommands(t, h) })
	t.Run("terminal", func(t *testing.T) { vmGivesATerminal(t, h) })
	t.Run("outside", func(t *testing.T) { vmHasAnOutside(t, h) })
	t.Run("power cut", func(t *testing.T) { vmLosesItsPower(t, h) })
}

func vmIsARealSystem(t *testing.T, h *host.Host) {
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		t.Fatal(err)
	}
	if got := h.MustRun(t, "uname -r"); got == strings.TrimSpace(string(release)) {
		t.Errorf("the kernel is this machine's, %s", got)
	}
	checks := []struct{ name, script, want string }{
		{"state", "systemctl is-system-running", "running"},
		{"process 1", "cat /proc/1/comm", "systemd"},
		{"controllers", "grep -owE 'cpu|cpuset|io|memory|pids' /sys/fs/cgroup/cgroup.controllers | sort | xargs", "cpu cpuset io memory pids"},
		{"root", "findmnt -no FSTYPE /", "ext4"},
		{"second disk", "lsblk -nbdo SIZE /dev/vdb", "1073741824"},
	}
	for _, c := range checks {
		if got := h.MustRun(t, c.script); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func vmRunsCommands(t *testing.T, h *host.Host) {
	result := h.Run(t, `echo "$1"; echo "$2" >&2; exit 7`, "out", "err")
	if want := (host.Result{Stdout: "out\n", Stderr: "err\n", ExitCode: 7}); result != want {
		t.Errorf("result %+v, want %+v", result, want)
	}
	if result := h.Run(t, "kill -TERM $$"); result.ExitCode != 128+15 {
		t.Errorf("exit code %d after SIGTERM, want 143", result.ExitCode)
	}
	if _, err := h.Command(t.Context(), "/no/such/program").Output(); err == nil {
		t.Error("a program that does not exist ran")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := h.Command(ctx, "sh", "-c", "sleep 1000 & sleep 1000").Run(); err == nil {
		t.Error("a command outlived its context")
	}
	h.WaitFor(t, 30*time.Second, "end of the whole process group", "! pgrep -x sleep")

	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	sum := fmt.Sprintf("%x", sha256.Sum256(data))
	var all sync.WaitGroup
	for range 8 { // at the same time, each with a megabyte in each direction
		all.Go(func() {
			result, err := h.Command(t.Context(), "cat").Exec(bytes.NewReader(data))
			if got := fmt.Sprintf("%x", sha256.Sum256([]byte(result.Stdout))); err != nil || got != sum {
				t.Errorf("%d bytes came back, %v", len(result.Stdout), err)
			}
		})
	}
	all.Wait()
}

func vmGivesATerminal(t *testing.T, h *host.Host) {
	cmd := h.Command(t.Context(), "sh", "-c", "tty; stty size; read line; echo got $line; exit 3")
	master, slave, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	if err := pty.Setsize(master, &pty.Winsize{Rows: 33, Cols: 77}); err != nil {
		t.Fatal(err)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	slave.Close()
	if _, err := master.WriteString("hello\r"); err != nil {
		t.Fatal(err)
	}
	var shown bytes.Buffer
	io.Copy(&shown, master) // ends with EIO when nobody has the other end any more
	cmd.Wait()
	for _, want := range []string{"/dev/pts/", "33 77", "got hello"} {
		if !strings.Contains(shown.String(), want) {
			t.Errorf("%q is not in %q", want, shown.String())
		}
	}
	if code := cmd.ProcessState.ExitCode(); code != 3 {
		t.Errorf("exit status %d, want 3", code)
	}
}

func vmHasAnOutside(t *testing.T, h *host.Host) {
	if r := h.Outside(t, "ping -q -c 1 -W 30 192.0.2.1 && ping -q -c 1 -W 30 2001:db8:2::1"); r.ExitCode != 0 {
		t.Errorf("from outside: %+v", r)
	}
	h.MustRun(t, "ping -q -c 1 -W 30 192.0.2.2")
}

func vmLosesItsPower(t *testing.T, h *host.Host) {
	h.MustRun(t, "echo kept >/root/synced && sync /root/synced /root && echo new >/run/runtime")
	const bootID = "cat /proc/sys/kernel/random/boot_id"
	before := h.MustRun(t, bootID)
	h.PowerCut(t)
	if got := h.MustRun(t, "cat /root/synced"); got != "kept" {
		t.Errorf("what was synced is %q", got)
	}
	if h.MustRun(t, bootID) == before {
		t.Error("it is the same boot")
	}
	h.MustRun(t, "! [ -e /run/runtime ]")
}
