package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/internal/stats"
	"github.com/cocker/cocker/launch"
)

// liveTerminal runs a live table on a terminal; shown gives what the terminal has been sent.
func liveTerminal(t *testing.T, rows uint16, l *live, take func() (sample, error)) (expect func(texts ...string), end func() error, master *os.File) {
	t.Helper()
	t.Setenv("TERM", "xterm")
	master, slave, err := pty.Open()
	if err != nil {
		t.Skip("no terminals here:", err)
	}
	t.Cleanup(func() { master.Close(); slave.Close() })
	if err := pty.Setsize(master, &pty.Winsize{Rows: rows, Cols: 40}); err != nil {
		t.Fatal(err)
	}
	l.out = slave
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.run(ctx, take) }()
	shown := make(chan string, 1024)
	go func() {
		buffer := make([]byte, 4096)
		for {
			n, err := master.Read(buffer)
			if err != nil {
				return
			}
			shown <- string(buffer[:n])
		}
	}()
	var seen string
	expect = func(texts ...string) {
		t.Helper()
		deadline := time.After(time.Minute)
		for _, text := range texts {
			for !strings.Contains(seen, text) {
				select {
				case more := <-shown:
					seen += more
				case <-deadline:
					t.Fatalf("waiting for %q; seen last %q", text, seen[max(0, len(seen)-300):])
				}
			}
			_, seen, _ = strings.Cut(seen, text)
		}
	}
	return expect, func() error { cancel(); return <-done }, master
}

// A table is drawn in its place, in the rows that there are, and the terminal is given back.
func TestLiveOnATerminal(t *testing.T) {
	l := &live{interval: 100 * time.Millisecond}
	take := func() (sample, error) {
		return sample{header: []string{"NAME"}, rows: [][]string{{"a\x1b[2Jb"}, {"c\nd"}, {"\u009b1m"}, {""}}}, nil
	}
	expect, end, master := liveTerminal(t, 24, l, take)
	table := "\x1b[HNAME\x1b[K\r\na?[2Jb\x1b[K\r\nc?d\x1b[K\r\n?1m\x1b[K\r\n-\x1b[K\x1b[J"
	expect("\x1b[?1049h\x1b[?25l\x1b[?7l", table, table)
	if err := pty.Setsize(master, &pty.Winsize{Rows: 3, Cols: 40}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(os.Getpid(), unix.SIGWINCH); err != nil { // the terminal is not this process's own
		t.Fatal(err)
	}
	expect("\x1b[HNAME\x1b[K\r\na?[2Jb\x1b[K\r\n... 3 more\x1b[K\x1b[J")
	if err := end(); err != nil {
		t.Errorf("Ctrl-C is an error: %v", err)
	}
	expect("\x1b[?7h\x1b[?25h\x1b[?1049l", "NAME", "a?[2Jb", "-")
}

// The terminal is given back after an error, too.
func TestLiveError(t *testing.T) {
	taken, broken := 0, errors.New("broken")
	l := &live{interval: 100 * time.Millisecond}
	expect, end, _ := liveTerminal(t, 24, l, func() (sample, error) {
		if taken++; taken > 2 {
			return sample{}, broken
		}
		return sample{header: []string{"NAME"}}, nil
	})
	expect("\x1b[?1049h", "\x1b[?1049l")
	if err := end(); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

// Elsewhere than on a terminal there is not one sequence for one, and the first sample,
// which has no rates, is not shown.
func TestLiveInAPipe(t *testing.T) {
	for _, tt := range []struct {
		live live
		want string
	}{
		{live{noStream: true}, "N\n2\n"},
		{live{noStream: true, json: true}, "2\n"},
		{live{json: true}, "2\n3\n"},
		{live{}, "N\n2\n\nN\n3\n\n"},
	} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		taken := 0
		tt.live.out, tt.live.interval = w, time.Millisecond
		err = tt.live.run(ctx, func() (sample, error) {
			if taken++; taken == 4 {
				cancel()
				return sample{}, context.Canceled
			}
			return sample{header: []string{"N"}, rows: [][]string{{string(rune('0' + taken))}}, objects: []any{taken}}, nil
		})
		w.Close()
		out, _ := io.ReadAll(r)
		if string(out) != tt.want || err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("%+v: %q, %v, want %q", tt.live, out, err, tt.want)
		}
		cancel()
	}
}

