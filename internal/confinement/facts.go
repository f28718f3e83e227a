// Package confinement reads what keeps the processes of a container apart from the host,
// from the kernel and not from what was asked for, and judges it. It imports
// nothing of cocker.
package confinement

// Facts are what is known of one container.
type Facts struct {
	OwnUsers     bool
	FirstID      uint32 // the host's id of the container's root
	Shared       map[string]bool
	Filter       bool // seccomp(2), for each of its processes
	NoNewPrivs   bool // for each of its processes
	Bounding     uint64
	Ambient      uint64
	RootUser     bool // some process is root inside, that is not cocker's
	ReadOnlyRoot bool
	Writable     []string // of kernelSwitches, those that are on a writable mount
	Shown        []string // of hostInformation, those that are not hidden
	Devices      bool     // the kernel lets it open devices of the list only
	MoreDevices  []string
	Binds        []Bind
	NoFile       bool // so nobody knows the binds
	MemoryLimit  bool
	TasksLimit   bool
	Label        string // of a security module; "": it has none
}

// Bind is a directory or file of the host that the container sees.
type Bind struct {
	Source, Target string
	ReadOnly       bool
}

// The kinds of Facts.Shared, as /proc/PID/ns names them.
var namespaces = [...]struct{ kind, name, why string }{
	{"pid", "own process ids", "it could signal and trace the host's processes"},
	{"mnt", "own mounts", "it could mount over, and unmount, what is the host's"},
	{"net", "own network", "it sees the host's links and connections, and reaches what listens on 127.0.0.1 there"},
	{"ipc", "own System V IPC", "it could write to the shared memory of the host's programs"},
	{"uts", "own host name", "it could rename the host"},
	{"cgroup", "own cgroup tree", "it would see the names of the host's services"},
}

// kernelSwitches change the host, or tell it what to execute.
var kernelSwitches = [...]string{"/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs", "/sys", "/sys/fs/cgroup"}

// hostInformation tells of the host what no container needs (Docker's list, moby
// daemon/pkg/oci/defaults.go).
var hostInformation = [...]string{"/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
	"/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/sys/devices/system/cpu/cpu0/thermal_throttle", "/sys/devices/virtual/powercap", "/sys/firmware"}
