package pid1

import (
	"os"
	"testing"
)

func TestKeepThreads(t *testing.T) {
	threads := func() int {
		t.Helper()
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil {
			t.Fatal(err)
		}
		return len(tasks)
	}
	const many = 50 // more than the runtime has made by itself
	keepThreads(many)
	if n := threads(); n < many {
		t.Errorf("%d threads after keepThreads(%d)", n, many)
	}
	before := threads()
	keepThreads(many)
	if n := threads(); n > before+1 {
		t.Errorf("keepThreads made %d threads more where there were %d", n-before, before)
	}
}
