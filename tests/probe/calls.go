package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// calls are the tries that are system calls.
func calls(canary string) []try {
	return []try{
		{"mount a tmpfs", mountTmpfs},
		{"mount a proc", func() error { return mounted("proc", "proc") }},
		{"mount a sysfs", func() error { return mounted("sysfs", "sysfs") }},
		{"mount a cgroup file system", func() error { return mounted("cgroup2", "cgroup2") }},
		{"remount /sys writable", func() error { return unix.Mount("", "/sys", "", unix.MS_REMOUNT|unix.MS_BIND, "") }},
		{"remount / with devices", func() error { return unix.Mount("", "/", "", unix.MS_REMOUNT|unix.MS_BIND, "") }},
		{"unmount /proc", func() error { return passedIf(unix.Unmount("/proc", unix.MNT_EXPIRE|unix.MNT_DETACH), unix.EINVAL) }},
		{"fsopen", func() error { return closed(unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)) }},
		{"open_tree", func() error {
			fd, err := unix.OpenTree(unix.AT_FDCWD, "/", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
			return closed(fd, err)
		}},
		{"pivot_root", func() error { return passedIf(unix.PivotRoot("/", "/"), unix.EBUSY, unix.EINVAL) }},
		{"chroot", func() error { return child(&syscall.SysProcAttr{Chroot: "/"}) }},
		{"a user namespace", func() error { return child(&syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER}) }},
		{"a mount namespace", func() error { return child(&syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}) }},
		{"a network namespace", func() error { return child(&syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}) }},
		{"a cgroup namespace", func() error { return child(&syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWCGROUP}) }},
		{"setns", setns},
		{"ptrace of a child", func() error { return traced(&syscall.SysProcAttr{Ptrace: true}) }},
		{"bpf: make a map", bpfMap},
		{"perf_event_open", perfEvent},
		{"io_uring_setup", func() error {
			var parameters [120]byte
			return passedIf(raw(unix.SYS_IO_URING_SETUP, 0, uintptr(unsafe.Pointer(&parameters))), unix.EINVAL) // no entries
		}},
		{"userfaultfd", func() error { return userfaultfd() }},
		{"add_key", func() error {
			_, err := unix.AddKey("user", "probe", []byte("x"), unix.KEY_SPEC_PROCESS_KEYRING)
			return err
		}},
		{"read a key of who started the container", func() error {
			_, err := unix.KeyctlSearch(unix.KEY_SPEC_SESSION_KEYRING, "user", canary, 0)
			if errors.Is(err, unix.ENOKEY) {
				return errors.New("there is none")
			}
			return err
		}},
		{"kexec_load", func() error { return passedIf(raw(unix.SYS_KEXEC_LOAD, 0, 1<<20, 0, 0), unix.EINVAL) }},
		{"init_module", func() error {
			return passedIf(raw(unix.SYS_FINIT_MODULE, ^uintptr(0), 0, 1<<30), unix.EINVAL, unix.EBADF)
		}},
		{"delete_module", func() error { return passedIf(deleteModule(), unix.ENOENT) }},
		{"reboot", func() error { return passedIf(raw(unix.SYS_REBOOT, 0, 0, 0), unix.EINVAL) }}, // no magic numbers
		{"swapon", func() error { return passedIf(byName(unix.SYS_SWAPON, "/nonexistent"), unix.ENOENT) }},
		{"acct", func() error { return passedIf(byName(unix.SYS_ACCT, "/nonexistent"), unix.ENOENT) }},
		{"settimeofday", setTimeZone},
		{"sethostname", setHostName},
		{"syslog", func() error { return passedIf(raw(unix.SYS_SYSLOG, 8, 0, 0), unix.EINVAL) }}, // no level
		{"read the kernel's log", func() error {
			_, err := unix.Klogctl(unix.SYSLOG_ACTION_READ_ALL, make([]byte, 16))
			return err
		}},
		{"open_by_handle_at", openByHandle},
		{"fanotify_init", func() error {
			fd, err := unix.FanotifyInit(unix.FAN_CLASS_CONTENT|unix.FAN_CLOEXEC, 0)
			return closed(fd, err)
		}},
		{"personality", func() error { return raw(unix.SYS_PERSONALITY, 0x0040000|8) }}, // ADDR_NO_RANDOMIZE, 32 bits
		{"keyctl", func() error { return raw(unix.SYS_KEYCTL, 0, ^uintptr(0)-2, 0) }},
		{"set_mempolicy", func() error { return raw(unix.SYS_SET_MEMPOLICY, 0, 0, 0) }},
		{"kcmp", func() error { return raw(unix.SYS_KCMP, uintptr(os.Getpid()), uintptr(os.Getpid()), 1, 0, 0) }},
		{"process_vm_readv", processVM},
		{"quotactl", func() error { return passedIf(raw(unix.SYS_QUOTACTL, 0x800001<<8, 0, 0, 0), unix.ESRCH) }}, // Q_SYNC
		{"lookup_dcookie", func() error { return raw(unix.SYS_LOOKUP_DCOOKIE, 0, 0, 0) }},
		{"a socket of AF_VSOCK", func() error { return socket(unix.AF_VSOCK, unix.SOCK_STREAM, 0) }},
		{"a socket of AF_ALG", func() error { return socket(unix.AF_ALG, unix.SOCK_SEQPACKET, 0) }},
		{"a socket of AF_PACKET", func() error { return socket(unix.AF_PACKET, unix.SOCK_RAW, 0) }},
		{"a raw socket", func() error { return socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP) }},
		{"configure the network", configureNetwork},
		{"raise the priority", func() error { return child(&syscall.SysProcAttr{}, "nice") }},
		{"a real-time process", realTime},
		{"lower oom_score_adj", func() error { return os.WriteFile("/proc/self/oom_score_adj", []byte("-1000"), 0) }},
		{"raise a hard limit", func() error {
			var limit unix.Rlimit
			_ = unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit)
			if limit.Max == unix.RLIM_INFINITY {
				return errPassed
			}
			limit.Max++
			return unix.Setrlimit(unix.RLIMIT_MEMLOCK, &limit)
		}},
		{"mknod of /dev/mem", func() error { return node("mem", unix.S_IFCHR, 1, 1) }},
		{"mknod of a disk", func() error { return node("disk", unix.S_IFBLK, 8, 0) }},
		{"ioperm", ioperm},
	}
}

