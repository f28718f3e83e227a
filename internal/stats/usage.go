// Package stats reads what containers use: of the control group of their unit, of their
// links and of each process. Everything comes from the kernel; what a container itself
// decides on, the names and the command lines of its processes, is for the caller to
// clean. It imports nothing of cocker.
package stats

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/cgroups/v3/cgroup2"
	pressure "github.com/containerd/cgroups/v3/cgroup2/stats"
)

// Usage is what a control group uses, and may use. nil: the kernel does not tell,
// because the controller is off, or there is no limit.
type Usage struct {
	CPU            *uint64 // microseconds of processor time since the start
	Memory         *uint64 // MemoryCurrent without the file cache that has not been used lately
	MemoryCurrent  *uint64 // all that is charged, as memory.current
	MemoryMax      *uint64 // the least of its own limit and those above it
	Swap           *uint64
	IORead         *uint64 // bytes since the start, of all disks
	IOWrite        *uint64
	Pids           *uint64 // processes and threads
	PidsMax        *uint64
	CPUPressure    *float64 // percent of the last 10 seconds in which some task waited
	MemoryPressure *float64
	IOPressure     *float64
}

// mountpoint is where systemd has the unified hierarchy (systemd(1)).
const mountpoint = "/sys/fs/cgroup"

// OfCgroup reads a control group by its directory; fs.ErrNotExist: it is gone.
func OfCgroup(directory string) (*Usage, error) { return read(mountpoint, directory) }

func read(root, directory string) (*Usage, error) {
	group := "/" + strings.Trim(strings.TrimPrefix(directory, root), "/")
	manager, err := cgroup2.Load(group, cgroup2.WithMountpoint(root))
	if err != nil {
		return nil, fmt.Errorf("read cgroup %q: %w", directory, err)
	}
	// The library gives 0 for a file that is not there, so what is there is asked first: on a
	// host with cgroup v1 the unified hierarchy has no controllers, and counts processor time only.
	controllers, err := manager.Controllers()
	if err != nil {
		return nil, fmt.Errorf("read cgroup %q: %w", directory, err)
	}
	metrics, err := manager.StatFiltered(cgroup2.StatPids | cgroup2.StatCPU | cgroup2.StatMemory | cgroup2.StatIO)
	if err != nil {
		return nil, fmt.Errorf("read cgroup %q: %w", directory, err)
	}
	u := &Usage{CPU: &metrics.CPU.UsageUsec}
	u.CPUPressure, u.MemoryPressure, u.IOPressure = some(metrics.CPU.PSI), some(metrics.Memory.PSI), some(metrics.Io.PSI)
	if slices.Contains(controllers, "memory") {
		current, unused := metrics.Memory.Usage, metrics.Memory.InactiveFile
		used := current - min(current, unused)
		u.Memory, u.MemoryCurrent, u.MemoryMax = &used, &current, memoryMax(root, group)
		u.Swap = &metrics.Memory.SwapUsage
	}
	if slices.Contains(controllers, "pids") {
		u.Pids, u.PidsMax = &metrics.Pids.Current, limit(metrics.Pids.Limit)
	}
	if slices.Contains(controllers, "io") {
		u.IORead, u.IOWrite = new(uint64), new(uint64)
		for _, disk := range metrics.Io.Usage {
			*u.IORead += disk.Rbytes
			*u.IOWrite += disk.Wbytes
		}
	}
	if _, err := os.Lstat(directory); err != nil { // it has gone while it was read
		return nil, err
	}
	return u, nil
}

// memoryMax is the limit that counts: a slice may allow less than the unit.
func memoryMax(root, group string) (least *uint64) {
	for ; group != "/" && group != "."; group = filepath.Dir(group) {
		text, err := os.ReadFile(filepath.Join(root, group, "memory.max"))
		if err != nil {
			continue
		}
		n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64) // "max" is none
		if err == nil && (least == nil || n < *least) {
			least = &n
		}
	}
	return least
}

// limit is a value that the library gives as the highest number if the file says "max".
func limit(n uint64) *uint64 {
	if n == ^uint64(0) {
		return nil
	}
	return &n
}

func some(p *pressure.PSIStats) *float64 {
	if p == nil || p.Some == nil { // the kernel was built or started without (psi=0)
		return nil
	}
	return &p.Some.Avg10
}
