// Command bench measures cocker beside what systemd can do by itself, its sessions beside
// those of podman and docker, and its images
// beside podman's and those of skopeo and umoci: in one run,
// on one test host, round by round, so that whatever else the machine does hits
// all of them alike. It owns the contenders, the measurements and the report. It
// imports tests/host only and uses cocker as a user does.
//
// The program boots a host, copies itself into it and runs there as "bench
// inside", which prints its samples, and as "bench unsynced". What is timed is a program that a user would
// call, systemctl(1) for one, from fork to exit.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"github.com/cocker/cocker/tests/host"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// settings are how much is measured.
type settings struct {
	rounds  int // of one start and one stop of every contender, of one run to its end, and of one exec
	batches int // of many starts at once
	many    int
	files   int // that the generator reads
	asJSON  bool

	execs       int // in a row
	imageRounds int // of pull, first start, prune and import
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) > 0 && args[0] == "unsynced" {
		return execUnsynced(args[1:])
	}
	inside := len(args) > 0 && args[0] == "inside"
	if inside {
		args = args[1:]
	}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	var s settings
	flags.IntVar(&s.rounds, "rounds", 40, "rounds of start, stop and run")
	flags.IntVar(&s.batches, "batches", 5, "rounds of many starts at once")
	flags.IntVar(&s.many, "many", 60, "containers to start at once")
	flags.IntVar(&s.files, "files", 1000, "container files for the generator")
	flags.IntVar(&s.execs, "execs", 1000, "commands in one container, one after the other")
	flags.IntVar(&s.imageRounds, "image-rounds", 3, "rounds of images: pull, first start, prune, import")
	flags.BoolVar(&s.asJSON, "json", false, "print every sample as JSON")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if inside {
		return measureInside(ctx, s, stdout, stderr)
	}
	result, err := measureOnHost(ctx, s, stderr)
	if err != nil {
		return err
	}
	if s.asJSON {
		return json.NewEncoder(stdout).Encode(result)
	}
	_, err = io.WriteString(stdout, result.report())
	return err
}

// program is where the host has this program.
const program = "/usr/local/bin/cocker-bench"

func measureOnHost(ctx context.Context, s settings, stderr io.Writer) (result *result, err error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("a test host needs root: run this as root")
	}
	h, err := host.New(ctx, host.Config{Release: host.Trixie, Cocker: true, Progress: stderr, Extra: host.Docker()})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	if err := copyIn(ctx, h); err != nil {
		return nil, err
	}
	cmd := h.Command(ctx, program, "inside",
		"-rounds", strconv.Itoa(s.rounds), "-batches", strconv.Itoa(s.batches),
		"-many", strconv.Itoa(s.many), "-files", strconv.Itoa(s.files), "-image-rounds", strconv.Itoa(s.imageRounds), "-execs", strconv.Itoa(s.execs))
	cmd.Stderr = stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("measure on the host: %w", err)
	}
	if err := json.Unmarshal(out, &result); err != nil {
		return nil, fmt.Errorf("read the samples: %w", err)
	}
	return result, nil
}

func copyIn(ctx context.Context, h *host.Host) error {
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer self.Close()
	copied, err := h.Command(ctx, "/bin/sh", "-c", "cat >"+program+" && chmod 755 "+program).Exec(self)
	if err != nil || copied.ExitCode != 0 {
		return fmt.Errorf("copy this program to the host: %w%s", err, copied.Stderr)
	}
	return nil
}

// machine says in one line what was measured on.
func machine() string {
	load, _ := os.ReadFile("/proc/loadavg")
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	average, _, _ := strings.Cut(string(load), " ")
	return fmt.Sprintf("%d processors, Linux %s, load %s at the start", runtime.NumCPU(), strings.TrimSpace(string(kernel)), average)
}
