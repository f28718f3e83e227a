package tests

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/tests/host"
)

// usage is a line of "cocker stats --json".
type usage struct {
	Time           string   `json:"time"`
	Name           string   `json:"name"`
	CPUPercent     *float64 `json:"cpu_percent"`
	CPUUsec        uint64   `json:"cpu_usec"`
	Memory         *uint64  `json:"memory_bytes"`
	MemoryCurrent  *uint64  `json:"memory_current_bytes"`
	MemoryMax      *uint64  `json:"memory_max_bytes"`
	IOWrite        *uint64  `json:"io_write_bytes"`
	NetReceived    *uint64  `json:"network_received_bytes"`
	NetSent        *uint64  `json:"network_sent_bytes"`
	CPUPressure    *float64 `json:"cpu_pressure"`
	MemoryPressure *float64 `json:"memory_pressure"`
	Pids           *uint64  `json:"pids"`
	PidsMax        *uint64  `json:"pids_max"`
}

// statsOf are the containers of one sample.
func statsOf(t *testing.T, h *host.Host, flags string) (all []usage) {
	t.Helper()
	for line := range strings.Lines(h.MustRun(t, "cocker stats --no-stream --json --interval 500ms "+flags)) {
		var u usage
		if err := json.Unmarshal([]byte(line), &u); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		all = append(all, u)
	}
	return all
}

func cpuUsec(t *testing.T, h *host.Host, name string) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(h.MustRun(t, `sed -n 's/^usage_usec //p' "/sys/fs/cgroup$(systemctl show -P ControlGroup cocker@"$1")/cpu.stat"`, name), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

const burner = "command = ['sh', '-c', 'while :; do :; done']\n"

// Every number is what the kernel says of the container, and null where it says nothing.
func TestStats(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		start(t, h, "busy", "image = 'demo'\n"+burner+"[resources]\ncpu_weight = 1\nmemory_max = '64M'\ntasks_max = 99\n")
		start(t, h, "idle", "image = 'demo'\ncommand = ['sleep', '100000']\n")
		start(t, h, "hosted", "image = 'demo'\ncommand = ['sleep', '100000']\n[network]\nmode = 'host'\n")
		before := cpuUsec(t, h, "busy")
		all := statsOf(t, h, "")
		if len(all) != 3 || all[0].Name != "busy" { // sorted by cpu
			t.Fatalf("%+v", all)
		}
		busy := all[0]
		if after := cpuUsec(t, h, "busy"); busy.CPUUsec < before || busy.CPUUsec > after {
			t.Errorf("busy has used %d us; the kernel said %d before and %d after", busy.CPUUsec, before, after)
		}
		if busy.CPUPercent == nil || *busy.CPUPercent <= 1 || *busy.CPUPercent > 110 { // of one CPU, shared with other tests
			t.Errorf("busy uses %v %%", show(busy.CPUPercent))
		}
		byName := map[string]usage{}
		for _, u := range all {
			byName[u.Name] = u
		}
		if u := byName["hosted"]; u.NetReceived != nil || u.NetSent != nil {
			t.Errorf("the host's links are the container's: %+v", u)
		}
		assertControllers(t, h, busy)

		// What the container's own link counts.
		const counted = `cocker exec idle sed -n 's/^ *eth0: *//p' /proc/net/dev | awk '{print $1}'`
		h.MustRun(t, `ping -q -c 20 -i 0.002 -s 1000 "$(cocker ps --json | jq -r '.[]|select(.name=="idle").address')"`)
		low := h.MustRun(t, counted)
		got := statsOf(t, h, "idle")
		high := h.MustRun(t, counted)
		if a, b := atoi(t, low), atoi(t, high); len(got) != 1 || got[0].NetReceived == nil || *got[0].NetReceived < a || *got[0].NetReceived > b || a < 20_000 {
			t.Errorf("idle: %+v, its own eth0 has received %s before and %s after", got, low, high)
		}

		if names := h.MustRun(t, "cocker stats --no-stream --interval 200ms --sort name | awk '{print $1}' | xargs"); names != "NAME busy hosted idle" {
			t.Errorf("--sort name: %s", names)
		}
		for _, tt := range []struct{ flags, want string }{
			{"nosuch", `no such container as "nosuch"`},
			{"--sort colour", `--sort "colour" is none of cpu, memory, io, network, pressure, pids, name`},
			{"--interval 1ms", "--interval 1ms is too short"},
		} {
			if r := h.Run(t, "cocker stats "+tt.flags); r.ExitCode != 1 || !strings.Contains(r.Stderr, tt.want) {
				t.Errorf("cocker stats %s: exit status %d, %s", tt.flags, r.ExitCode, r.Stderr)
			}
		}
		h.MustRun(t, "systemctl stop cocker@idle")
		for _, command := range []string{"stats", "top"} {
			if r := h.Run(t, "cocker "+command+" idle"); r.ExitCode != 1 || !strings.Contains(r.Stderr, `container idle is not running; "cocker start idle" starts it`) {
				t.Errorf("cocker %s of what is stopped: exit status %d, %s", command, r.ExitCode, r.Stderr)
			}
		}
	})
}

