package pid1

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/internal/handoff"
)

func TestJudge(t *testing.T) {
	rules := &handoff.Health{Interval: 10 * time.Second, Retries: 3, StartPeriod: time.Minute, StartInterval: time.Second}
	type result struct {
		at    time.Duration
		good  bool
		state int
	}
	const bad, good = false, true
	for _, c := range []struct {
		name    string
		results []result
	}{
		{"well at once", []result{{0, good, stateHealthy}}},
		{"failures in the start don't count", []result{{0, bad, stateNotYet}, {1, bad, stateNotYet}, {50, bad, stateNotYet}, {59, bad, stateNotYet}, {80, good, stateHealthy}}},
		{"never well", []result{{0, bad, stateNotYet}, {1, bad, stateNotYet}, {89, bad, stateNotYet}, {90, bad, stateUnhealthy}}},
		{"slow probes, but some", []result{{95, bad, stateNotYet}, {190, bad, stateNotYet}, {285, bad, stateUnhealthy}}},
		{"after a success they count, in the period too", []result{{0, good, stateHealthy}, {1, bad, stateHealthy}, {2, bad, stateHealthy}, {3, bad, stateUnhealthy}}},
		{"only those in a row", []result{
			{0, good, stateHealthy}, {1, bad, stateHealthy}, {2, bad, stateHealthy}, {3, good, stateHealthy},
			{4, bad, stateHealthy}, {5, bad, stateHealthy}, {6, bad, stateUnhealthy}, {7, bad, stateUnhealthy}, {8, good, stateHealthy},
		}},
	} {
		begun := time.Unix(1000, 0)
		j := newJudge(rules, begun)
		for i, r := range c.results {
			before := j.state
			changed := j.take(r.good, begun.Add(r.at*time.Second))
			if j.state != r.state || changed != (before != r.state) {
				t.Errorf("%s: result %d gives state %d, changed %v; want %d", c.name, i, j.state, changed, r.state)
			}
		}
	}
}

func TestPauses(t *testing.T) {
	j := newJudge(&handoff.Health{Interval: 10 * time.Second, Retries: 1, StartInterval: 500 * time.Millisecond}, time.Unix(1000, 0))
	for i, want := range []time.Duration{100, 200, 400, 500, 500} {
		if got := j.pause(); got != want*time.Millisecond {
			t.Errorf("pause %d is %v, want %v ms", i, got, int(want))
		}
	}
	for _, good := range []bool{true, false} {
		if j.take(good, time.Unix(1001, 0)); j.pause() != 10*time.Second {
			t.Errorf("state %d: the pause is %v", j.state, j.pause())
		}
	}
}

