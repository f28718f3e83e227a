package handoff

import (
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func channel(t *testing.T) (*Launcher, *Init) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "launcher"), os.NewFile(uintptr(pair[1]), "init")
	t.Cleanup(func() { ours.Close(); theirs.Close() })
	return NewLauncher(ours), NewInit(theirs)
}

func TestConversation(t *testing.T) {
	launcher, init := channel(t)
	sent := &Plan{Hostname: "web", Command: []string{"sh", "-c", "echo \"\n\"\x1e"}, Environment: []string{"A=b\nc"}, Capabilities: 1<<40 | 3, Exec: true}
	done := make(chan error, 1)
	go func() {
		plan, err := init.ReceivePlan()
		if err == nil && !reflect.DeepEqual(plan, sent) {
			err = errors.New("the plan has changed on the way")
		}
		done <- errors.Join(err, init.Assembled(), init.WaitProceed(), init.Started())
	}()
	if err := launcher.SendPlan(sent); err != nil {
		t.Fatal(err)
	}
	if err := launcher.WaitAssembled(); err != nil {
		t.Fatal(err)
	}
	if err := launcher.Proceed(sent); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestFailureKeepsItsLines(t *testing.T) {
	launcher, init := channel(t)
	go init.Failed(errors.New("first\nsecond"))
	err := launcher.WaitAssembled()
	if err == nil || err.Error() != "first\nsecond" {
		t.Errorf("got %v", err)
	}
}

// execve(2) closes the channel: with Plan.Exec that is the success, and for an
// init that shall stay it is a crash.
func TestClosedChannel(t *testing.T) {
	for _, exec := range []bool{true, false} {
		launcher, init := channel(t)
		go func() {
			_ = init.Assembled()
			_ = init.WaitProceed()
			_ = init.Close()
		}()
		if err := launcher.WaitAssembled(); err != nil {
			t.Fatal(err)
		}
		err := launcher.Proceed(&Plan{Exec: exec})
		if gone := errors.Is(err, ErrGone); gone == exec || exec && err != nil {
			t.Errorf("exec %v: %v", exec, err)
		}
	}
}

func TestInitNoticesADeadLauncher(t *testing.T) {
	launcher, init := channel(t)
	launcher.Close()
	if err := errors.Join(init.Assembled(), init.WaitProceed()); err == nil || !strings.Contains(err.Error(), "launcher") && !errors.Is(err, unix.EPIPE) {
		t.Errorf("got %v", err)
	}
	if _, err := init.ReceivePlan(); err == nil {
		t.Error("a plan came from nowhere")
	}
}
