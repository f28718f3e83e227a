package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// The measurements of sessions, as rows of the report.
const (
	execTrue    = "exec of true"
	initMemory  = "memory of init, KiB"
	allMemory   = "memory of init and its sessions, KiB"
	descriptors = "descriptors of init"
	cgroups     = "cgroups of the container"
	tasks       = "processes of the container"
	initCPU     = "CPU time of them in a second, µs"
)

// The columns of what is counted of one container.
const (
	fresh       = "after the rounds"
	worn        = "after as many execs"
	withSession = "with a session open"
)

const (
	dockers   = "docker"
	crun      = "crun, below podman"
	dockerEnd = "unix:///run/bench-docker.sock"
	dockerDir = benchDir + "/docker"
	podmanID  = benchDir + "/podman-id"
	aside     = "bench-exec"
)

// executor is one way to run a command in a container that runs.
type executor struct {
	name  string
	start [][]string
	exec  func() []string // the command's words come behind
	stop  []string
}

func docker(words ...string) []string {
	return append([]string{"docker", "--host", dockerEnd}, words...)
}

func podman(words ...string) []string {
	return append([]string{"podman", "--root", imageDir + "/podman", "--runroot", "/run/bench-podman"}, words...)
}

// The container that cocker has sessions in.
const (
	sessionName = "bench-alone-0"
	sessionUnit = "cocker@" + sessionName + ".service"
)

// executors are cocker and its peers, whose containers have no network and no limits
// either: a test host has no cgroup controllers.
func executors() []executor {
	always := func(words ...string) func() []string { return func() []string { return words } }
	return []executor{
		{
			name:  cockers,
			start: [][]string{{"systemctl", "start", sessionUnit}},
			exec:  always("cocker", "exec", sessionName),
			stop:  []string{"systemctl", "stop", sessionUnit},
		},
		{
			name: podmans,
			start: [][]string{podman("run", "--quiet", "--detach", "--name", aside, "--cidfile", podmanID, "--network", "none",
				"--cgroups", "disabled", "--rootfs", benchRoot, "sleep", "infinity")},
			exec: always(podman("exec", aside)...),
			stop: podman("rm", "--force", "--time", "0", aside),
		},
		{
			name: crun, // in podman's container
			exec: func() []string {
				id, _ := os.ReadFile(podmanID) // without it crun says so
				return []string{"crun", "exec", string(id)}
			},
		},
		{
			name: dockers,
			start: [][]string{
				{"systemd-run", "--quiet", "--unit=bench-docker", "--property=Delegate=yes", "dockerd", "--host", dockerEnd, "--bridge=none",
					"--iptables=false", "--ip6tables=false", "--data-root", dockerDir, "--exec-root", "/run/bench-docker", "--pidfile", "/run/bench-docker.pid"},
				{"curl", "--silent", "--fail", "--retry", "60", "--retry-all-errors", "--retry-delay", "1", "--unix-socket", strings.TrimPrefix(dockerEnd, "unix://"), "http://docker/_ping"},
				{"sh", "-c", "cocker image export --format docker-archive demo | " + strings.Join(docker("load", "--quiet"), " ")},
				docker("run", "--detach", "--name", aside, "--network", "none", "demo:1.0", "sleep", "infinity"),
			},
			exec: always(docker("exec", aside)...),
			stop: []string{"sh", "-c", strings.Join(docker("rm", "--force", aside), " ") + " && systemctl stop bench-docker"},
		},
	}
}

// measureSessions measures a command in a container that runs, and what many of them and
// one that stays take of cocker's container.
func (b *bench) measureSessions(ctx context.Context) (err error) {
	all := executors()
	for _, x := range all {
		for _, words := range x.start {
			if err := call(ctx, words[0], words[1:]...); err != nil {
				return fmt.Errorf("%s: %w", x.name, err)
			}
		}
		if err := x.verify(ctx); err != nil {
			return fmt.Errorf("%s: %w", x.name, err)
		}
		if x.stop != nil {
			defer func() { err = errors.Join(err, call(ctx, x.stop[0], x.stop[1:]...)) }()
		}
	}
	for round := range b.rounds {
		for i := range all {
			x := all[(round+i)%len(all)]
			took, err := timed(ctx, append(x.exec(), "true"))
			if err != nil {
				return fmt.Errorf("%s: %w", x.name, err)
			}
			b.result.add(execTrue, x.name, took)
		}
	}
	return b.wear(ctx, all[0])
}

