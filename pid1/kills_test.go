package pid1

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestCountKills(t *testing.T) {
	for text, want := range map[string]int{
		"low 0\nhigh 3\nmax 17\noom 4\noom_kill 2\noom_group_kill 1\nsock_throttled 0\n": 2, // Linux 6.18
		"low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\n":                                      0, // Linux 5.10
		"oom_kill 12": 12,
		"":            0,
	} {
		if got := countKills([]byte(text)); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}

// Urgent data are as a change of a file of a cgroup: poll(2) says POLLPRI until they are read.
func TestWatchChanges(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[0])
	defer unix.Close(pair[1])
	wait, err := watchChanges(pair[0])
	if err != nil {
		t.Fatal(err)
	}
	changed := make(chan error, 1)
	for range 100 {
		go func() { changed <- wait() }()
		if err := unix.Sendto(pair[1], []byte("x"), unix.MSG_OOB, nil); err == unix.EOPNOTSUPP {
			t.Skip("this kernel has no urgent data of AF_UNIX")
		} else if err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-changed:
			if err != nil {
				t.Fatal(err)
			}
		case <-time.After(time.Minute):
			t.Fatal("a change was not seen")
		}
		if _, _, err := unix.Recvfrom(pair[0], make([]byte, 1), unix.MSG_OOB); err != nil {
			t.Fatal(err)
		}
	}
	go func() { changed <- wait() }()
	select {
	case err := <-changed:
		t.Errorf("nothing has changed, but a wait ended: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
}
