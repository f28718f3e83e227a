package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// files are the tries that open something. Nothing is written.
func files() (all []try) {
	for _, path := range []string{
		"/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/vm/drop_caches",
		"/proc/sys/fs/file-max", "/proc/irq/default_smp_affinity", "/proc/1/exe", "/proc/1/mem",
		"/sys/kernel/mm/transparent_hugepage/enabled", "/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/memory.max",
		"/dev/kmsg", "/dev/mem", "/dev/fuse", "/dev/net/tun", "/dev/loop-control", "/dev/kvm",
	} {
		all = append(all, try{"write " + path, func() error {
			return closed(unix.Open(path, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0))
		}})
	}
	for _, path := range []string{
		"/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/latency_stats", "/proc/interrupts", "/proc/scsi/scsi", "/proc/acpi/wakeup",
		"/proc/1/environ", "/proc/1/fd", "/sys/firmware", "/sys/devices/virtual/powercap", "/sys/kernel/debug", "/sys/kernel/security",
	} {
		all = append(all, try{"read " + path, func() error { return readable(path) }})
	}
	return append(all,
		try{"read addresses in /proc/kallsyms", kernelAddresses},
		try{"make a cgroup", func() error {
			const dir = "/sys/fs/cgroup/probe"
			if err := os.Mkdir(dir, 0o755); err != nil {
				return err
			}
			return os.Remove(dir)
		}},
		try{"see the host's disks", func() error {
			disks, _ := filepath.Glob("/dev/[sv]d[a-z]")
			if len(disks) == 0 {
				return unix.ENOENT
			}
			return closed(unix.Open(disks[0], unix.O_RDONLY|unix.O_CLOEXEC, 0))
		}},
	)
}

// readable reads a byte of a file, or of a directory a name.
func readable(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		_, err = f.Readdirnames(1)
		return emptied(err)
	}
	_, err = f.Read(make([]byte, 1))
	return emptied(err)
}

// emptied: what has nothing in it is as good as refused.
func emptied(err error) error {
	if errors.Is(err, io.EOF) {
		return errors.New("empty")
	}
	return err
}

func kernelAddresses() error {
	text, err := os.ReadFile("/proc/kallsyms")
	if err != nil {
		return err
	}
	address, _, _ := strings.Cut(string(text), " ")
	if strings.Trim(address, "0") == "" {
		return errors.New("all are 0")
	}
	return nil
}
