package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/internal/stats"
	"github.com/cocker/cocker/launch"
)

func statsCommand(s *streams) *cobra.Command {
	l, sorting := &live{out: s.out}, "cpu"
	command := &cobra.Command{
		Use:   "stats [NAME...]",
		Short: "Show what containers use, and go on",
		Long: `Stats shows what running containers use: those that are named, or all. On a
terminal it is a table that is drawn anew at each interval until Ctrl-C;
containers that are started meanwhile come, and those that end go. Rates are over
the last interval. What is not known is "-", in JSON null: the controller of the
control group is off, or there is no limit.

CPU%             processor time; 100 is one CPU
MEMORY           what is charged to the control group, without the file cache that
                 has not been used lately (memory.current minus inactive_file of
                 memory.stat), as docker counts
MEM-MAX          the least limit that is set for it, or for a slice above
READ/S, WRITE/S  bytes to and from disks; one disk upon another counts twice
RX/S, TX/S       bytes that its network links have received and sent; those of a
                 pod are the same for all in it, and with the host's network there
                 are none of its own
CPU-PSI, MEM-PSI, IO-PSI
                 pressure: the percentage of the last 10 seconds in which some of
                 its tasks had to wait ("some avg10")
PIDS, PIDS-MAX   processes and threads

With --json each line is one container in one sample, with these keys. Times are
RFC 3339, sizes bytes, and what is no rate counts from the container's start:
time, name, cpu_percent, cpu_usec, memory_bytes, memory_current_bytes,
memory_max_bytes, swap_bytes, io_read_bytes, io_write_bytes,
io_read_bytes_per_second, io_write_bytes_per_second, network_received_bytes,
network_sent_bytes, network_received_bytes_per_second,
network_sent_bytes_per_second, cpu_pressure, memory_pressure, io_pressure, pids,
pids_max. A rate is null in the first sample of a container.`,
		Example:           "  cocker stats\n  cocker stats --no-stream --sort memory\n  cocker stats --json --interval 10s web | jq .memory_bytes",
		ValidArgsFunction: completeContainers,
		RunE: func(c *cobra.Command, args []string) error {
			if err := errors.Join(l.check(), checkSort(sorting, statsOrders())); err != nil {
				return err
			}
			for _, name := range args {
				if _, err := existingState(name); err != nil {
					return err
				}
			}
			w := &watch{names: args, sort: sorting, last: map[string]reading{}}
			return l.run(c.Context(), w.take)
		},
	}
	l.flags(command)
	sortFlag(command, &sorting, statsOrders())
	return asRoot(command)
}

// existingState is runningState with an error of its own for a name that is nobody's.
func existingState(name string) (*launch.State, error) {
	state, err := runningState(name)
	if err != nil {
		return nil, cmpError(notFound(name), err)
	}
	return state, nil
}

// order is one value of --sort.
type order[T any] struct {
	name    string
	compare func(a, b T) int
}

func sortFlag[T any](c *cobra.Command, to *string, orders []order[T]) {
	names := orderNames(orders)
	c.Flags().StringVar(to, "sort", *to, "the `COLUMN` that rows are sorted by, highest first: "+strings.Join(names, ", "))
	_ = c.RegisterFlagCompletionFunc("sort", cobra.FixedCompletions(names, noFiles)) // there is the flag
}

func orderNames[T any](orders []order[T]) (names []string) {
	for _, o := range orders {
		names = append(names, o.name)
	}
	return names
}

func checkSort[T any](name string, orders []order[T]) error {
	if names := orderNames(orders); !slices.Contains(names, name) {
		return fmt.Errorf("--sort %q is none of %s", name, strings.Join(names, ", "))
	}
	return nil
}

// sortBy sorts by one order, and what is equal by another.
func sortBy[T any](rows []T, name string, orders []order[T], then func(a, b T) int) {
	for _, o := range orders {
		if o.name == name {
			slices.SortFunc(rows, func(a, b T) int { return cmp.Or(o.compare(a, b), then(a, b)) })
		}
	}
}