func closed(fd int, err error) error {
	if err == nil {
		unix.Close(fd)
	}
	return err
}

// scratch is a directory to try things on.
func scratch() (string, error) { return os.MkdirTemp("", "probe") }

func mountTmpfs() error { return mounted("none", "tmpfs") }

func mounted(source, fstype string) error {
	dir, err := scratch()
	if err != nil {
		return err
	}
	defer os.Remove(dir)
	if err := unix.Mount(source, dir, fstype, 0, ""); err != nil {
		return err
	}
	return unix.Unmount(dir, unix.MNT_DETACH)
}

// child starts this program once more, which does nothing.
func child(attributes *syscall.SysProcAttr, how ...string) error {
	if len(how) > 0 {
		return errors.Join(unix.Setpriority(unix.PRIO_PROCESS, 0, -5), ignored(unix.Setpriority(unix.PRIO_PROCESS, 0, 0)))
	}
	cmd := exec.Command("/proc/self/exe", "nothing")
	if attributes.Chroot != "" {
		runtime.LockOSThread() // never unlocked: the thread goes with the goroutine
		return unix.Chroot(attributes.Chroot)
	}
	cmd.SysProcAttr = attributes
	return cmd.Run()
}

func ignored(error) error { return nil }

// traced starts a child that asks to be traced, and lets it go.
func traced(attributes *syscall.SysProcAttr) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.Command("/proc/self/exe", "nothing")
	cmd.SysProcAttr = attributes
	if err := cmd.Start(); err != nil {
		return err
	}
	_ = cmd.Wait() // it has stopped at execve(2)
	_ = unix.PtraceDetach(cmd.Process.Pid)
	_, _ = cmd.Process.Wait()
	return nil
}

