package linux

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// IDRangeSize is the number of ids that a container's user namespace maps:
// what a whole system needs (user_namespaces(7); systemd's UIDS-GIDS.md).
const IDRangeSize = 65536

// IDMap is the id mapping of a container: ids 0 to 65535 inside are base to
// base+65535 outside.
func IDMap(base uint32) []syscall.SysProcIDMap {
	return []syscall.SysProcIDMap{{ContainerID: 0, HostID: int(base), Size: IDRangeSize}}
}

// NewUserNamespace returns a descriptor of a new user namespace to map mounts
// with (MapIDs): it maps the range at base, as IDMap does, and the host's root to
// the id behind the range, which nothing in a container can have. Without that
// the host's root could not make a file in the container (EOVERFLOW), and
// `machinectl copy-to` does so before it gives the file to the container's root.
//
// No program runs in the namespace. A multithreaded program cannot unshare a
// user namespace (unshare(2)), so a child makes it, waits for its end and does
// nothing else: it needs no program of its own, and execve(2) would cost the
// start of every container a millisecond.
func NewUserNamespace(base uint32) (fd int, err error) {
	var gate [2]int
	if err := unix.Pipe2(gate[:], unix.O_CLOEXEC); err != nil {
		return -1, fmt.Errorf("create user namespace: %w", err)
	}
	defer unix.Close(gate[0])
	defer unix.Close(gate[1])
	pid, errno := forkUserNamespace(uintptr(gate[0]))
	if errno != 0 {
		return -1, CloneError(errno)
	}
	defer func() {
		_ = unix.Kill(pid, unix.SIGKILL)
		_ = retry(func() error { _, err := unix.Wait4(pid, nil, unix.WALL, nil); return err })
	}()
	mapping := fmt.Sprintf("0 %d %d\n%d 0 1\n", base, IDRangeSize, IDRangeSize)
	for _, name := range []string{"uid_map", "gid_map"} {
		if err := os.WriteFile(fmt.Sprintf("/proc/%d/%s", pid, name), []byte(mapping), 0); err != nil {
			return -1, fmt.Errorf("map ids of user namespace: %w", err)
		}
	}
	path := fmt.Sprintf("/proc/%d/ns/user", pid)
	fd, err = unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	return fd, pathError("open", path, err)
}

// CloneError explains an error of clone(2) for new namespaces. ENOSPC is not about a
// disk but about a limit on the number of namespaces (user_namespaces(7)).
func CloneError(err error) error {
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EUSERS):
		return fmt.Errorf("create namespaces: the kernel's limit is reached, see sysctl user.max_user_namespaces and its neighbours: %w", err)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("create namespaces: user namespaces are not allowed here: %w", err)
	}
	return fmt.Errorf("create namespaces: %w", err)
}

// forkUserNamespace forks a child in a new user namespace that ends when it is
// killed or the gate is closed. In the child the Go runtime is a copy with one
// thread, so it may only make raw system calls: no allocation, no stack growth,
// nothing that could be preempted.
//
//go:noinline
//go:norace
func forkUserNamespace(gate uintptr) (pid int, errno syscall.Errno) {
	var buffer [1]byte
	address := uintptr(unsafe.Pointer(&buffer[0]))
	child, _, errno := syscall.RawSyscall6(unix.SYS_CLONE, unix.CLONE_NEWUSER|uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if child != 0 || errno != 0 {
		return int(child), errno
	}
	// Nothing of the parent's may live on in the child, locks least of all; with the
	// gate's other end closed too, the read ends with the parent.
	syscall.RawSyscall(unix.SYS_CLOSE_RANGE, 3, gate-1, 0)
	syscall.RawSyscall(unix.SYS_CLOSE_RANGE, gate+1, uintptr(^uint32(0)), 0)
	syscall.RawSyscall(unix.SYS_READ, gate, address, 1)
	for {
		syscall.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
	}
}

// ProcessStart returns the time at which a process started, in clock ticks
// since boot (proc_pid_stat(5), field 22). Together with the pid it names one
// process for good; os.ErrNotExist tells that there is none.
func ProcessStart(pid int) (uint64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	return parseProcessStart(string(data))
}

// ProcessExiting tells whether a process is in exit(2), which may take a while: PID 1
// of a pid namespace waits there for all others (pid_namespaces(7)).
func ProcessExiting(pid int) bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && parseExiting(string(data))
}