// What systemd is told, and when: sd_notify(3).
func TestHealthMessages(t *testing.T) {
	const never = "\nWATCHDOG=trigger"
	now := time.Date(2026, 11, 21, 18, 0, 0, 0, time.FixedZone("", 3600))
	unhealthy := "STATUS=Unhealthy since 2026-11-21 17:00:00 UTC: why"
	for _, c := range []struct {
		name           string
		h              health
		changed        bool
		restart, ready bool
		want           string
	}{
		{"first failure", health{judge: judge{state: stateNotYet}}, false, true, false, "STATUS=Not healthy yet: why"},
		{"the same again", health{judge: judge{state: stateNotYet}, told: "why"}, false, true, false, ""},
		{"first success", health{judge: judge{state: stateHealthy}}, true, true, false, "READY=1\nSTATUS=Healthy. Running at 1.2.3.4"},
		{"healthy again", health{judge: judge{state: stateHealthy}}, true, false, true, "STATUS=Healthy. Running at 1.2.3.4"},
		{"still healthy", health{judge: judge{state: stateHealthy}}, false, true, true, ""},
		{"unhealthy", health{judge: judge{state: stateUnhealthy}}, true, true, true, unhealthy + never},
		{"unhealthy and only reported", health{judge: judge{state: stateUnhealthy}}, true, false, true, unhealthy},
		{"still", health{judge: judge{state: stateUnhealthy}}, false, false, true, ""},
		{"never healthy", health{judge: judge{state: stateUnhealthy}}, true, false, false, unhealthy + never},
		{"where service watchdogs are off", health{judge: judge{state: stateUnhealthy}}, false, true, true, never},
		{"a moment ago", health{judge: judge{state: stateUnhealthy}, triggered: now.Add(-time.Second)}, false, true, true, ""},
	} {
		c.h.plan = &handoff.Plan{Health: &handoff.Health{Restart: c.restart}}
		c.h.running, c.h.ready = "Running at 1.2.3.4", c.ready
		if got := c.h.message(c.changed, "why", now); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestOneLine(t *testing.T) {
	for _, c := range []struct {
		in   string
		lost bool
		want string
	}{
		{"", false, ""},
		{" \n\n", false, ""},
		{"connection refused\n", false, "connection refused"},
		{"a\r\n\n  b\nREADY=1", false, "a | b | READY=1"},
		{"end", true, "...end"},
		{"\xff\x80é\x1b[31m\x00\u0085\u2028", false, "?é [31m "},
		{"\ufffe\ufdd0\U0001ffff😀", false, "???😀"},
	} {
		if got := oneLine(c.in, c.lost); got != c.want {
			t.Errorf("%q: %q, want %q", c.in, got, c.want)
		}
	}
}

// A message to systemd may have 4096 bytes (NOTIFY_BUFFER_MAX, PIPE_BUF of limits.h).
func FuzzOneLine(f *testing.F) {
	f.Add([]byte(strings.Repeat("x\n", maxTail)))
	f.Add([]byte(strings.Repeat("\xff", maxTail)))
	f.Fuzz(func(t *testing.T, text []byte) {
		tail := &tail{}
		tail.add(text)
		got := oneLine(string(tail.kept), tail.lost)
		if len(got) > 3500 || !utf8.ValidString(got) || strings.ContainsAny(got, "\n\x00\x1b") {
			t.Errorf("%d bytes: %q", len(got), got)
		}
	})
}

// runProbe runs a shell script as a probe and gives what is known when it has ended.
func runProbe(t *testing.T, output *tail, script string) (reason string, p *probe) {
	t.Helper()
	id := &identity{uid: uint32(os.Getuid()), gid: uint32(os.Getgid()), groups: []uint32{}}
	if os.Getuid() != 0 {
		t.Skip("needs root: init sets the groups of what it starts")
	}
	c := &check{command: &command{path: "/bin/sh", arguments: []string{"sh", "-c", script}, identity: id}, output: output}
	var err error
	if c.program, err = newRepeated(c.command.path, c.command.arguments, nil, id); err != nil {
		t.Fatal(err)
	}
	p, err = c.start(time.Now().Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(p.pid, &status, 0, nil); err != nil {
		t.Fatal(err)
	}
	p.kill()
	return p.outcome(status), p
}

func TestProbe(t *testing.T) {
	output, err := newTail()
	if err != nil {
		t.Fatal(err)
	}
	runProbe(t, output, "exit") // the runtime opens what it polls with
	descriptors := openDescriptors(t)
	for _, c := range []struct{ script, want string }{
		{"echo nothing of interest", ""},
		{"exit 3", "exit status 3"},
		{"echo one; echo two >&2; exit 1", "exit status 1: one | two"},
		{"kill -9 $$", "ended by signal 9"},
		{"head -c 10000000 /dev/zero | tr '\\0' x; echo; echo last; exit 2", "exit status 2: ..." + strings.Repeat("x", maxTail-6) + " | last"},
		{"echo to its file >/dev/stderr; exit 1", "exit status 1: to its file"},
		{"sleep 1000 & echo left; exit 1", "exit status 1: left"},             // with the pipe open
		{"setsid sleep 3 & echo left; exit 0", ""},                            // with the pipe open, for good
		{"(while :; do echo flood; done) & sleep 0.1; exit 4", "exit status"}, // and it goes on
	} {
		got, p := runProbe(t, output, c.script)
		if got != c.want && (c.want != "exit status" || !strings.HasPrefix(got, "exit status 4: ...")) {
			t.Errorf("%s: %q, want %q", c.script, got, c.want)
		}
		for deadline := time.Now().Add(time.Minute); unix.Kill(-p.pid, 0) != unix.ESRCH; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Errorf("%s: its process group is still there", c.script)
				break
			}
		}
	}
	if now := openDescriptors(t); now != descriptors {
		t.Errorf("%d descriptors are open, %d were", now, descriptors)
	}
}

func openDescriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}
