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
	within     *confinement   // nil: it is a program of ours
	cgroup     int            // a descriptor of its own; -1: it is in ours
	terminal   bool           // its standard input is a terminal that shall control it
	orphan     syscall.Signal // what it gets when this thread ends; 0: nothing
	wantsPidfd bool
	pidfd      int32 // of the last one
}

func newRepeated(path string, arguments, environment []string, id *identity) (r *repeated, err error) {
	r = &repeated{identity: id, cgroup: -1}
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
	var step uintptr
	child, errno := r.clone(files, failure[1])
	_ = unix.Close(failure[1])
	if errno == 0 {
		var reason failed
		if n, _ := unix.Read(failure[0], (*[unsafe.Sizeof(reason)]byte)(unsafe.Pointer(&reason))[:]); n > 0 {
			errno, step = reason.errno, reason.step
			for {
				if _, err := unix.Wait4(int(child), nil, 0, nil); err != unix.EINTR {
					break
				}
			}
		}
	}
	_ = unix.Close(failure[0])
	if errno != 0 {
		return -1, stepError(step, errno)
	}
	return int(child), nil
}

// failed is what a child writes that cannot execute the program. Its errno is one of
// execve(2) unless step says something else.
type failed struct {
	errno syscall.Errno
	step  uintptr
}

const (
	stepExecute = iota
	stepSession
	stepCapabilities
	stepIdentity
	stepFiles
	stepTerminal
	stepFilter
)

func stepError(step uintptr, errno syscall.Errno) error {
	switch step {
	case stepSession:
		return os.NewSyscallError("setsid", errno)
	case stepCapabilities:
		return os.NewSyscallError("limit the capabilities", errno)
	case stepIdentity:
		return os.NewSyscallError("become the user", errno)
	case stepFiles:
		return os.NewSyscallError("pass on descriptors", errno)
	case stepTerminal:
		return os.NewSyscallError("take the terminal", errno)
	case stepFilter:
		return filterError(errno)
	}
	return errno
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
		parent      uintptr
		why         failed
	)
	if r.cgroup >= 0 {
		arguments.flags |= unix.CLONE_INTO_CGROUP
		arguments.cgroup = uint64(r.cgroup)
	}
	if r.wantsPidfd { // r is not on the stack, and does not move
		arguments.flags |= unix.CLONE_PIDFD
		arguments.pidfd = uint64(uintptr(unsafe.Pointer(&r.pidfd)))
	}
	all = ^all
	parent, _, _ = syscall.RawSyscall(unix.SYS_GETPID, 0, 0, 0)
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&all)), uintptr(unsafe.Pointer(&before)), unsafe.Sizeof(all), 0, 0)
	pid, _, errno = syscall.RawSyscall(unix.SYS_CLONE3, uintptr(unsafe.Pointer(&arguments)), unsafe.Sizeof(arguments), 0)
	if pid != 0 || errno != 0 {
		syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&before)), 0, unsafe.Sizeof(all), 0, 0)
		return pid, errno
	}
	why.step = stepSession
	if _, _, why.errno = syscall.RawSyscall(unix.SYS_SETSID, 0, 0, 0); why.errno != 0 {
		goto failed
	}
	why.step = stepCapabilities
	if r.within != nil {
		for i = 0; r.within.drop>>i != 0; i++ {
			if r.within.drop>>i&1 == 0 {
				continue
			}
			if _, _, why.errno = syscall.RawSyscall6(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, uintptr(i), 0, 0, 0, 0); why.errno != 0 {
				goto failed
			}
		}
		if r.within.keeps {
			if _, _, why.errno = syscall.RawSyscall6(unix.SYS_PRCTL, unix.PR_SET_KEEPCAPS, 1, 0, 0, 0, 0); why.errno != 0 {
				goto failed
			}
		}
	}
	why.step = stepIdentity
	if r.identity != nil {
		groups := unsafe.Pointer(nil)
		if len(r.identity.groups) > 0 {
			groups = unsafe.Pointer(&r.identity.groups[0])
		}
		if _, _, why.errno = syscall.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(r.identity.groups)), uintptr(groups), 0); why.errno != 0 {
			goto failed
		}
		if _, _, why.errno = syscall.RawSyscall(unix.SYS_SETGID, uintptr(r.identity.gid), 0, 0); why.errno != 0 {
			goto failed
		}
		if _, _, why.errno = syscall.RawSyscall(unix.SYS_SETUID, uintptr(r.identity.uid), 0, 0); why.errno != 0 {
			goto failed
		}
	}
	if r.orphan != 0 { // the change of the user would have reset it (prctl(2))
		syscall.RawSyscall6(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(r.orphan), 0, 0, 0, 0)
		if now, _, _ := syscall.RawSyscall(unix.SYS_GETPPID, 0, 0, 0); now != parent { // it has ended before
			syscall.RawSyscall(unix.SYS_EXIT, 253, 0, 0)
		}
	}
	// First out of the way of each other, and the pipe too.
	why.step = stepFiles
	{
		next, _, e := syscall.RawSyscall(unix.SYS_FCNTL, uintptr(failure), unix.F_DUPFD_CLOEXEC, maxInherited)
		if why.errno = e; e != 0 {
			goto failed
		}
		failure = int(next)
	}
	for i = 0; i < len(files) && i < maxInherited; i++ {
		if moved[i] = files[i]; files[i] >= 0 {
			fd, _, e := syscall.RawSyscall(unix.SYS_FCNTL, uintptr(files[i]), unix.F_DUPFD_CLOEXEC, maxInherited)
			if why.errno = e; e != 0 {
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
		if _, _, why.errno = syscall.RawSyscall(unix.SYS_DUP3, uintptr(moved[i]), uintptr(i), 0); why.errno != 0 {
			goto failed
		}
	}
	why.step = stepTerminal
	if r.terminal {
		if _, _, why.errno = syscall.RawSyscall(unix.SYS_IOCTL, 0, unix.TIOCSCTTY, 1); why.errno != 0 {
			goto failed
		}
	}
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&before)), 0, unsafe.Sizeof(all), 0, 0)
	why.step = stepFilter
	if r.within != nil && r.within.program != nil {
		if r.within.keeps { // another user has it no more, but may
			if _, _, why.errno = syscall.RawSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&r.within.header)), uintptr(unsafe.Pointer(&r.within.data[0])), 0); why.errno != 0 {
				goto failed
			}
		}
		if _, _, why.errno = syscall.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, r.within.flags, uintptr(unsafe.Pointer(r.within.program))); why.errno != 0 {
			goto failed
		}
	}
	why.step = stepExecute
	_, _, why.errno = syscall.RawSyscall(unix.SYS_EXECVE, uintptr(unsafe.Pointer(r.path)), uintptr(unsafe.Pointer(&r.argv[0])), uintptr(unsafe.Pointer(&r.envv[0])))
failed:
	syscall.RawSyscall(unix.SYS_WRITE, uintptr(failure), uintptr(unsafe.Pointer(&why)), unsafe.Sizeof(why))
	syscall.RawSyscall(unix.SYS_EXIT, 253, 0, 0)
	for { // the filter has refused that
		*(*byte)(nil) = 0
	}
}

// keepLimit gives this process the limit of descriptors back that it was started with, and that
// what it starts has to have. The runtime has raised it (os, rlimit.go), knows alone what it was,
// and takes it back before an execve(2), even one that fails.
func keepLimit() {
	_ = syscall.Exec("", nil, nil)
}
