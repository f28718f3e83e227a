// Command security runs one probe, tests/probe, in a container of cocker, of Docker, of
// Podman and of systemd-nspawn, each with its defaults, on one test host, and prints what
// came of each try side by side, as a table in Markdown. With -write it replaces the table
// in docs/security.md. It imports tests/host only and uses each engine as a user does.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/cocker/cocker/tests/host"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "security:", err)
		os.Exit(1)
	}
}

// attempt is one line of the probe's report.
type attempt struct{ Name, Result, Detail string }

func run(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	flags := flag.NewFlagSet("security", flag.ContinueOnError)
	flags.SetOutput(stderr)
	page := flags.String("write", "", "the page to replace the table of")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("a test host needs root: run this as root")
	}
	h, err := host.New(ctx, host.Config{Release: host.Trixie, Cocker: true, Progress: stderr, Extra: host.Docker()})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	if err := prepare(ctx, h); err != nil {
		return err
	}
	columns := make([]column, len(engines))
	for i, e := range engines {
		if columns[i], err = e.probe(ctx, h); err != nil {
			return err
		}
	}
	text := table(columns, time.Now())
	if *page == "" {
		_, err = io.WriteString(stdout, text)
		return err
	}
	return replaceTable(*page, text)
}

// root is the file system that all of them run the probe in: a busybox.
const root = "/var/lib/cocker/compare/root"

// prepare makes the root, and of it the images.
func prepare(ctx context.Context, h *host.Host) error {
	probe, err := buildProbe(ctx)
	if err != nil {
		return err
	}
	const script = `set -e
		mkdir -p "$1" && cd "$1" && mkdir -p bin dev etc proc run sys tmp usr var root
		chmod 1777 tmp && cat >bin/probe && cp /usr/bin/busybox bin/ && ln -sf busybox bin/sh && chmod 755 bin/probe
		printf 'root:x:0:0::/root:/bin/sh\n' >etc/passwd && printf 'root:x:0:\n' >etc/group && printf 'ID=probe\n' >etc/os-release
		cocker image import "$1" probe:1 >/dev/null`
	r, err := h.Command(ctx, "/bin/sh", "-c", script, "sh", root).Exec(bytes.NewReader(probe))
	if err != nil || r.ExitCode != 0 {
		return fmt.Errorf("make the root: %w%s", err, r.Stderr)
	}
	return nil
}

func buildProbe(ctx context.Context) ([]byte, error) {
	checkout, err := host.Checkout()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "probe")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "probe")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", path, "./tests/probe")
	build.Dir, build.Env = checkout, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the probe: %w\n%s", err, out)
	}
	return os.ReadFile(path)
}

// engine is one that runs containers.
type engine struct {
	name, version string // version is a script
	run           string // a script that prints what the probe does
	about         string // how it runs, for people
}

// docker has a daemon of its own, without rules and a bridge: the host's tables are cocker's.
const docker = `docker --host unix:///run/compare-docker.sock`

var engines = []engine{
	{
		name: "cocker", version: `cocker version | head -n1`,
		run:   `cocker run --rm probe:1 /bin/probe`,
		about: "`cocker run`",
	},
	{
		name: "Docker", version: `docker --version`,
		run: `set -e
			systemd-run --quiet --unit=compare-docker --property=Delegate=yes dockerd --host unix:///run/compare-docker.sock --bridge=none \
				--iptables=false --ip6tables=false --data-root /var/lib/cocker/compare/docker --exec-root /run/compare-docker --pidfile /run/compare-docker.pid
			curl --silent --fail --retry 60 --retry-all-errors --retry-delay 1 --unix-socket /run/compare-docker.sock http://docker/_ping >/dev/null
			tar -C ` + root + ` -c . | ` + docker + ` import - probe:1 >/dev/null
			` + docker + ` run --rm --network none probe:1 /bin/probe
			systemctl stop compare-docker`,
		about: "`docker run --network none`",
	},
	{
		name: "Podman", version: `podman --version`,
		run:   `podman run --rm --quiet --network none --cgroups disabled --rootfs ` + root + ` /bin/probe`,
		about: "`podman run --network none --cgroups disabled`, as root",
	},
	{
		name: "systemd-nspawn", version: `systemd-nspawn --version | head -n1`,
		run:   `systemd-nspawn --quiet --machine=compare --directory=` + root + ` -U --private-network --as-pid2 /bin/probe`,
		about: "`systemd-nspawn -U --private-network --as-pid2`; systemd-nspawn@.service has `-U`, too",
	},
}

// column is what the probe found in one engine's container.
type column struct {
	engine
	version string
	report  []attempt
	failed  string // why it did not run
}

func (e engine) probe(ctx context.Context, h *host.Host) (column, error) {
	c := column{engine: e}
	version, err := h.Command(ctx, "/bin/sh", "-c", e.version).Exec(nil)
	if err != nil {
		return c, err
	}
	c.version = firstLine(version.Stdout)
	r, err := h.Command(ctx, "/bin/sh", "-c", e.run).Exec(nil)
	if err != nil {
		return c, err
	}
	if err := json.Unmarshal([]byte(r.Stdout), &c.report); err != nil {
		c.failed = fmt.Sprintf("%s: exit status %d: %s%s", e.name, r.ExitCode, firstLine(r.Stderr), firstLine(r.Stdout))
		fmt.Fprintln(os.Stderr, c.failed, r.Stderr)
	}
	return c, nil
}
