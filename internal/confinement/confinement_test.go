package confinement

import (
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// confined is what everything confines.
func confined() *Facts {
	return &Facts{OwnUsers: true, FirstID: 1 << 20, Filter: true, NoNewPrivs: true, ReadOnlyRoot: true, Devices: true,
		MemoryLimit: true, TasksLimit: true, Label: "web"}
}

func TestJudgeBounds(t *testing.T) {
	if _, exposure := Judge(confined()); exposure != 0 || Verdict(exposure) != "PERFECT" {
		t.Errorf("confined: %v", exposure)
	}
	open := &Facts{Bounding: math.MaxUint64, Ambient: 1, RootUser: true, Writable: []string{"/sys"}, Shown: []string{"/proc/kcore"},
		MoreDevices: []string{"/dev/sda rwm"}, Binds: []Bind{{Source: "/"}},
		Shared: map[string]bool{"pid": true, "mnt": true, "net": true, "ipc": true, "uts": true, "cgroup": true}}
	measures, exposure := Judge(open)
	if exposure < 9.95 || exposure > MaxExposure+0.001 || Verdict(exposure) != "DANGEROUS" {
		t.Errorf("open: %v", exposure)
	}
	for _, m := range measures {
		if m.On || m.Exposure <= 0 || m.Name == "" || m.What == "" || m.Why == "" {
			t.Errorf("%+v", m)
		}
	}
}

// To take any one measure out makes the exposure larger, and names the measure.
func TestJudgeTellsEach(t *testing.T) {
	for name, takeOut := range map[string]func(*Facts){
		"own user ids":                  func(f *Facts) { f.OwnUsers = false },
		"filter of system calls":        func(f *Facts) { f.Filter = false },
		"no new privileges":             func(f *Facts) { f.NoNewPrivs = false },
		"user is not root":              func(f *Facts) { f.RootUser = true },
		"no ambient capabilities":       func(f *Facts) { f.Ambient = 1 },
		"without cap_sys_admin":         func(f *Facts) { f.Bounding = 1 << unix.CAP_SYS_ADMIN },
		"own network":                   func(f *Facts) { f.Shared = map[string]bool{"net": true} },
		"switches of the kernel":        func(f *Facts) { f.Writable = []string{"/proc/sys"} },
		"the host's state hidden":       func(f *Facts) { f.Shown = []string{"/proc/keys"} },
		"read-only root":                func(f *Facts) { f.ReadOnlyRoot = false },
		"devices closed":                func(f *Facts) { f.Devices = false },
		"no more devices":               func(f *Facts) { f.MoreDevices = []string{"/dev/kvm rw"} },
		"no writable path of the host":  func(f *Facts) { f.Binds = []Bind{{Source: "/srv"}} },
		"no writable path of the host ": func(f *Facts) { f.NoFile = true },
		"limit of memory":               func(f *Facts) { f.MemoryLimit = false },
		"limit of processes":            func(f *Facts) { f.TasksLimit = false },
		"label of a security module":    func(f *Facts) { f.Label = "" },
	} {
		facts := confined()
		takeOut(facts)
		measures, exposure := Judge(facts)
		off := slices.IndexFunc(measures, func(m Measure) bool { return !m.On })
		if exposure <= 0 || off < 0 || measures[off].Name != strings.TrimSpace(name) || measures[off].Exposure != exposure {
			t.Errorf("%s: exposure %v, of %+v", name, exposure, measures[max(off, 0)])
		}
	}
}

// A mount covers what is below it, and the later one the earlier.
func TestMountOf(t *testing.T) {
	mounts := parseMounts(`22 1 0:21 / / ro,relatime - overlay cocker rw
23 22 0:22 / /proc rw,nosuid - proc proc rw
24 23 0:22 /sys /proc/sys ro,nosuid - proc proc rw
25 22 0:23 / /sys ro - sysfs sysfs rw
26 25 0:24 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw
27 22 0:25 / /a\040b rw shared:1 - tmpfs tmpfs rw
28 22 0:25 / /a\040b ro - tmpfs tmpfs rw
short
`)
	for path, want := range map[string]mount{
		"/": {"/", true}, "/etc": {"/", true}, "/proc/keys": {"/proc", false}, "/proc/sys/kernel/x": {"/proc/sys", true},
		"/proc/sysrq-trigger": {"/proc", false}, "/sys/firmware": {"/sys", true}, "/sys/fs/cgroup/x": {"/sys/fs/cgroup", false}, "/a b/c": {"/a b", true},
	} {
		if got := mountOf(mounts, path); got != want {
			t.Errorf("%s: %+v, want %+v", path, got, want)
		}
	}
}

func TestRootID(t *testing.T) {
	for text, want := range map[string]uint32{
		"         0     524288      65536\n":        524288,
		"         0          0 4294967295\n":        0,
		"         1     100000          5\n0 7 1\n": 7,
	} {
		if got, err := rootID(text); got != want || err != nil {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "x", "1 2 3\n", "0 x 1\n", "0 99999999999 1\n"} {
		if id, err := rootID(text); err == nil {
			t.Errorf("%q: %d", text, id)
		}
	}
}

// This process is one that nothing confines, but what the test is run in.
func TestReadOfThisProcess(t *testing.T) {
	f, err := Read(os.Getpid(), "/sys/fs/cgroup/none", "/nonexistent")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range namespaces {
		if !f.Shared[n.kind] {
			t.Errorf("the %s namespace is not this one", n.kind)
		}
	}
	if _, err := Read(1<<30, "/sys/fs/cgroup/none", "/nonexistent"); err == nil {
		t.Error("a process that is not there")
	}
}

func FuzzStatus(f *testing.F) {
	f.Add("Name:\tsh\nSeccomp:\t2\nCapBnd:\t00000000a80425fb\nUid:\t0\t0\t0\t0\n", "0 1 2\n", "22 1 0:21 / / ro - x x x\n")
	f.Fuzz(func(t *testing.T, status, idMap, mountinfo string) {
		facts := new(Facts)
		facts.add(status)
		_, _ = rootID(idMap)
		for _, m := range parseMounts(mountinfo) {
			mountOf([]mount{m}, m.target)
		}
	})
}
