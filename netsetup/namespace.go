package netsetup

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// inNamespace runs do on a thread that is in the network namespace of the
// descriptor. The thread goes back to where it was; if that fails it stays locked
// to its goroutine, and the runtime ends it together with the goroutine instead
// of giving a thread in a container's namespace to other code.
func inNamespace(netns int, do func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		err, restored := visit(netns, do)
		if restored {
			runtime.UnlockOSThread()
		}
		result <- err
	}()
	return <-result
}

// visit is inNamespace on the calling thread, which the caller has locked.
func visit(netns int, do func() error) (err error, restored bool) {
	home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open own network namespace: %w", err), true
	}
	defer unix.Close(home)
	if err := unix.Setns(netns, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter network namespace: %w", err), true
	}
	err = do()
	return err, unix.Setns(home, unix.CLONE_NEWNET) == nil
}
