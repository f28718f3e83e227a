package tests

import (
	"maps"
	"strings"
	"testing"

	"github.com/cocker/cocker/tests/host"
)

// onCleanHost runs a test that declares containers on the shared host of each
// release, at the same time. When it is over the containers are stopped, and then
// removed; each time the host must be as it was.
func onCleanHost(t *testing.T, test func(t *testing.T, h *host.Host)) {
	t.Helper()
	for _, release := range host.Releases() {
		t.Run(string(release), func(t *testing.T) {
			t.Parallel() // two hosts share nothing
			cleanly(t, host.Shared(t, release), test)
		})
	}
}

// onVirtualHost is onCleanHost for what only a virtual machine has: all controllers
// of cgroup v2, a kernel and a clock of its own, power.
func onVirtualHost(t *testing.T, test func(t *testing.T, h *host.Host)) {
	t.Helper()
	if !*host.InVirtualMachines {
		t.Skip("needs a virtual machine: make test-vm")
	}
	onCleanHost(t, test)
}

func cleanly(t *testing.T, h *host.Host, test func(t *testing.T, h *host.Host)) {
	t.Helper()
	// The first container of a host makes the network and directories that stay.
	h.MustRun(t, `cocker image inspect demo >/dev/null 2>&1 || cocker image demo >/dev/null
		[ -d /run/cocker/networks ] || cocker run --rm demo true; mkdir -p -m 700 /run/cocker/pods`)
	before := settled(t, h)
	defer func() {
		stopAll(t, h)
		assertStopped(t, h, before)
		removeAll(t, h)
		h.AssertClean(t, before)
	}()
	test(t, h)
}

// settled is a snapshot of a host on which nothing is on its way out: a launcher that
// has said READY=1, and the link, the machine and the ports of a container that has
// ended go by themselves, but not at once.
func settled(t *testing.T, h *host.Host) host.Leftovers {
	t.Helper()
	h.WaitFor(t, eventually, "what is on its way out to be gone", `
		states() { cat /run/cocker/state/*.json 2>/dev/null; }
		cmp_lines() { [ "$(printf '%s\n' "$1" | sort)" = "$(printf '%s\n' "$2" | sort)" ] || { echo "$3: $2, want: $1"; exit 1; }; }
		cmp_lines "" "$(ps -e -o comm= | grep '^cocker-[lg]')" processes
		cmp_lines "$(states | jq -r '.host_interface, .joins[]?.host_interface | select(. != null)' | sort -u)" "$(ip -o link show type veth | sed 's/^[0-9]*: //; s/[@:].*//; /^eth0$/d')" links
		cmp_lines "$(states | jq -r .name)" "$(machinectl list --no-legend | awk '$3 == "cocker" { print $1 }')" machines
		cmp_lines "" "$(nft list ruleset | grep -w expires)" ports
		cmp_lines "" "$(systemctl list-units --all --plain --no-legend 'cocker*' | grep activating)" units`)
	return h.Snapshot(t)
}

func stopAll(t *testing.T, h *host.Host) {
	t.Helper()
	h.MustRun(t, `timeout 100 systemctl stop 'cocker@*.service'; systemctl reset-failed 'cocker@*.service' 2>/dev/null || :`)
}

// assertStopped asserts that stopped containers have left nothing but their
// writable layers.
func assertStopped(t *testing.T, h *host.Host, before host.Leftovers) {
	t.Helper()
	h.AssertClean(t, before, "state file")
}

func removeAll(t *testing.T, h *host.Host) {
	t.Helper()
	h.MustRun(t, `
		cocker ps -a --json | jq -r '.[].name' | xargs -r -n1 cocker rm -f >/dev/null
		rm -rf /etc/cocker/containers/* /run/cocker/containers/* /srv/*
		cocker image ls --json | jq -r '.[].reference | select(startswith("demo:") | not)' | xargs -r cocker image rm >/dev/null
		systemctl reset-failed 'cocker*' 2>/dev/null
		systemctl daemon-reload`)
}

// declare writes the files of containers, given by name, and makes systemd read them.
func declare(t *testing.T, h *host.Host, files map[string]string) {
	t.Helper()
	for name, toml := range files {
		h.WriteFile(t, "/etc/cocker/containers/"+name+".toml", toml, 0o644)
	}
	h.MustRun(t, "systemctl daemon-reload")
}

// start declares one container, starts it, and waits for the end of its launcher, which
// exits after the unit has started.
func start(t *testing.T, h *host.Host, name, toml string) {
	t.Helper()
	declare(t, h, map[string]string{name: toml})
	h.MustRun(t, `timeout 60 systemctl start cocker@"$1" || { systemctl status --no-pager cocker@"$1" >&2; exit 1; }`, name)
	h.WaitFor(t, eventually, "the launcher's end", "! pgrep -x cocker-launch")
}

