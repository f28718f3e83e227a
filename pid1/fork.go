package pid1

import (
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// repeated is a program that init starts again and again, for as long as the container lives.
// syscall.ForkExec leaves up to half a kilobyte of garbage each time, and the first collections
// cost init 0.7 MB for good, however little there is to collect: pages for the sets of spans of
// each size of object, and for mark bits (runtime, spanSet and gcBits, Go 1.26). This leaves none.
type repeated struct {
	path       *byte
	argv, envv []*byte // each ends with nil
	identity   *identity
}

func newRepeated(path string, arguments, environment []string, id *identity) (r *repeated, err error) {
	r = &repeated{identity: id}
	if r.path, err = syscall.BytePtrFromString(path); err != nil {
		return nil, err
	}
	if r.argv, err = syscall.SlicePtrFromStrings(arguments); err != nil {
		return nil, err
	}
	r.envv, err = syscall.SlicePtrFromStrings(environment)
	return r, err
}

// maxInherited bounds the descriptors that start gives.
const maxInherited = 8

// start starts the program as syscall.ForkExec does, in a session of its own and, if there is
// an identity, with that; files are its descriptors, below 0: closed.
func (r *repeated) start(files []int) (pid int, err error) {
	syscall.ForkLock.Lock()
	defer syscall.ForkLock.Unlock()
	var failure [2]int
	if err := unix.Pipe2(failure[:], unix.O_CLOEXEC); err != nil {
		return -1, os.NewSyscallError("pipe2", err)
	}
	child, errno := r.clone(files, failure[1])
	_ = unix.Close(failure[1])
	if errno == 0 {
		var reason syscall.Errno
		if n, _ := unix.Read(failure[0], (*[unsafe.Sizeof(reason)]byte)(unsafe.Pointer(&reason))[:]); n > 0 {
			errno = reason
			for {
				if _, err := unix.Wait4(int(child), nil, 0, nil); err != unix.EINTR {
					break
				}
			}
		}
	}
	_ = unix.Close(failure[0])
	if errno != 0 {
		return -1, errno
	}
	return int(child), nil
}

// cloneArguments is struct clone_args of clone3(2).
type cloneArguments struct {
	flags, pidfd, childTID, parentTID, exitSignal, stack, stackSize, tls, setTID, setTIDSize, cgroup uint64
}

// clone forks and, in the child, executes the program. The child has a copy of this thread
// and of nothing else that the Go runtime is made of: it may do system calls only, and no
// signal may reach it before execve(2). It shares no memory, which for one as small as init
// costs less than the rest of a start.
//
//go:noinline
//go:norace
//go:nocheckptr
func (r *repeated) clone(files []int, failure int) (pid uintptr, errno syscall.Errno) {
	var (
		all, before uint64
		arguments   = cloneArguments{flags: unix.CLONE_CLEAR_SIGHAND, exitSignal: uint64(unix.SIGCHLD)}
		moved       [maxInherited]int
		i           int
		header      unix.CapUserHeader
		sets        [2]unix.CapUserData
	)
	all = ^all
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&all)), uintptr(unsafe.Pointer(&before)), unsafe.Sizeof(all), 0, 0)
	pid, _, errno = syscall.RawSyscall(unix.SYS_CLONE3, uintptr(unsafe.Pointer(&arguments)), unsafe.Sizeof(arguments), 0)
	if pid != 0 || errno != 0 {
		syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&before)), 0, unsafe.Sizeof(all), 0, 0)
		return pid, errno
	}
	if _, _, errno = syscall.RawSyscall(unix.SYS_SETSID, 0, 0, 0); errno != 0 {
		goto failed
	}
	if r.identity != nil {
		// Nothing that is kept for init is for the container's programs (see forkExec).
		header.Version = unix.LINUX_CAPABILITY_VERSION_3
		if _, _, errno = syscall.RawSyscall(unix.SYS_CAPGET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&sets[0])), 0); errno != 0 {
			goto failed
		}
		sets[0].Inheritable, sets[1].Inheritable = 0, 0
		if _, _, errno = syscall.RawSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&sets[0])), 0); errno != 0 {
			goto failed
		}
		groups := unsafe.Pointer(nil)
		if len(r.identity.groups) > 0 {
			groups = unsafe.Pointer(&r.identity.groups[0])
		}
		if _, _, errno = syscall.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(r.identity.groups)), uintptr(groups), 0); errno != 0 {
			goto failed
		}
		if _, _, errno = syscall.RawSyscall(unix.SYS_SETGID, uintptr(r.identity.gid), 0, 0); errno != 0 {
			goto failed
		}
		if _, _, errno = syscall.RawSyscall(unix.SYS_SETUID, uintptr(r.identity.uid), 0, 0); errno != 0 {
			goto failed
		}
	}
	// First out of the way of each other, and the pipe too.
	{
		next, _, e := syscall.RawSyscall(unix.SYS_FCNTL, uintptr(failure), unix.F_DUPFD_CLOEXEC, maxInherited)
		if errno = e; errno != 0 {
			goto failed
		}
		failure = int(next)
	}
	for i = 0; i < len(files) && i < maxInherited; i++ {
		if moved[i] = files[i]; files[i] >= 0 {
			fd, _, e := syscall.RawSyscall(unix.SYS_FCNTL, uintptr(files[i]), unix.F_DUPFD_CLOEXEC, maxInherited)
			if errno = e; errno != 0 {
				goto failed
			}
			moved[i] = int(fd)
		}
	}
	for i = 0; i < len(files) && i < maxInherited; i++ {
		if moved[i] < 0 {
			syscall.RawSyscall(unix.SYS_CLOSE, uintptr(i), 0, 0)
			continue
		}
		if _, _, errno = syscall.RawSyscall(unix.SYS_DUP3, uintptr(moved[i]), uintptr(i), 0); errno != 0 {
			goto failed
		}
	}
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&before)), 0, unsafe.Sizeof(all), 0, 0)
	_, _, errno = syscall.RawSyscall(unix.SYS_EXECVE, uintptr(unsafe.Pointer(r.path)), uintptr(unsafe.Pointer(&r.argv[0])), uintptr(unsafe.Pointer(&r.envv[0])))
failed:
	syscall.RawSyscall(unix.SYS_WRITE, uintptr(failure), uintptr(unsafe.Pointer(&errno)), unsafe.Sizeof(errno))
	for {
		syscall.RawSyscall(unix.SYS_EXIT, 253, 0, 0)
	}
}

// keepLimit gives this process the limit of descriptors back that it was started with, and that
// what it starts has to have. The runtime has raised it (os, rlimit.go), knows alone what it was,
// and takes it back before an execve(2), even one that fails.
func keepLimit() {
	_ = syscall.Exec("", nil, nil)
}
