package host

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// commandDeadline ends a command of Run that hangs.
const commandDeadline = 5 * time.Minute

// hangNotice is how long before it is looked why.
const hangNotice = 10 * time.Second

// InVirtualMachines says that Start and Shared give virtual machines.
var InVirtualMachines = flag.Bool("vm", false, "run the tests on virtual machines instead of namespaces")

// Option changes what Start starts.
type Option func(*Config)

// WithCocker installs cocker, built from the checkout, before the host boots.
func WithCocker() Option { return func(c *Config) { c.Cocker = true } }

// With gives the host's root what those of others have not.
func With(extra Extra) Option { return func(c *Config) { c.Extra = extra } }

// WithKernel gives the kernel of a virtual machine arguments.
func WithKernel(arguments ...string) Option {
	return func(c *Config) { c.Kernel = append(c.Kernel, arguments...) }
}

// Start boots a host for one test and stops it when the test is over. The test is
// skipped when it does not run as root; when it fails, the host's journal is shown.
func Start(t testing.TB, release Release, options ...Option) *Host {
	t.Helper()
	requireRoot(t)
	config := Config{Release: release, Virtual: *InVirtualMachines, Progress: os.Stderr}
	for _, option := range options {
		option(&config)
	}
	h, err := New(t.Context(), config)
	if err != nil {
		t.Fatalf("start a %s host: %v", release, err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Errorf("stop the %s host: %v", release, err)
		}
	})
	h.showJournalOnFailure(t)
	return h
}

// shared holds the hosts of Shared. Nothing stops them but the end of the test
// binary, which their reapers see.
var shared struct {
	mu    sync.Mutex
	hosts map[Release]*Host
}

// Shared returns the host that all tests of this test binary share, with cocker
// installed. A test leaves it as it found it, or uses Start.
func Shared(t testing.TB, release Release) *Host {
	t.Helper()
	requireRoot(t)
	shared.mu.Lock()
	defer shared.mu.Unlock()
	h := shared.hosts[release]
	if h == nil {
		var err error
		// Not the test's context: the host outlives the test.
		h, err = New(context.Background(), Config{Release: release, Virtual: *InVirtualMachines, Cocker: true, Progress: os.Stderr})
		if err != nil {
			t.Fatalf("start the shared %s host: %v", release, err)
		}
		if shared.hosts == nil {
			shared.hosts = map[Release]*Host{}
		}
		shared.hosts[release] = h
	}
	h.showJournalOnFailure(t)
	return h
}

func requireRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a test host needs root: run this test as root")
	}
}

// showJournalOnFailure logs, when t has failed, what the host logged since now, and
// keeps its whole journal and console in a file.
func (h *Host) showJournalOnFailure(t testing.TB) {
	since := time.Now().Add(-time.Second)
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), h.deadline(20*time.Second))
		defer cancel()
		// Not the kernel's: in a virtual machine a boot is hundreds of its lines.
		journal, err := h.journal(ctx, "--lines=200", "--since="+since.Format("2006-01-02 15:04:05"),
			"_TRANSPORT=journal", "+", "_TRANSPORT=stdout", "+", "_TRANSPORT=syslog")
		if err != nil {
			t.Logf("no journal (%v); the console of the host:\n%s", err, h.Console())
			return
		}
		t.Logf("journal of the %s host:\n%s", h.Release, journal)
		t.Logf("%s", h.keepLog(ctx, t.Name()))
	})
}

// journal returns what journalctl prints, in the time zone of this machine.
func (h *Host) journal(ctx context.Context, options ...string) (string, error) {
	cmd := h.Command(ctx, "journalctl", append([]string{"--no-pager", "--output=short-precise"}, options...)...)
	cmd.Env = append(cmd.Env, "TZ="+time.Now().Format("MST-07:00"))
	result, err := cmd.Exec(nil)
	return result.Stdout, err
}

// keepLog writes the console and the whole journal to a file of the cache and says where.
func (h *Host) keepLog(ctx context.Context, test string) string {
	cache, err := cacheDir()
	if err != nil {
		return err.Error()
	}
	journal, err := h.journal(ctx)
	path := filepath.Join(cache, "logs", strings.ReplaceAll(test, "/", "-")+".log")
	err = errors.Join(err, os.MkdirAll(filepath.Dir(path), 0o755),
		os.WriteFile(path, []byte("== console\n"+h.Console()+"\n== journal\n"+journal), 0o644))
	if err != nil {
		return fmt.Sprintf("keep the log: %v", err)
	}
	return "the whole log is in " + path
}