// verify makes sure that a command runs in a pid namespace that is not the host's.
func (x executor) verify(ctx context.Context) error {
	words := append(x.exec(), "readlink", "/proc/self/ns/pid")
	inside, err := output(ctx, words[0], words[1:]...)
	if err != nil {
		return err
	}
	own, err := os.Readlink("/proc/self/ns/pid")
	if err == nil && (inside == own || !strings.HasPrefix(inside, "pid:[")) {
		err = fmt.Errorf("a command runs in the pid namespace %q, the host's is %q", inside, own)
	}
	return err
}

// wear counts what a container has before and after many sessions, and with one.
func (b *bench) wear(ctx context.Context, x executor) error {
	if err := b.count(ctx, fresh); err != nil {
		return err
	}
	for range b.execs {
		if err := call(ctx, x.exec()[0], append(x.exec()[1:], "true")...); err != nil {
			return err
		}
	}
	if err := b.count(ctx, worn); err != nil {
		return err
	}
	open := exec.CommandContext(ctx, x.exec()[0], append(x.exec()[1:], "sleep", "infinity")...)
	if err := open.Start(); err != nil {
		return err
	}
	err := awaitSession(ctx)
	if err == nil {
		err = b.count(ctx, withSession)
	}
	err = errors.Join(err, open.Process.Signal(unix.SIGTERM))
	_ = open.Wait() // 143: it has ended by the signal
	return err
}

// awaitSession waits until the command of a session runs beside the container's own.
func awaitSession(ctx context.Context) error {
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		processes, err := processesOf(ctx, sessionUnit)
		if err != nil {
			return err
		}
		commands := 0
		for _, p := range processes {
			if p.isCommand() {
				commands++
			}
		}
		if commands == 2 {
			return nil
		}
	}
	return errors.New("the session's command does not run")
}

// idleTime is how long the CPU time of an idle container is counted.
const idleTime = 10 * time.Second

// count adds what cocker's container has now to a column of the report.
func (b *bench) count(ctx context.Context, column string) error {
	main, err := output(ctx, "systemctl", "show", "--property=MainPID", "--value", sessionUnit)
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(main)
	if err != nil {
		return err
	}
	before, _, err := ours(ctx)
	if err != nil {
		return err
	}
	time.Sleep(idleTime)
	after, kibibytes, err := ours(ctx)
	if err != nil {
		return err
	}
	files, err := os.ReadDir(process(pid).path("fd"))
	if err != nil {
		return err
	}
	processes, err := processesOf(ctx, sessionUnit)
	if err != nil {
		return err
	}
	groups, err := cgroupsOf(ctx, sessionUnit)
	if err != nil {
		return err
	}
	b.result.add(initMemory, column, float64(process(pid).privateDirty()))
	b.result.add(allMemory, column, float64(kibibytes))
	b.result.add(initCPU, column, float64((after-before).Microseconds())/idleTime.Seconds())
	b.result.add(descriptors, column, float64(len(files)))
	b.result.add(cgroups, column, float64(groups))
	b.result.add(tasks, column, float64(len(processes)))
	return nil
}

// ours is the CPU time and the private memory of cocker's processes in the container.
func ours(ctx context.Context) (used time.Duration, kibibytes int, err error) {
	processes, err := processesOf(ctx, sessionUnit)
	for _, p := range processes {
		if !p.isCommand() {
			used += p.onCPU()
			kibibytes += p.privateDirty()
		}
	}
	return used, kibibytes, err
}

// onCPU is the time that the threads of a process have run, to the nanosecond
// (Documentation/scheduler/sched-stats.rst of the kernel).
func (p process) onCPU() (total time.Duration) {
	threads, _ := filepath.Glob(p.path("task/*/schedstat")) // the only error is a bad pattern
	for _, path := range threads {
		data, _ := os.ReadFile(path) // none if it has ended
		if fields := strings.Fields(string(data)); len(fields) == 3 {
			n, _ := strconv.ParseInt(fields[0], 10, 64)
			total += time.Duration(n)
		}
	}
	return total
}

// cgroupsOf counts the cgroups of a unit, its own included.
func cgroupsOf(ctx context.Context, unit string) (n int, err error) {
	group, err := output(ctx, "systemctl", "show", "--property=ControlGroup", "--value", unit)
	if err != nil {
		return 0, err
	}
	err = filepath.WalkDir("/sys/fs/cgroup"+group, func(_ string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			n++
		}
		return err
	})
	return n, err
}