// statsEntry is one line of "cocker stats --json". nil: the kernel does not tell.
type statsEntry struct {
	Time            time.Time `json:"time"`
	Name            string    `json:"name"`
	CPUPercent      *float64  `json:"cpu_percent"`
	CPUUsec         *uint64   `json:"cpu_usec"`
	Memory          *uint64   `json:"memory_bytes"`
	MemoryCurrent   *uint64   `json:"memory_current_bytes"`
	MemoryMax       *uint64   `json:"memory_max_bytes"`
	Swap            *uint64   `json:"swap_bytes"`
	IORead          *uint64   `json:"io_read_bytes"`
	IOWrite         *uint64   `json:"io_write_bytes"`
	IOReadRate      *float64  `json:"io_read_bytes_per_second"`
	IOWriteRate     *float64  `json:"io_write_bytes_per_second"`
	NetReceived     *uint64   `json:"network_received_bytes"`
	NetSent         *uint64   `json:"network_sent_bytes"`
	NetReceivedRate *float64  `json:"network_received_bytes_per_second"`
	NetSentRate     *float64  `json:"network_sent_bytes_per_second"`
	CPUPressure     *float64  `json:"cpu_pressure"`
	MemoryPressure  *float64  `json:"memory_pressure"`
	IOPressure      *float64  `json:"io_pressure"`
	Pids            *uint64   `json:"pids"`
	PidsMax         *uint64   `json:"pids_max"`
}

func statsOrders() []order[statsEntry] {
	return []order[statsEntry]{
		{"cpu", func(a, b statsEntry) int { return descending(a.CPUPercent, b.CPUPercent) }},
		{"memory", func(a, b statsEntry) int { return descending(a.Memory, b.Memory) }},
		{"io", func(a, b statsEntry) int {
			return descending(sum(a.IOReadRate, a.IOWriteRate), sum(b.IOReadRate, b.IOWriteRate))
		}},
		{"network", func(a, b statsEntry) int {
			return descending(sum(a.NetReceivedRate, a.NetSentRate), sum(b.NetReceivedRate, b.NetSentRate))
		}},
		{"pressure", func(a, b statsEntry) int { return descending(a.pressure(), b.pressure()) }},
		{"pids", func(a, b statsEntry) int { return descending(a.Pids, b.Pids) }},
		{"name", func(a, b statsEntry) int { return cmp.Compare(a.Name, b.Name) }},
	}
}

// pressure is the worst of the three.
func (e statsEntry) pressure() (worst *float64) {
	for _, p := range []*float64{e.CPUPressure, e.MemoryPressure, e.IOPressure} {
		if descending(p, worst) < 0 {
			worst = p
		}
	}
	return worst
}

// descending puts what is not known last.
func descending[T cmp.Ordered](a, b *T) int {
	switch {
	case a == nil && b == nil:
		return 0
	case a == nil:
		return 1
	case b == nil:
		return -1
	}
	return cmp.Compare(*b, *a)
}

func sum(a, b *float64) *float64 {
	if a == nil || b == nil {
		return nil
	}
	both := *a + *b
	return &both
}

// reading is what was read of one run of a container.
type reading struct {
	leader  int
	start   uint64 // of the leader: a container that was started again counts from 0
	at      time.Time
	usage   *stats.Usage
	traffic *stats.Traffic // nil: it has no links of its own
}

// watch takes samples of containers.
type watch struct {
	names []string // none: all
	sort  string
	last  map[string]reading
}

// take reads all that run. One that ends meanwhile is left out: its cgroup is gone, or is
// while a file of it is read (ENODEV, kernfs_fop_open and others).
func (w *watch) take() (sample, error) {
	states, err := launch.States()
	if err != nil && len(states) == 0 {
		return sample{}, err
	}
	now := map[string]reading{}
	entries := []statsEntry{}
	for _, state := range states {
		if len(w.names) > 0 && !slices.Contains(w.names, state.Name) || !state.Running() {
			continue
		}
		r, err := readUsage(state)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) || err != nil && !state.Running() {
			continue
		}
		if err != nil {
			return sample{}, fmt.Errorf("container %s: %w", state.Name, err)
		}
		before, known := w.last[state.Name]
		if !known || before.leader != r.leader || before.start != r.start {
			before = reading{}
		}
		now[state.Name] = r
		entries = append(entries, newStatsEntry(state.Name, before, r))
	}
	w.last = now
	sortBy(entries, w.sort, statsOrders(), func(a, b statsEntry) int { return cmp.Compare(a.Name, b.Name) })
	return statsSample(entries), nil
}