func setns() error {
	fd, err := unix.Open("/proc/self/ns/uts", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Setns(fd, unix.CLONE_NEWUTS)
}

func bpfMap() error {
	attributes := [16]uint32{2, 4, 4, 1} // BPF_MAP_TYPE_ARRAY, sizes of key and value, entries
	fd, _, errno := syscall.Syscall(unix.SYS_BPF, 0, uintptr(unsafe.Pointer(&attributes)), unsafe.Sizeof(attributes))
	if errno != 0 {
		return errno
	}
	return unix.Close(int(fd))
}

func perfEvent() error {
	attributes := &unix.PerfEventAttr{Type: unix.PERF_TYPE_SOFTWARE, Config: unix.PERF_COUNT_SW_CPU_CLOCK, Size: unix.PERF_ATTR_SIZE_VER0}
	return closed(unix.PerfEventOpen(attributes, 0, -1, -1, unix.PERF_FLAG_FD_CLOEXEC))
}

func userfaultfd() error {
	fd, _, errno := syscall.Syscall(unix.SYS_USERFAULTFD, unix.O_CLOEXEC, 0, 0)
	if errno != 0 {
		return errno
	}
	return unix.Close(int(fd))
}

func deleteModule() error { return byName(unix.SYS_DELETE_MODULE, "nonexistent") }

func byName(number uintptr, name string) error {
	pointer, err := unix.BytePtrFromString(name)
	if err != nil {
		return err
	}
	return raw(number, uintptr(unsafe.Pointer(pointer)), unix.O_NONBLOCK)
}

// setTimeZone sets one that is out of range.
func setTimeZone() error {
	zone := [2]int32{10000, 0}
	return passedIf(raw(unix.SYS_SETTIMEOFDAY, 0, uintptr(unsafe.Pointer(&zone))), unix.EINVAL)
}

func setHostName() error {
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	return unix.Sethostname([]byte(name))
}

// openByHandle is the way out of old engines ("shocker", 2014).
func openByHandle() error {
	handle, _, err := unix.NameToHandleAt(unix.AT_FDCWD, "/", 0)
	if err != nil {
		return err
	}
	dir, err := unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	return closed(unix.OpenByHandleAt(dir, handle, unix.O_RDONLY|unix.O_CLOEXEC))
}

func processVM() error {
	from, to := []byte("x"), make([]byte, 1)
	local := []unix.Iovec{{Base: &to[0], Len: 1}}
	remote := []unix.RemoteIovec{{Base: uintptr(unsafe.Pointer(&from[0])), Len: 1}}
	_, err := unix.ProcessVMReadv(os.Getpid(), local, remote, 0)
	return err
}

func socket(family, kind, protocol int) error {
	return closed(unix.Socket(family, kind|unix.SOCK_CLOEXEC, protocol))
}

// configureNetwork sets the flags of the loopback link to what they are.
func configureNetwork() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, request); err != nil {
		return fmt.Errorf("read: %w", err)
	}
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request)
}

func realTime() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	attributes := &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}
	if err := unix.SchedSetAttr(0, attributes, 0); err != nil {
		return err
	}
	attributes.Policy, attributes.Priority = unix.SCHED_NORMAL, 0
	return unix.SchedSetAttr(0, attributes, 0)
}

// node makes a device file and opens it.
func node(name string, kind uint32, major, minor uint32) error {
	dir, err := scratch()
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	path := dir + "/" + name
	if err := unix.Mknod(path, kind|0o600, int(unix.Mkdev(major, minor))); err != nil {
		return fmt.Errorf("mknod: %w", err)
	}
	if err := closed(unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)); err != nil {
		return errors.New("made, but open: " + err.Error())
	}
	return nil
}
