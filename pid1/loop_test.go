package pid1

import (
	"os"
	"os/signal"
	"slices"
	"syscall"
	"testing"
	"time"
)

func testLoop(t *testing.T) *loop {
	t.Helper()
	in := incoming{child: make(chan os.Signal, 1), other: make(chan os.Signal, 1)}
	signal.Notify(in.child, syscall.SIGCHLD)
	t.Cleanup(func() { signal.Stop(in.child) })
	l := newLoop(in)
	return &l
}

// until waits for what shall happen; a loop that does not call what it should hangs.
func until(l *loop, done func() bool) {
	for !done() {
		l.wait(func(syscall.Signal) {})
	}
}

func TestLoopTellsTheEndOfAChildOnce(t *testing.T) {
	l := testLoop(t)
	statuses := map[int]int{}
	for _, code := range []string{"3", "4"} {
		pid, err := syscall.ForkExec("/bin/sh", []string{"sh", "-c", "exit " + code}, &syscall.ProcAttr{})
		if err != nil {
			t.Fatal(err)
		}
		want := int(code[0] - '0')
		l.onEnd(pid, func(status syscall.WaitStatus) { statuses[want] += status.ExitStatus() })
	}
	until(l, func() bool { return len(statuses) == 2 })
	if statuses[3] != 3 || statuses[4] != 4 || len(l.children) != 0 {
		t.Errorf("got %v, and %d are left", statuses, len(l.children))
	}
}

func TestLoopRingsInTheOrderOfTime(t *testing.T) {
	l := testLoop(t)
	var rang []string
	ring := func(name string) func() { return func() { rang = append(rang, name) } }
	now := time.Now()
	never := l.at(now, ring("canceled"))
	l.at(now.Add(2*time.Millisecond), ring("second"))
	l.at(now.Add(time.Millisecond), func() {
		rang = append(rang, "first")
		l.at(now.Add(3*time.Millisecond), ring("third"))
	})
	l.cancel(never)
	l.cancel(nil)
	until(l, func() bool { return len(rang) == 3 })
	if want := []string{"first", "second", "third"}; !slices.Equal(rang, want) {
		t.Errorf("got %q, want %q", rang, want)
	}
}

func TestLoopDoesWhatOthersAskFor(t *testing.T) {
	l := testLoop(t)
	done := false
	go l.do(func() { done = true })
	until(l, func() bool { return done })
}
