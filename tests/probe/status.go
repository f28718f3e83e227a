package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// status is what the kernel says of this process.
func status() []attempt {
	text, _ := os.ReadFile("/proc/self/status")
	field := func(name string) string {
		for line := range strings.Lines(string(text)) {
			if value, ok := strings.CutPrefix(line, name+":"); ok {
				return strings.TrimSpace(value)
			}
		}
		return ""
	}
	report := []attempt{
		{"user namespace", userNamespace(), ""},
		{"no_new_privs", onOff(field("NoNewPrivs") == "1"), ""},
		{"seccomp filter", onOff(field("Seccomp") == "2"), ""},
	}
	for _, set := range []string{"CapBnd", "CapEff", "CapPrm", "CapInh", "CapAmb"} {
		value, _ := strconv.ParseUint(field(set), 16, 64)
		report = append(report, attempt{set, strconv.Itoa(len(capabilities(value))), strings.Join(capabilities(value), " ")})
	}
	return append(report,
		attempt{"root file system", rootIs(), ""},
		attempt{"processes of others seen", strconv.Itoa(strangers()), ""},
		attempt{"network links", strings.Join(links(), " "), ""},
		attempt{"environment", strings.Join(environment(), " "), ""},
		attempt{"descriptors beside 0, 1 and 2", descriptors(), ""},
		attempt{"paths of the host in the mount table", strconv.Itoa(len(hostPaths())), strings.Join(hostPaths(), " ")},
		attempt{"limit of processes", firstLine("/sys/fs/cgroup/pids.max"), ""},
		attempt{"core pattern seen", firstLine("/proc/sys/kernel/core_pattern"), ""},
		attempt{"label", firstLine("/proc/self/attr/current"), ""},
	)
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

// userNamespace tells whether root here is root outside.
func userNamespace() string {
	text, err := os.ReadFile("/proc/self/uid_map")
	fields := strings.Fields(string(text))
	switch {
	case err != nil || len(fields) < 3:
		return "unknown"
	case fields[1] == "0" && fields[2] == "4294967295":
		return "the host's"
	case fields[1] == "0":
		return "its own, but root is the host's"
	}
	return "its own"
}

// capabilityNames are in the kernel's order (include/uapi/linux/capability.h).
var capabilityNames = strings.Fields(`chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap
	linux_immutable net_bind_service net_broadcast net_admin net_raw ipc_lock ipc_owner sys_module sys_rawio sys_chroot
	sys_ptrace sys_pacct sys_admin sys_boot sys_nice sys_resource sys_time sys_tty_config mknod lease audit_write
	audit_control setfcap mac_override mac_admin syslog wake_alarm block_suspend audit_read perfmon bpf checkpoint_restore`)

func capabilities(set uint64) (names []string) {
	for i, name := range capabilityNames {
		if set&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}

func rootIs() string {
	var fs unix.Statfs_t
	if err := unix.Statfs("/", &fs); err != nil {
		return err.Error()
	}
	if fs.Flags&unix.ST_RDONLY != 0 {
		return "read-only"
	}
	return "writable"
}

// strangers counts the processes that are neither this one nor its ancestors here.
func strangers() (n int) {
	ours := map[int]bool{os.Getpid(): true}
	for pid := os.Getppid(); pid > 0; {
		ours[pid] = true
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			break
		}
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		pid, _ = strconv.Atoi(fields[1])
	}
	entries, _ := filepath.Glob("/proc/[0-9]*")
	for _, entry := range entries {
		if pid, _ := strconv.Atoi(filepath.Base(entry)); !ours[pid] {
			n++
		}
	}
	return n
}

func links() (names []string) {
	entries, _ := os.ReadDir("/sys/class/net")
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func environment() (names []string) {
	for _, variable := range os.Environ() {
		name, _, _ := strings.Cut(variable, "=")
		names = append(names, name)
	}
	return names
}

// descriptors are what they lead to, but for the event poll of the Go runtime.
func descriptors() string {
	var found []string
	for fd := 3; fd < 256; fd++ {
		target, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
		if err == nil && !strings.HasPrefix(target, "anon_inode:[event") && !strings.HasPrefix(target, "/sys/fs/cgroup/") {
			found = append(found, target)
		}
	}
	if len(found) == 0 {
		return "none"
	}
	return strings.Join(found, " ")
}

// hostPaths are the directories of other file systems that mounts show, as far as they are
// not a file system's own root.
func hostPaths() (found []string) {
	text, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) > 4 && fields[3] != "/" && !strings.HasPrefix(fields[4], "/proc/") && !strings.HasPrefix(fields[4], "/sys/") && !strings.HasPrefix(fields[4], "/dev/") {
			found = append(found, fields[3])
		}
	}
	return found
}

func firstLine(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return "unreadable"
	}
	line, _, _ := strings.Cut(strings.TrimRight(string(text), "\x00"), "\n")
	return line
}
