// Package linux wraps the system calls that cocker makes itself: the mount API
// by descriptor, confined path resolution, namespaces, credentials and signals.
// Every error names the operation and its object and unwraps to the errno. It
// imports nothing of cocker.
package linux

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"
)

// retry calls f again as long as a signal interrupts it (signal(7)).
func retry(f func() error) error {
	for {
		if err := f(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// pathError gives err the operation and the path it was for; nil stays nil.
func pathError(op, path string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: path, Err: err}
}
