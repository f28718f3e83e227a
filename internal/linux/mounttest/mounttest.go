// Package mounttest lets tests mount what they want without anybody else seeing it. It
// imports internal/linux only.
package mounttest

import (
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/internal/linux"
)

// Do does work in a thread with a mount namespace of its own, which goes with it. Nothing
// that is mounted there propagates (mount_namespaces(7), "shared subtrees").
func Do(work func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		err := unix.Unshare(unix.CLONE_NEWNS)
		if err == nil {
			err = linux.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		}
		if err == nil {
			err = work()
		}
		done <- err
	}()
	return <-done
}
