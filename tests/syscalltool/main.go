// Command syscalltool makes system calls by their numbers and prints how each of them ends,
// so that a test sees what a filter does to each ABI.
//
//	syscalltool NUMBER[:ARGUMENT...] ...
package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

func main() {
	runtime.LockOSThread()
	for _, text := range os.Args[1:] {
		var words [7]uintptr
		for i, word := range strings.SplitN(text, ":", len(words)) {
			n, err := strconv.ParseUint(word, 0, 64)
			if err != nil {
				fmt.Fprintln(os.Stderr, "syscalltool:", err)
				os.Exit(2)
			}
			words[i] = uintptr(n)
		}
		result, _, errno := syscall.RawSyscall6(words[0], words[1], words[2], words[3], words[4], words[5], words[6])
		switch {
		case errno == 0:
			fmt.Println(text, "=", result)
		case unix.ErrnoName(errno) != "":
			fmt.Println(text, unix.ErrnoName(errno))
		default:
			fmt.Println(text, int(errno))
		}
	}
}
