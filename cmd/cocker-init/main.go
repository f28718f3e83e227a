// Command cocker-init is PID 1 of a container. cocker-launch starts it; it is of
// no use on its own.
package main

import (
	"os"
	"runtime"

	"github.com/cocker/cocker/pid1"
)

func main() {
	runtime.LockOSThread()
	os.Exit(pid1.Run())
}