func TestRates(t *testing.T) {
	n := func(v uint64) *uint64 { return &v }
	at := time.Unix(100, 0)
	before := reading{at: at, usage: &stats.Usage{CPU: n(1_000_000), IORead: n(1000), IOWrite: n(5000)}, traffic: &stats.Traffic{Received: 10, Sent: 20}}
	now := reading{at: at.Add(2 * time.Second), usage: &stats.Usage{CPU: n(4_000_000), IORead: n(5000), IOWrite: n(1)}, traffic: &stats.Traffic{Received: 30, Sent: 20}}
	e := newStatsEntry("c", before, now)
	if *e.CPUPercent != 150 || *e.IOReadRate != 2000 || e.IOWriteRate != nil || *e.NetReceivedRate != 10 || *e.NetSentRate != 0 {
		t.Errorf("%+v", e)
	}
	if e := newStatsEntry("c", reading{}, now); e.CPUPercent != nil || e.IOReadRate != nil || e.NetSentRate != nil || *e.CPUUsec != 4_000_000 {
		t.Errorf("the first sample: %+v", e)
	}
}

// Highest first, what is unknown last, and what is equal by name.
func TestStatsOrder(t *testing.T) {
	p := func(v float64) *float64 { return &v }
	entries := []statsEntry{{Name: "none"}, {Name: "low", CPUPercent: p(1), IOPressure: p(9)}, {Name: "b", CPUPercent: p(5)}, {Name: "a", CPUPercent: p(5)}}
	for order, want := range map[string]string{"cpu": "a b low none", "name": "a b low none", "pressure": "low a b none"} {
		sortBy(entries, order, statsOrders(), func(a, b statsEntry) int { return strings.Compare(a.Name, b.Name) })
		var names []string
		for _, e := range entries {
			names = append(names, e.Name)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s: %s, want %s", order, got, want)
		}
	}
	if err := checkSort("colour", statsOrders()); err == nil {
		t.Error("any column will do")
	}
}

// user_namespaces(7): inside, outside, length.
func TestIDMap(t *testing.T) {
	m := idMap{{0, 100000, 1000}, {2000, 300000, 5}}
	for outside, want := range map[uint32]uint32{100000: 0, 100999: 999, 101000: overflowID, 300004: 2004, 300005: overflowID, 0: overflowID, 99999: overflowID} {
		if got := m.inside(outside); got != want {
			t.Errorf("%d is %d inside, want %d", outside, got, want)
		}
	}
	if own, err := idMapOf(os.Getpid()); err != nil || len(own) == 0 {
		t.Errorf("%v, %v", own, err)
	}
}

func TestTopCells(t *testing.T) {
	w := &processWatch{state: &launch.State{Name: "c"}, ids: idMap{{0, 1000, 10}}, users: map[uint32]string{0: "root"}, last: map[int]processReading{}}
	now := time.Now()
	e := w.entry(stats.Process{PID: 2, HostPID: 99, UID: 1000, CPU: 83_450 * time.Millisecond, Command: "a\x1b[2J\n\u009b\x7f\xff"}, now)
	if e.User != "root" || e.Command != "a?[2J????" && e.Command != "a?[2J???\ufffd" {
		t.Errorf("%+v", e)
	}
	if e := w.entry(stats.Process{UID: 1007}, now); e.User != "7" {
		t.Errorf("%+v", e)
	}
	var out bytes.Buffer
	s := topSample([]topEntry{e})
	if err := printTable(&out, s.header, s.rows); err != nil || !strings.Contains(out.String(), "1:23.45") {
		t.Errorf("%v\n%s", err, out.String())
	}
}
