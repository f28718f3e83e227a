// Command bench measures cocker beside what systemd can do by itself, its sessions beside
// those of podman and docker, its networks beside theirs and systemd-nspawn's, and its
// images beside podman's and those of skopeo and umoci: in one run,
// on one test host, round by round, so that whatever else the machine does hits
// all of them alike. It owns the contenders, the measurements and the report. It
// imports tests/host only and uses cocker as a user does.
//
// The program boots a host, copies itself into it and runs there as "bench
// inside", which prints its samples, as "bench unsynced" and, to be the host's resolver,
// as "bench upstream". What is timed is a program that a user would
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
	"time"

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
	only    string // the groups of measurements; "": all

	execs       int // in a row
	imageRounds int // of pull, first start, prune and import

	trafficRounds int // of streams and of questions for names
	seconds       int // that each of those lasts
	crowd         int // containers of one engine that are there at a time
	patience      time.Duration
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) > 0 && args[0] == "unsynced" {
		return execUnsynced(args[1:])
	}
	if len(args) == 2 && args[0] == "upstream" {
		return upstream(args[1])
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
	flags.IntVar(&s.trafficRounds, "traffic-rounds", 5, "rounds of throughput and names")
	flags.IntVar(&s.seconds, "seconds", 3, "seconds of each stream and of each row of questions")
	flags.IntVar(&s.crowd, "crowd", 500, "containers with a network that run at a time")
	flags.DurationVar(&s.patience, "patience", 3*time.Minute, "the most for an engine to start a crowd at once, and again one by one")
	flags.StringVar(&s.only, "only", "", "measure only these `groups`, with commas between: "+strings.Join(groups(), ", "))
	flags.BoolVar(&s.asJSON, "json", false, "print every sample as JSON")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if err := checkGroups(s.only); err != nil {
		return err
	}
	if inside {
		return measureInside(ctx, s, stdout, stderr)
	}
	result, err := measureOnHost(ctx, s, stderr)
	if result == nil {
		return err
	}
	if s.asJSON {
		return errors.Join(err, json.NewEncoder(stdout).Encode(result))
	}
	_, writeErr := io.WriteString(stdout, result.report())
	return errors.Join(err, writeErr)
}

// program is where the host has this program.
const program = "/usr/local/bin/cocker-bench"

// measureOnHost returns what was measured, with an error that which came before it.
func measureOnHost(ctx context.Context, s settings, stderr io.Writer) (result *result, err error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("a test host needs root: run this as root")
	}
	h, err := host.New(ctx, host.Config{Release: host.Trixie, Cocker: true, Progress: stderr, Extra: peers()})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	if err := copyIn(ctx, h); err != nil {
		return nil, err
	}
	cmd := h.Command(ctx, program, "inside",
		"-rounds", strconv.Itoa(s.rounds), "-batches", strconv.Itoa(s.batches),
		"-many", strconv.Itoa(s.many), "-files", strconv.Itoa(s.files), "-image-rounds", strconv.Itoa(s.imageRounds), "-execs", strconv.Itoa(s.execs),
		"-traffic-rounds", strconv.Itoa(s.trafficRounds), "-seconds", strconv.Itoa(s.seconds), "-crowd", strconv.Itoa(s.crowd),
		"-patience", s.patience.String(), "-only", s.only)
	cmd.Stderr = stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("measure on the host: %w", err)
	}
	if len(out) == 0 {
		return nil, err
	}
	if jsonErr := json.Unmarshal(out, &result); jsonErr != nil {
		return nil, errors.Join(err, fmt.Errorf("read the samples: %w", jsonErr))
	}
	return result, err
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
