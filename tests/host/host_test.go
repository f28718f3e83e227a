package host_test

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/tests/host"
)

// eachRelease runs a test on a fresh host of every release.
func eachRelease(t *testing.T, test func(t *testing.T, h *host.Host)) {
	t.Helper()
	for _, release := range host.Releases() {
		t.Run(string(release), func(t *testing.T) {
			t.Parallel()
			test(t, host.Start(t, release))
		})
	}
}

func TestHostIsARunningSystem(t *testing.T) {
	eachRelease(t, func(t *testing.T, h *host.Host) {
		if h.State != "running" {
			t.Errorf("the system is %s:\n%s", h.State, h.MustRun(t, "systemctl --failed --no-pager"))
		}
		checks := []struct{ name, script, want string }{
			{"release", ". /etc/os-release; echo $VERSION_CODENAME", string(h.Release)},
			{"process 1", "cat /proc/1/comm", "systemd"},
			{"own processes only", "ps -e -o comm= | grep -c '^systemd$'", "1"},
			{"host name", "hostname", "test-" + string(h.Release)},
			{"machine id", "tr -d 0-9a-f </etc/machine-id | wc -c", "1"},
			{"address", "ip -br addr show eth0 | awk '{ print $3 }'", "192.0.2.1/24"},
			{"names of machines", "grep -c '^hosts:.*mymachines' /etc/nsswitch.conf", "1"},
			{"machined", "machinectl list --no-legend", ""},
			{"cgroup namespace", "sed -n 's/^0:://p' /proc/self/cgroup", "/harness"},
			{"cgroup of process 1", "sed -n 's/^0:://p' /proc/1/cgroup", "/init.scope"},
			{"overlay on the state directory", `cd /var/lib/cocker && mkdir a b c d &&
				mount -t overlay o -o lowerdir=a,upperdir=b,workdir=c d && umount d && rm -r a b c d && echo ok`, "ok"},
			{"user namespace with proc", "unshare --user --map-root-user --pid --fork --mount-proc echo ok", "ok"},
		}
		for _, c := range checks {
			if got := h.MustRun(t, c.script); got != c.want {
				t.Errorf("%s: %s = %q, want %q", c.name, c.script, got, c.want)
			}
		}
	})
}

