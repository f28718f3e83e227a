package pid1

import (
	"runtime"
	"sync"
)

// spareThreads is how many more init may need at once: one waits in each system call
// that blocks, such as the write of a process's output to a journal that is busy.
const spareThreads = 4

// keepThreads makes threads while there is room for them. The Go runtime makes one when
// it needs one, and ends the program if it gets none ("failed to create new OS thread",
// newosproc in runtime/os_linux.go): in a container that is at its limit of tasks, PID 1.
// It keeps those that it has made.
func keepThreads(n int) {
	var made, ended sync.WaitGroup
	enough := make(chan struct{})
	made.Add(n)
	for range n {
		ended.Go(func() {
			runtime.LockOSThread() // while it waits, the others need another thread
			defer runtime.UnlockOSThread()
			made.Done()
			<-enough
		})
	}
	made.Wait()
	close(enough)
	ended.Wait()
}