func atoi(t *testing.T, s string) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func show[T any](v *T) string {
	if v == nil {
		return "nothing"
	}
	return fmt.Sprint(*v)
}

// assertControllers asserts that what a controller counts is there if the container's cgroup
// has it: on a host of namespaces it depends on the machine.
func assertControllers(t *testing.T, h *host.Host, u usage) {
	t.Helper()
	controllers := strings.Fields(h.MustRun(t, `cat "/sys/fs/cgroup$(systemctl show -P ControlGroup cocker@"$1")/cgroup.controllers"`, u.Name))
	for controller, v := range map[string]*uint64{"memory": u.Memory, "pids": u.Pids, "io": u.IOWrite} {
		if slices.Contains(controllers, controller) != (v != nil) {
			t.Errorf("controllers %v, but of %s is said %s", controllers, controller, show(v))
		}
	}
	if u.Memory != nil && (u.MemoryMax == nil || *u.MemoryMax != 64<<20) || u.Pids != nil && (u.PidsMax == nil || *u.PidsMax != 99) {
		t.Errorf("limits: %s, %s", show(u.MemoryMax), show(u.PidsMax))
	}
}

// Containers come into the stream and go from it; a signal ends it cleanly.
func TestStatsFollow(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		start(t, h, "stays", "image = 'demo'\ncommand = ['sleep', '100000']\n")
		declare(t, h, map[string]string{"comes": "image = 'demo'\ncommand = ['sleep', '100000']\n"})
		h.MustRun(t, `mkfifo /srv/status
			( cocker stats --json --interval 200ms >/srv/samples & echo $! >/srv/pid; wait $!; echo $? >/srv/status ) >/dev/null 2>&1 &`)
		h.WaitFor(t, eventually, "samples", "grep -q stays /srv/samples")
		h.MustRun(t, "systemctl start cocker@comes")
		h.WaitFor(t, eventually, "what has come", "grep -q comes /srv/samples")
		h.MustRun(t, "systemctl stop cocker@comes && wc -l </srv/samples >/srv/then")
		h.WaitFor(t, eventually, "samples without what has gone", `[ "$(tail -n 3 /srv/samples | jq -r .name | sort -u)" = stays ] && [ "$(wc -l </srv/samples)" -gt "$(($(cat /srv/then) + 3))" ]`)
		// A container that was started again counts from 0, and has no rate at first.
		h.MustRun(t, "systemctl restart cocker@stays")
		h.WaitFor(t, eventually, "a new run", "jq -r 'select(.name == \"stays\" and .cpu_percent == null) | .name' /srv/samples | grep -q stays")
		if status := h.MustRun(t, `kill -INT "$(cat /srv/pid)"; cat /srv/status`); status != "0" {
			t.Errorf("ended by SIGINT with %s", status)
		}
		if r := h.Run(t, `jq -e 'select(.cpu_percent != null and .cpu_percent < 0)' /srv/samples`); r.Stdout != "" {
			t.Errorf("negative: %s", r.Stdout)
		}
	})
}

// On a terminal the table stays in its place, fits the window, and leaves the terminal as
// it was; what was seen last stays.
func TestStatsOnATerminal(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		for _, name := range []string{"one", "two", "three"} {
			start(t, h, name, "image = 'demo'\ncommand = ['sleep', '100000']\n")
		}
		cmd, screen, master := onTerminal(t, h, "cocker", "stats", "--interval", "200ms", "--sort", "name")
		screen.expect("\x1b[?1049h", "\x1b[?25l", "\x1b[H", "NAME", "one", "three", "two", "\x1b[J", "\x1b[H", "two")
		if err := pty.Setsize(master, &pty.Winsize{Rows: 3, Cols: 40}); err != nil { // SIGWINCH
			t.Fatal(err)
		}
		screen.expect("\x1b[HNAME", "one", "... 2 more")
		if err := cmd.Process.Signal(unix.SIGINT); err != nil {
			t.Fatal(err)
		}
		screen.expect("\x1b[?7h", "\x1b[?25h", "\x1b[?1049l", "NAME", "one", "three", "two")
		if err := cmd.Wait(); err != nil {
			t.Errorf("after SIGINT: %v", err)
		}
	})
}

// topProcess is a line of "cocker top --json".
type topProcess struct {
	PID     int     `json:"pid"`
	HostPID int     `json:"host_pid"`
	User    string  `json:"user"`
	UID     int     `json:"uid"`
	Memory  uint64  `json:"memory_bytes"`
	Command string  `json:"command"`
	CPU     float64 `json:"cpu_percent"`
}