func readUsage(state *launch.State) (r reading, err error) {
	directory, err := state.CgroupDir()
	if err != nil {
		return r, err
	}
	r = reading{leader: state.Leader, start: state.LeaderStart, at: time.Now()}
	if r.usage, err = stats.OfCgroup(directory); err != nil {
		return r, err
	}
	r.traffic, err = trafficOf(state)
	return r, err
}

// trafficOf counts at the host's ends of the container's links where it has such, else in
// its network namespace.
func trafficOf(state *launch.State) (*stats.Traffic, error) {
	var links []string
	for _, join := range state.Parts() {
		links = append(links, join.HostInterface)
	}
	if len(links) > 0 && !slices.Contains(links, "") {
		return stats.OfLinks(links)
	}
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		return nil, err
	}
	theirs, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", state.Leader))
	if err != nil || theirs == own { // the host's links are not the container's
		return nil, err
	}
	return stats.OfNamespace(state.Leader)
}

func newStatsEntry(name string, before, now reading) statsEntry {
	u := now.usage
	e := statsEntry{Time: now.at.Round(0), Name: name, CPUUsec: u.CPU, Memory: u.Memory, MemoryCurrent: u.MemoryCurrent, MemoryMax: u.MemoryMax,
		Swap: u.Swap, IORead: u.IORead, IOWrite: u.IOWrite, CPUPressure: u.CPUPressure, MemoryPressure: u.MemoryPressure, IOPressure: u.IOPressure,
		Pids: u.Pids, PidsMax: u.PidsMax}
	if now.traffic != nil {
		e.NetReceived, e.NetSent = &now.traffic.Received, &now.traffic.Sent
	}
	if before.usage == nil {
		return e
	}
	d := now.at.Sub(before.at)
	e.CPUPercent = rate(before.usage.CPU, u.CPU, d)
	if e.CPUPercent != nil {
		*e.CPUPercent /= 10_000 // microseconds in a second to percent
	}
	e.IOReadRate, e.IOWriteRate = rate(before.usage.IORead, u.IORead, d), rate(before.usage.IOWrite, u.IOWrite, d)
	if before.traffic != nil && now.traffic != nil {
		e.NetReceivedRate = rate(&before.traffic.Received, &now.traffic.Received, d)
		e.NetSentRate = rate(&before.traffic.Sent, &now.traffic.Sent, d)
	}
	return e
}

// rate is how much a counter grows in a second. One that has become less, as that of links
// that were changed meanwhile, has no rate.
func rate(before, now *uint64, d time.Duration) *float64 {
	if before == nil || now == nil || *now < *before || d <= 0 {
		return nil
	}
	r := float64(*now-*before) / d.Seconds()
	return &r
}

func statsSample(entries []statsEntry) sample {
	s := sample{header: []string{"NAME", "CPU%", "MEMORY", "MEM-MAX", "READ/S", "WRITE/S", "RX/S", "TX/S", "CPU-PSI", "MEM-PSI", "IO-PSI", "PIDS", "PIDS-MAX"}}
	for _, e := range entries {
		s.objects = append(s.objects, e)
		s.rows = append(s.rows, []string{e.Name, decimal(e.CPUPercent), bytesCell(e.Memory), bytesCell(e.MemoryMax),
			rateCell(e.IOReadRate), rateCell(e.IOWriteRate), rateCell(e.NetReceivedRate), rateCell(e.NetSentRate),
			decimal(e.CPUPressure), decimal(e.MemoryPressure), decimal(e.IOPressure), numberCell(e.Pids), numberCell(e.PidsMax)})
	}
	return s
}

// Cells of what is not known are empty, which printTable shows as "-".

func decimal(v *float64) string {
	if v == nil {
		return ""
	}
	return fmt.Sprintf("%.1f", *v)
}

func bytesCell(v *uint64) string {
	if v == nil {
		return ""
	}
	return byteSize(int64(*v)) //nolint:gosec // below 2^63
}

func rateCell(v *float64) string {
	if v == nil {
		return ""
	}
	return byteSize(int64(*v))
}

func numberCell(v *uint64) string {
	if v == nil {
		return ""
	}
	return fmt.Sprint(*v)
}
