package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// execUnsynced becomes a program whose fsync(2), fdatasync(2) and syncfs(2) do nothing and
// succeed: a filter of the kernel's answers them (seccomp(2), SECCOMP_RET_ERRNO with the
// error 0), so that nothing stops or traces the program. It returns only after an error.
func execUnsynced(words []string) error {
	if len(words) == 0 {
		return errors.New("usage: unsynced COMMAND [ARGUMENT]")
	}
	path, err := exec.LookPath(words[0])
	if err != nil {
		return err
	}
	runtime.LockOSThread() // the filter is this thread's, which execve(2) keeps
	calls := []uint32{unix.SYS_FSYNC, unix.SYS_FDATASYNC, unix.SYS_SYNCFS}
	filter := []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}} // the call's number, at the offset 0 of struct seccomp_data
	for i, call := range calls {
		filter = append(filter, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: call, Jt: uint8(len(calls) - i)})
	}
	filter = append(filter, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO})
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)), 0, 0); err != nil {
		return fmt.Errorf("answer calls by a filter: %w", err)
	}
	if err := unix.Fsync(-1); err != nil {
		return fmt.Errorf("a call is made in spite of the filter: fsync of no file: %w", err)
	}
	return &os.PathError{Op: "execute", Path: path, Err: unix.Exec(path, words, os.Environ())}
}