func TestCommandIsAChildOfTheTest(t *testing.T) {
	h := host.Start(t, host.Trixie)
	result := h.Run(t, `echo "$1"; echo "$2" >&2; exit 7`, "out", "err")
	if want := (host.Result{Stdout: "out\n", Stderr: "err\n", ExitCode: 7}); result != want {
		t.Errorf("result %+v, want %+v", result, want)
	}
	if result := h.Run(t, "kill -TERM $$"); result.ExitCode != 128+15 {
		t.Errorf("exit code %d after SIGTERM, want 143", result.ExitCode)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := h.Command(ctx, "sh", "-c", "sleep 1000 & sleep 1000").Run(); err == nil {
		t.Error("a command outlived its context")
	}
	h.WaitFor(t, time.Minute, "end of the whole process group", "! pgrep -x sleep")
}

func TestFiles(t *testing.T) {
	h := host.Start(t, host.Trixie)
	const path, content = "/etc/new directory/it's.conf", "a $b\n\\c\n"
	h.WriteFile(t, path, content, 0o640)
	if got := h.ReadFile(t, path); got != content {
		t.Errorf("read %q, wrote %q", got, content)
	}
	if got := h.MustRun(t, `stat -c %a "$1"`, path); got != "640" {
		t.Errorf("mode %s, want 640", got)
	}
}

func TestDiskSurvivesRebootAndPowerCut(t *testing.T) {
	eachRelease(t, func(t *testing.T, h *host.Host) {
		lives := []struct {
			name string
			next func(testing.TB)
		}{{"reboot", h.Reboot}, {"power cut", h.PowerCut}}
		for _, life := range lives {
			h.MustRun(t, "touch /run/volatile; echo kept >/var/lib/cocker/file; echo kept >/etc/file")
			identity := h.MustRun(t, "cat /etc/machine-id")
			life.next(t)
			if got := h.MustRun(t, "cat /var/lib/cocker/file /etc/file; rm /var/lib/cocker/file /etc/file"); got != "kept\nkept" {
				t.Errorf("after the %s the disk holds %q", life.name, got)
			}
			if h.Run(t, "test -e /run/volatile").ExitCode == 0 {
				t.Errorf("after the %s /run is the old one", life.name)
			}
			if got := h.MustRun(t, "cat /etc/machine-id"); got != identity {
				t.Errorf("after the %s the machine id is %s, was %s", life.name, got, identity)
			}
			if h.State != "running" {
				t.Errorf("after the %s the system is %s", life.name, h.State)
			}
		}
	})
}

func TestRebootStopsUnits(t *testing.T) {
	h := host.Start(t, host.Trixie)
	h.WriteFile(t, "/etc/systemd/system/trace.service", `[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'echo start >>/var/lib/cocker/trace'
ExecStop=/bin/sh -c 'echo stop >>/var/lib/cocker/trace'
[Install]
WantedBy=multi-user.target
`, 0o644)
	h.MustRun(t, "systemctl enable --now trace")
	h.Reboot(t)
	if got := h.ReadFile(t, "/var/lib/cocker/trace"); got != "start\nstop\nstart\n" {
		t.Errorf("after the reboot the unit's trace is %q", got)
	}
}

// TestKernelLogOfGenerators sees what a generator says, before and after the journal runs.
func TestKernelLogOfGenerators(t *testing.T) {
	eachRelease(t, func(t *testing.T, h *host.Host) {
		h.WriteFile(t, "/etc/systemd/system-generators/talk",
			"#!/bin/sh\nprintf '<27>talk[7]: file:3 is wrong' >/dev/kmsg\n", 0o755)
		const count = "journalctl -b -t talk -p err -o cat | grep -c 'file:3 is wrong'"
		h.Reboot(t)
		h.WaitFor(t, time.Minute, "the message of the boot", count)
		before := h.MustRun(t, count)
		h.MustRun(t, "systemctl daemon-reload")
		h.WaitFor(t, time.Minute, "the message of the reload", `test "$(`+count+`)" -gt "$1"`, before)
	})
}

func TestOutsideWorld(t *testing.T) {
	h := host.Start(t, host.Trixie)
	for range 2 { // the link is there again after a reboot
		for _, address := range []string{"192.0.2.1", "2001:db8:2::1"} {
			if r := h.Outside(t, `ping -c 1 -W 30 "$1"`, address); r.ExitCode != 0 {
				t.Errorf("from outside %s does not answer: %s%s", address, r.Stdout, r.Stderr)
			}
		}
		if r := h.Run(t, "ping -c 1 -W 30 192.0.2.2"); r.ExitCode != 0 {
			t.Errorf("the outside world does not answer: %s%s", r.Stdout, r.Stderr)
		}
		h.Reboot(t)
	}
}

func TestTwoHostsDoNotMeet(t *testing.T) {
	a, b := host.Start(t, host.Trixie), host.Start(t, host.Trixie)
	a.MustRun(t, "touch /etc/only-a /run/only-a /var/lib/cocker/only-a && systemd-run --unit only-a sleep 1000 && nft add table ip only-a")
	if r := b.Run(t, "ls /etc/only-a /run/only-a /var/lib/cocker/only-a; systemctl is-active only-a; nft list table ip only-a; pgrep -x sleep"); r.Stdout != "inactive\n" {
		t.Errorf("the second host sees the first: %s", r.Stdout)
	}
	b.PowerCut(t)
	a.MustRun(t, "systemctl is-active only-a")
}

func TestSnapshotSeesLeftovers(t *testing.T) {
	h := host.Start(t, host.Bookworm)
	before := h.Snapshot(t)
	h.AssertClean(t, before)
	h.MustRun(t, `mkdir -p /run/cocker/x /var/lib/cocker/y && mount -t tmpfs left /mnt &&
		ip link add left type bridge && ip addr add 198.51.100.1/24 dev left && nft add table inet left &&
		systemd-run --unit cocker-left.service sleep 1000`)
	diff := host.Diff(before, h.Snapshot(t))
	for _, want := range []string{
		"+ mount: /mnt left tmpfs", "+ link: left", "+ address: left 198.51.100.1/24", "+ nft: table inet left",
		"+ runtime file: x d", "+ state file: y d", "+ unit: cocker-left.service active running",
		"+ unit file: /run/systemd/transient/cocker-left.service", "+ cgroup: ./system.slice/cocker-left.service",
	} {
		if !strings.Contains(diff, want) {
			t.Errorf("the difference lacks %q:\n%s", want, diff)
		}
	}
	if diff := host.Diff(h.Snapshot(t), before); strings.Contains(diff, "+ ") {
		t.Errorf("what is gone is reported as new:\n%s", diff)
	}
}

// machineState is what a host may touch of the machine: mounts, links, its cgroups.
func machineState(t *testing.T) string {
	t.Helper()
	var state bytes.Buffer
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	state.Write(mounts)
	links, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range links {
		state.WriteString(link.Name + "\n")
	}
	return state.String()
}

// traces returns the scratch directory and cgroup of a host that are still there.
func traces(h *host.Host) []string {
	found := cgroupsOf(h.Scratch())
	if exists(h.Scratch()) {
		found = append(found, h.Scratch())
	}
	return found
}

// aloneVariable makes this test binary the process that runAlone starts.
const aloneVariable = "COCKER_TEST_ALONE"

// runAlone runs the test once more, in a process for which the machine is a mount and
// a network namespace of its own: nobody else makes a mount or a link there meanwhile.
func runAlone(t *testing.T) {
	t.Helper()
	if _, err := host.BuildRoot(t.Context(), host.Trixie, host.Extra{}, os.Stderr); err != nil { // needs the machine's network
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.v", "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), aloneVariable+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWNET}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// shareMounts makes what the host mounts come back to this namespace, as it would to a
// machine whose systemd has made all mounts shared; but not from here to the machine.
func shareMounts(t *testing.T) {
	t.Helper()
	for _, propagation := range []uintptr{unix.MS_PRIVATE, unix.MS_SHARED} {
		if err := unix.Mount("", "/", "", unix.MS_REC|propagation, ""); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNothingIsLeftOnTheMachine(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a test host needs root: run this test as root")
	}
	if os.Getenv(aloneVariable) == "" {
		runAlone(t)
		return
	}
	shareMounts(t)
	before := machineState(t)
	h, err := host.New(t.Context(), host.Config{Release: host.Trixie, Progress: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	if len(traces(h)) != 2 {
		t.Error("the test looks for traces in the wrong places: a running host has two")
	}
	h.MustRun(t, "systemd-run --slice machine.slice sleep 1000 && mount -t tmpfs none /mnt && unshare --net sleep 1000 >/dev/null 2>&1 &")
	if during := machineState(t); during != before {
		t.Errorf("a running host shows on the machine:\n%s\nbefore:\n%s", during, before)
	}
	if err := h.Close(); err != nil {
		t.Error(err)
	}
	if left := traces(h); len(left) > 0 {
		t.Errorf("left after the stop: %v", left)
	}
}