// Run runs a shell script in the host; args are its $1, $2, ...
func (h *Host) Run(t testing.TB, script string, args ...string) Result {
	t.Helper()
	return h.finish(t, h.Command, script, args)
}

// finish runs a shell script to its end, or its deadline, before which it is looked what it
// waits for.
func (h *Host) finish(t testing.TB, command func(context.Context, string, ...string) *Cmd, script string, args []string) Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), h.deadline(commandDeadline))
	defer cancel()
	told := make(chan struct{})
	watch := time.AfterFunc(h.deadline(commandDeadline)-hangNotice, func() {
		defer close(told)
		h.tellOfHang(t, script)
	})
	defer func() {
		if !watch.Stop() {
			<-told
		}
	}()
	result, err := command(ctx, "/bin/sh", shellArgs(script, args)...).Exec(nil)
	if err != nil {
		t.Fatalf("run %s: %v\nstdout: %s\nstderr: %s", script, err, result.Stdout, result.Stderr)
	}
	return result
}

// hangLook tells what may keep a command: jobs, processes, locks, and of cocker's own
// programs what each thread waits for in the kernel, and their files.
const hangLook = `systemctl list-jobs --after --before; ps axfww -o pid,stat,wchan:20,args; cat /proc/locks
for p in $(pgrep '^cocker'); do
	echo "$p: $(tr '\0' ' ' </proc/$p/cmdline)"
	for t in /proc/$p/task/*; do echo "$t $(cat $t/wchan) $(cat $t/syscall)"; done
	ls -l /proc/$p/fd
done; ss -xp 2>/dev/null | grep -e cocker -e systemd/private`

// tellOfHang logs what the host does while a command hangs.
func (h *Host) tellOfHang(t testing.TB, script string) {
	ctx, cancel := context.WithTimeout(t.Context(), hangNotice)
	defer cancel()
	result, err := h.Command(ctx, "/bin/sh", "-c", hangLook).Exec(nil)
	t.Logf("hangs: %s\n%s%s%v", script, result.Stdout, result.Stderr, err)
}

// MustRun is Run for a script that must succeed; it returns the standard output
// without the newline at its end.
func (h *Host) MustRun(t testing.TB, script string, args ...string) string {
	t.Helper()
	result := h.Run(t, script, args...)
	if result.ExitCode != 0 {
		t.Fatalf("exit status %d of: %s\nstdout: %s\nstderr: %s", result.ExitCode, script, result.Stdout, result.Stderr)
	}
	return strings.TrimSuffix(result.Stdout, "\n")
}

// Outside runs a shell script in the network beyond the host's eth0, as 192.0.2.2:
// what it reaches, another machine reaches.
func (h *Host) Outside(t testing.TB, script string, args ...string) Result {
	t.Helper()
	return h.finish(t, h.OutsideCommand, script, args)
}

func shellArgs(script string, args []string) []string {
	return append([]string{"-c", script, "sh"}, args...)
}

// WaitFor runs a script until it succeeds, for what announces itself by no event.
func (h *Host) WaitFor(t testing.TB, deadline time.Duration, what, script string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), h.deadline(deadline))
	defer cancel()
	var last Result
	err := poll(ctx, func() (err error) {
		last, err = h.Command(ctx, "/bin/sh", shellArgs(script, args)...).Exec(nil)
		if err == nil && last.ExitCode != 0 {
			err = context.DeadlineExceeded
		}
		return err
	})
	if err != nil {
		t.Fatalf("%s: not within %s; last try: exit status %d\nstdout: %s\nstderr: %s",
			what, deadline, last.ExitCode, last.Stdout, last.Stderr)
	}
}

// Reboot shuts the host down cleanly and boots it again from the same disk.
func (h *Host) Reboot(t testing.TB) {
	t.Helper()
	if err := h.Restart(t.Context()); err != nil {
		t.Fatalf("reboot: %v", err)
	}
}

// PowerCut kills everything in the host at once and boots it again from the same disk.
func (h *Host) PowerCut(t testing.TB) {
	t.Helper()
	if err := h.CutPower(t.Context()); err != nil {
		t.Fatalf("power cut: %v", err)
	}
}