// refused declares one container and asserts that systemctl start fails, that
// systemctl status tells each of the reasons, and that nothing is left.
func refused(t *testing.T, h *host.Host, name, toml string, reasons ...string) {
	t.Helper()
	declare(t, h, map[string]string{name: toml})
	failsToStart(t, h, name, reasons...)
}

func failsToStart(t *testing.T, h *host.Host, name string, reasons ...string) {
	t.Helper()
	before := settled(t, h)
	if r := h.Run(t, `timeout 60 systemctl start cocker@"$1"`, name); r.ExitCode != 1 {
		t.Errorf("start of %s: exit status %d, want 1", name, r.ExitCode)
	}
	status := statusOf(t, h, name)
	for _, reason := range reasons {
		if !strings.Contains(status, reason) {
			t.Errorf("%q is not in the status of %s:\n%s", reason, name, status)
		}
	}
	h.MustRun(t, `systemctl reset-failed cocker@"$1"`, name)
	assertStopped(t, h, before)
}

// statusOf is what systemctl status prints of a container.
func statusOf(t *testing.T, h *host.Host, name string) string {
	t.Helper()
	return h.Run(t, `journalctl --sync; systemctl status --no-pager --full --lines=50 cocker@"$1"`, name).Stdout
}

// properties are those that systemctl show prints of a container's unit.
func properties(t *testing.T, h *host.Host, name string, keys ...string) map[string]string {
	t.Helper()
	return propertiesOf(t, h, "cocker@"+name, keys...)
}

func propertiesOf(t *testing.T, h *host.Host, unit string, keys ...string) map[string]string {
	t.Helper()
	text := h.MustRun(t, `systemctl show -p "$2" "$1"`, unit, strings.Join(keys, ","))
	values := map[string]string{}
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		values[key] = value
	}
	return values
}

func assertProperties(t *testing.T, h *host.Host, name string, want map[string]string) {
	t.Helper()
	var keys []string
	for key := range want {
		keys = append(keys, key)
	}
	if got := properties(t, h, name, keys...); !maps.Equal(got, want) {
		t.Errorf("%s: got %v, want %v", name, got, want)
	}
}

// mainPID is the container's PID 1 as the host numbers it.
func mainPID(t *testing.T, h *host.Host, name string) string {
	t.Helper()
	return properties(t, h, name, "MainPID")["MainPID"]
}

// inside runs a script in a running container, as root in all of its namespaces.
func inside(t *testing.T, h *host.Host, name, script string) string {
	t.Helper()
	return h.MustRun(t, `exec nsenter --all --target "$(systemctl show -P MainPID cocker@"$1")" /bin/sh -c "$2"`, name, script)
}

// ended is how a container's command ended: what it wrote, and systemd's view.
type ended struct {
	output                     string
	startFailed                bool // systemctl start --wait did
	Result, Code, Status, Text string
}

// runJob declares a container, starts it and waits for its end.
func runJob(t *testing.T, h *host.Host, name, toml string) ended {
	t.Helper()
	declare(t, h, map[string]string{name: toml})
	return runAgain(t, h, name)
}

func runAgain(t *testing.T, h *host.Host, name string) (e ended) {
	t.Helper()
	since := now(t, h)
	e.startFailed = h.Run(t, `timeout 60 systemctl start --wait cocker@"$1"`, name).ExitCode != 0
	p := properties(t, h, name, "Result", "ExecMainCode", "ExecMainStatus", "StatusText")
	e.Result, e.Code, e.Status, e.Text = p["Result"], p["ExecMainCode"], p["ExecMainStatus"], p["StatusText"]
	e.output = h.MustRun(t, `journalctl --sync; journalctl -q -o cat --since="$2" -u cocker@"$1" SYSLOG_IDENTIFIER="$1"`, name, since)
	return e
}

// now is the time as journalctl --since= takes it.
func now(t *testing.T, h *host.Host) string {
	t.Helper()
	return h.MustRun(t, "date +@%s.%6N")
}

// output runs a container to its end and returns what it wrote.
func output(t *testing.T, h *host.Host, name, toml string) string {
	t.Helper()
	e := runJob(t, h, name, toml)
	if e.startFailed {
		t.Errorf("%s: %+v\n%s", name, e, statusOf(t, h, name))
	}
	return e.output
}

// sh is the command of a TOML file that runs a shell script.
func sh(script string) string {
	return "command = [\"sh\", \"-c\", '''\n" + script + "\n''']\n"
}

// importTree makes an image of a directory that a script fills; it is its working
// directory.
func importTree(t *testing.T, h *host.Host, name, script string, options ...string) {
	t.Helper()
	h.MustRun(t, `set -e; name=$1; script=$2; shift 2
		tree=$(mktemp -d); cd "$tree"; chmod 755 .; eval "$script"
		cd /; cocker image import "$@" "$tree" "$name" >/dev/null; rm -rf "$tree"`, append([]string{name, script}, options...)...)
}
