package confinement

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// Measure is one thing that confines a container, or does not.
type Measure struct {
	Name     string  `json:"name"`
	On       bool    `json:"on"`
	What     string  `json:"what"`     // how it is
	Why      string  `json:"why"`      // what it is good for, or what its lack means
	Exposure float64 `json:"exposure"` // what it adds to that of the container; 0: nothing
}

// MaxExposure is that of a container that nothing confines.
const MaxExposure = 10.0

// risky are the capabilities that matter, by how much of the host they give where root is
// the host's (capabilities(7)).
var risky = [...]struct {
	capability uint
	name, why  string
	weight     float64
}{
	{unix.CAP_SYS_ADMIN, "cap_sys_admin", "mounts, and half of all that root can", 6},
	{unix.CAP_SYS_MODULE, "cap_sys_module", "loads code into the kernel", 6},
	{unix.CAP_SYS_RAWIO, "cap_sys_rawio", "reads and writes ports and memory of the machine", 5},
	{unix.CAP_SYS_PTRACE, "cap_sys_ptrace", "reads and changes other processes of its user namespace", 3},
	{unix.CAP_DAC_READ_SEARCH, "cap_dac_read_search", "opens files by handle, past all directories", 3},
	{unix.CAP_NET_ADMIN, "cap_net_admin", "changes links, routes and rules of its network", 2},
	{unix.CAP_BPF, "cap_bpf", "loads programs into the kernel", 3},
	{unix.CAP_PERFMON, "cap_perfmon", "watches the whole machine", 2},
	{unix.CAP_SYS_TIME, "cap_sys_time", "sets the clock", 2},
	{unix.CAP_SYS_BOOT, "cap_sys_boot", "reboots, and loads another kernel", 2},
	{unix.CAP_MKNOD, "cap_mknod", "makes device files", 2},
	{unix.CAP_SYS_RESOURCE, "cap_sys_resource", "goes beyond limits", 1},
	{unix.CAP_SYSLOG, "cap_syslog", "reads addresses of the kernel", 1},
	{unix.CAP_NET_RAW, "cap_net_raw", "forges packets to its neighbours", 1},
}

// Judge lists every measure with its part of the exposure, whose sum is at most MaxExposure.
func Judge(f *Facts) (measures []Measure, exposure float64) {
	var weights []float64
	total := 0.0
	add := func(name string, on bool, weight float64, good, bad, why string) {
		what := good
		if !on {
			what = bad
		}
		measures, weights = append(measures, Measure{Name: name, On: on, What: what, Why: why}), append(weights, weight)
		total += weight
	}
	f.judgeIdentity(add)
	for _, n := range namespaces {
		add(n.name, !f.Shared[n.kind], 5, "the container's", "the host's", "without it "+n.why)
	}
	f.judgeFiles(add)
	f.judgeLimits(add)
	for i := range measures {
		if m := &measures[i]; !m.On {
			m.Exposure = MaxExposure * weights[i] / total
			exposure += m.Exposure
		}
	}
	return measures, exposure
}

type adder func(name string, on bool, weight float64, good, bad, why string)

func (f *Facts) judgeIdentity(add adder) {
	root := "a range of the host's that nobody else has"
	if f.FirstID != 0 {
		root = fmt.Sprintf("root is %d of the host", f.FirstID)
	}
	add("own user ids", f.OwnUsers, 25, root, "root is root of the host",
		"root of a container that gets out is nobody on the host")
	add("filter of system calls", f.Filter, 12, "seccomp", "none", "most holes of the kernel are in calls that a service never makes")
	add("no new privileges", f.NoNewPrivs, 4, "set", "not set", "a set-user-ID program in the image makes nobody root")
	add("user is not root", !f.RootUser, 3, "no process is", "some process is", "root of a container can change all of its files, and more of the kernel is open to it")
	add("no ambient capabilities", f.Ambient == 0, 1, "none", "there are some", "an ordinary user's programs get none by being executed (CVE-2022-29162)")
	for _, r := range risky {
		weight := r.weight
		if f.OwnUsers {
			weight /= 3 // it counts for what belongs to the container's user namespace
		}
		add("without "+r.name, f.Bounding&(1<<r.capability) == 0, weight, "no process can have it", "processes have it or can", "who has it "+r.why)
	}
}

func (f *Facts) judgeFiles(add adder) {
	switches, open := 8.0, 5.0
	if f.OwnUsers {
		switches, open = 2, 2 // their owner is the host's root, who is nobody inside
	}
	add("switches of the kernel", len(f.Writable) == 0, switches, "read-only", "writable mounts: "+strings.Join(f.Writable, " "), "in /proc and /sys are files that change the host")
	add("the host's state hidden", len(f.Shown) == 0, 2, "hidden", "shown: "+strings.Join(f.Shown, " "), "files in /proc and /sys tell of the host's memory, keys and hardware")
	add("read-only root", f.ReadOnlyRoot, 2, "read-only", "writable", "who breaks into a service cannot change its programs")
	add("devices closed", f.Devices, open, devices("null, zero, full, random, urandom, tty and terminals only", f.MoreDevices), "those that it can make or see", "a device file of a disk is the disk")
	if len(f.MoreDevices) > 0 {
		add("no more devices", false, 3, "", strings.Join(f.MoreDevices, " "), "a driver does what it is told, whoever tells it")
	}
	writable := []string{}
	for _, b := range f.Binds {
		if !b.ReadOnly {
			writable = append(writable, b.Source)
		}
	}
	paths := strings.Join(writable, " ")
	if f.NoFile {
		paths = "not known: its file is gone, or has errors"
	}
	add("no writable path of the host", len(writable) == 0 && !f.NoFile, 3, "none", paths, "what is written there by a container, programs of the host read")
}

func devices(usual string, more []string) string {
	if len(more) > 0 {
		return "those of a list"
	}
	return usual
}

func (f *Facts) judgeLimits(add adder) {
	add("limit of memory", f.MemoryLimit, 1, "set", "none", "without it one container takes the memory of all others")
	add("limit of processes", f.TasksLimit, 1, "set", "none", "without it a fork bomb takes the process ids of all others")
	add("label of a security module", f.Label != "", 2, f.Label, "none", "AppArmor or SELinux still stands where all else has failed")
}

// Verdict is a word for an exposure; the words and their bounds are those of
// systemd-analyze(1) security.
func Verdict(exposure float64) string {
	switch {
	case exposure >= 9.95:
		return "DANGEROUS"
	case exposure >= 8.95:
		return "UNSAFE"
	case exposure >= 7.45:
		return "EXPOSED"
	case exposure >= 4.95:
		return "MEDIUM"
	case exposure >= 0.95:
		return "OK"
	case exposure >= 0.05:
		return "SAFE"
	}
	return "PERFECT"
}