func topOf(t *testing.T, h *host.Host, name string) (all []topProcess) {
	t.Helper()
	for line := range strings.Lines(h.MustRun(t, "cocker top --no-stream --json --interval 500ms --sort pid "+name)) {
		var p topProcess
		if err := json.Unmarshal([]byte(line), &p); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		all = append(all, p)
	}
	return all
}

// The processes are those that the container has, with its own numbers and names of users;
// sessions are among them, and nothing of the host is.
func TestTop(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		start(t, h, "web", "image = 'demo'\nuser = 'daemon'\n"+burner+"[resources]\ncpu_weight = 1\n")
		h.MustRun(t, "cocker exec --user 4711 web sleep 3333 >/dev/null 2>&1 &")
		h.WaitFor(t, eventually, "the session", "cocker exec web ps -o args | grep -q 'sleep 333[3]'")
		all := topOf(t, h, "web")
		find := func(command string) topProcess {
			for _, p := range all {
				if strings.HasPrefix(p.Command, command) {
					return p
				}
			}
			t.Fatalf("no process %q in %+v", command, all)
			return topProcess{}
		}
		command, session := find("sh -c"), find("sleep 3333")
		if command.User != "daemon" || command.UID != 1 || command.CPU <= 1 || session.User != "4711" || session.UID != 4711 {
			t.Errorf("%+v %+v", command, session)
		}
		if all[0].PID != 1 || all[0].User != "root" || fmt.Sprint(all[0].HostPID) != mainPID(t, h, "web") {
			t.Errorf("PID 1: %+v", all[0])
		}
		if rss := h.MustRun(t, `sed -n 's/^VmRSS:[^0-9]*\([0-9]*\) kB/\1/p' /proc/$1/status`, fmt.Sprint(session.HostPID)); session.Memory != atoi(t, rss)<<10 {
			t.Errorf("sleep has %d bytes, the kernel says %s kB", session.Memory, rss)
		}
		if cells := h.MustRun(t, "cocker top --no-stream --interval 200ms --sort pid web | sed -n 1,2p | awk '{print $1, $3}' | xargs"); cells != "PID USER 1 root" {
			t.Error(cells)
		}
		if r := h.Run(t, "cocker top nosuch"); r.ExitCode != 1 || !strings.Contains(r.Stderr, `no such container as "nosuch"`) {
			t.Errorf("of nothing: exit status %d, %s", r.ExitCode, r.Stderr)
		}

		// The container's end is the end of the stream.
		h.MustRun(t, `mkfifo /srv/status; ( cocker top --json --interval 200ms web >/srv/samples; echo $? >/srv/status ) >/dev/null 2>&1 &`)
		h.WaitFor(t, eventually, "samples", "grep -q sleep /srv/samples")
		if status := h.MustRun(t, "systemctl stop cocker@web; cat /srv/status"); status != "0" {
			t.Errorf("after the container's end: %s", status)
		}
	})
}

// Names, command lines and /etc/passwd are the container's to write: none of it reaches the
// terminal as it is, and none of it holds cocker up.
func TestTopOfAHostileContainer(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		start(t, h, "evil", "image = 'demo'\n"+sh(`printf 'ev\033[2Jil:x:0:0::/:/bin/sh\n' >/etc/passwd
			exec sh -c 'while :; do sleep 100000; done' "$(printf 'a\033[31mb\302\233c\nd\177')"`))
		h.WaitFor(t, eventually, "the command", "cocker top --no-stream --interval 100ms evil | grep -q 'a?.31mb?c?d?'")
		for _, flags := range []string{"", "--json"} {
			out := h.MustRun(t, "cocker top --no-stream --interval 100ms "+flags+" evil")
			if strings.ContainsAny(strings.ReplaceAll(out, "\n", ""), "\x1b\x07\x7f\u009b") || !strings.Contains(out, "ev?[2Jil") {
				t.Errorf("%q", out)
			}
		}
		// A fifo that nobody writes to, and a link to the host's file.
		for _, script := range []string{"rm /etc/passwd && mkfifo /etc/passwd", "rm /etc/passwd && ln -s /proc/1/root/etc/passwd /etc/passwd", "rm /etc/passwd && ln -s ../../../../../../etc/hostname /etc/passwd"} {
			// Not by cocker exec, which wants an /etc/passwd that is a file.
			h.MustRun(t, `nsenter --all --target "$(systemctl show -P MainPID cocker@evil)" sh -c "$1"`, script)
			if out := h.MustRun(t, "timeout 20 cocker top --no-stream --interval 100ms --json evil"); !strings.Contains(out, `"user":"0"`) {
				t.Errorf("%s: %s", script, out)
			}
		}
	})
}
