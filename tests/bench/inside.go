package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// The measurements, as rows of the report.
const (
	start     = "start"
	stop      = "stop"
	once      = "run to its end"
	atOnce    = "many at once, each"
	memory    = "memory on the host, KiB"
	generator = "generator"
)

// bench is a run on a test host.
type bench struct {
	settings
	contenders []contender
	engines    []engine
	result     *result
	progress   io.Writer
}

func measureInside(ctx context.Context, s settings, stdout, stderr io.Writer) error {
	b := &bench{settings: s, contenders: contenders(), result: newResult(machine(), s), progress: stderr}
	phases := []struct {
		group string // "": always
		name  string
		run   func(context.Context) error
	}{
		{"", "make what is measured", b.prepare},
		{"start", "check that it runs", b.verify},
		{"start", "start, stop", b.startStop},
		{"start", "run to the end", b.runOnce},
		{"start", "many at once, memory", b.startMany},
		{"start", "memory without an init", b.memoryWithoutInit},
		{"sessions", "sessions", b.measureSessions},
		{"network", "make networks", b.prepareNetworks},
		{"network", "check that they run", b.tryNetworks},
		{"network-start", "start with a network", b.startNetworks},
		{"network-traffic", "throughput", b.measureTraffic},
		{"network-names", "names", b.measureNames},
		{"network-crowd", "crowds", b.startCrowds},
		{"generator", "generator", b.generate},
		{"images", "make images", b.prepareImages},
		{"images", "images", b.measureImages},
	}
	var failed error // what was measured before it is told all the same
	for _, phase := range phases {
		if !selected(s.only, phase.group) {
			continue
		}
		fmt.Fprintln(stderr, "bench:", phase.name)
		if err := phase.run(ctx); err != nil {
			failed = fmt.Errorf("%s: %w", phase.name, err)
			break
		}
	}
	return errors.Join(failed, json.NewEncoder(stdout).Encode(b.result))
}

func (b *bench) prepare(ctx context.Context) error {
	script := fmt.Sprintf(`set -e
		cocker image demo >/dev/null
		mkdir -p %[1]s && cp -a /var/lib/cocker/layers/sha256/* %[2]s
		mkdir -p %[2]s/proc %[2]s/sys %[2]s/dev %[2]s/run %[2]s/tmp %[2]s/var/tmp %[2]s/usr
		for i in $(seq 0 %[3]d); do cp -al %[2]s %[1]s/root-$i; done`, benchDir, benchRoot, b.many)
	if err := call(ctx, "sh", "-c", script); err != nil {
		return err
	}
	for _, c := range append(b.contenders, withoutInit()) {
		for n := range b.many + 1 {
			if err := writeAll(c.files(n)); err != nil {
				return err
			}
		}
	}
	unlimited := file{"/etc/systemd/system/cocker@.service.d/bench.conf", "[Unit]\nStartLimitIntervalSec=0\n"}
	if err := writeAll([]file{unlimited}); err != nil {
		return err
	}
	return call(ctx, "systemctl", "daemon-reload")
}

// startStop starts and stops each contender once a round. Who comes first
// changes: it follows another one's stop, of which something may still go on.
func (b *bench) startStop(ctx context.Context) error {
	return inTurn(b.contenders, b.rounds, func(c contender) error {
		if err := b.time(ctx, start, c, "systemctl", "start", c.unit(0)); err != nil {
			return err
		}
		return b.time(ctx, stop, c, "systemctl", "stop", c.unit(0))
	})
}

func (b *bench) runOnce(ctx context.Context) error {
	return inTurn(b.contenders, b.rounds, func(c contender) error { return b.time(ctx, once, c, c.once...) })
}

func (b *bench) startMany(ctx context.Context) error {
	return inTurn(b.contenders, b.batches, func(c contender) error {
		var units []string
		for n := 1; n <= b.many; n++ {
			units = append(units, c.unit(n))
		}
		took, err := timed(ctx, append([]string{"systemctl", "start"}, units...))
		if err != nil {
			return err
		}
		b.result.add(atOnce, c.name, took/float64(b.many))
		for _, unit := range units {
			if err := b.memoryOf(ctx, c.name, unit); err != nil {
				return err
			}
		}
		return call(ctx, "systemctl", append([]string{"stop"}, units...)...)
	})
}

func (b *bench) memoryOf(ctx context.Context, name, unit string) error {
	processes, err := processesOf(ctx, unit)
	if err != nil {
		return err
	}
	kibibytes := 0
	for _, p := range processes {
		if !p.isCommand() {
			kibibytes += p.privateDirty()
		}
	}
	b.result.add(memory, name, float64(kibibytes))
	return nil
}

func (b *bench) memoryWithoutInit(ctx context.Context) error {
	c := withoutInit()
	if err := verify(ctx, c); err != nil {
		return err
	}
	if err := call(ctx, "systemctl", "start", c.unit(0)); err != nil {
		return err
	}
	if err := b.memoryOf(ctx, c.name, c.unit(0)); err != nil {
		return err
	}
	return call(ctx, "systemctl", "stop", c.unit(0))
}

// generate runs the generator as systemd does at boot and at daemon-reload.
func (b *bench) generate(ctx context.Context) error {
	const containers = "/etc/cocker/containers"
	if err := os.RemoveAll(containers); err != nil {
		return err
	}
	for n := range b.files {
		f := file{fmt.Sprintf("%s/many-%d.toml", containers, n), fmt.Sprintf(`description = "Container %d"
image = "demo"
[environment]
TZ = "UTC"
[network]
ports = ["%d:80"]
[resources]
memory_max = "512M"
[service]
Restart = "on-failure"
[install]
wanted_by = ["multi-user.target"]
`, n, 10000+n)}
		if err := writeAll([]file{f}); err != nil {
			return err
		}
	}
	for range 10 {
		out := "/run/bench-generator"
		words := []string{"/usr/lib/systemd/system-generators/cocker-generator", out + "/normal", out + "/early", out + "/late"}
		took, err := timed(ctx, words)
		if err != nil {
			return err
		}
		b.result.add(generator, noNetwork, took)
		if err := os.RemoveAll(out); err != nil {
			return err
		}
	}
	return nil
}

// inTurn does something with each, in rounds; another one is the first in each.
func inTurn[T interface{ label() string }](all []T, rounds int, do func(T) error) error {
	for round := range rounds {
		for _, one := range slices.Concat(all[round%len(all):], all[:round%len(all)]) {
			if err := do(one); err != nil {
				return fmt.Errorf("%s: %w", one.label(), err)
			}
		}
	}
	return nil
}

func (b *bench) time(ctx context.Context, measure string, c contender, words ...string) error {
	took, err := timed(ctx, words)
	if err == nil {
		b.result.add(measure, c.name, took)
	}
	return err
}

// deadline ends a command that hangs.
const deadline = 2 * time.Minute

// timed runs a command and returns the milliseconds from its fork to its end.
func timed(ctx context.Context, words []string) (milliseconds float64, err error) {
	began := time.Now()
	err = call(ctx, words[0], words[1:]...)
	return float64(time.Since(began).Microseconds()) / 1000, err
}

func call(ctx context.Context, name string, args ...string) error {
	_, err := output(ctx, name, args...)
	return err
}

func output(ctx context.Context, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	var stderr strings.Builder
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, stderr.String())
	}
	return strings.TrimSuffix(string(out), "\n"), nil
}

func writeAll(files []file) error {
	for _, f := range files {
		if err := os.MkdirAll(filepath.Dir(f.path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(f.path, []byte(f.content), 0o644); err != nil {
			return err
		}
	}
	return nil
}
