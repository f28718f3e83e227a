package config

import (
	"math"
	"strconv"
	"strings"
)

const infinity = "infinity"

// maxCPU is the number of CPUs that Linux knows on its largest configurations
// (CONFIG_NR_CPUS), and the limit of systemd's parser.
const maxCPU = 8192

// What cocker's own programs need of the limits while they start a container, with
// some reserve: they are in its cgroup. Measured with 2 CPUs were 14 threads, and
// 4 MiB; with less they end in the middle of something, and what cleans up does too.
const (
	minTasks  = 32
	minMemory = 8 << 20
)

// maxNode is the same for memory nodes (CONFIG_NODES_SHIFT is 10 at most).
const maxNode = 1024

// memory is a limit as systemd.resource-control(5) MemoryMax= has it.
func (b *builder) memory(e *entry) string {
	s, ok := b.numberOrText(e)
	if !ok || s == infinity {
		return s
	}
	if strings.HasSuffix(s, "%") {
		return b.percent(e, s, 100)
	}
	if _, problem := parseSize(s); problem != "" {
		b.fail(e, nil, "%q %s", s, problem)
		return ""
	}
	return s
}

// memoryMax is a limit that is not to be passed.
func (b *builder) memoryMax(e *entry) string {
	s := b.memory(e)
	if n, problem := parseSize(s); problem == "" && n < minMemory {
		b.fail(e, nil, "%q is too little: the programs that start a container count too; use %s or more", s, FormatSize(minMemory))
		return ""
	}
	return s
}

// swap is a limit as MemorySwapMax= has it. It may be 0: no swap at all.
func (b *builder) swap(e *entry) string {
	s, ok := b.numberOrText(e)
	if !ok || s == infinity || s == "0" {
		return s
	}
	if _, problem := parseSize(s); problem != "" {
		b.fail(e, nil, "%q %s", s, problem)
		return ""
	}
	return s
}

// tasks is a limit as TasksMax= has it.
func (b *builder) tasks(e *entry) string {
	s, ok := b.numberOrText(e)
	if !ok || s == infinity {
		return s
	}
	if strings.HasSuffix(s, "%") {
		return b.percent(e, s, 100)
	}
	switch n, err := strconv.ParseUint(s, 10, 63); {
	case err != nil || n == 0:
		b.fail(e, nil, `%q is not a number above 0, a percentage or "infinity"`, s)
	case n < minTasks:
		b.fail(e, nil, "%d are too few: the programs that start a container count too; use %d or more", n, minTasks)
	default:
		return s
	}
	return ""
}

// quota is CPU time as CPUQuota= has it: 100% is one CPU.
func (b *builder) quota(e *entry) string {
	if n, ok := e.value.(int64); ok {
		b.fail(e, nil, `must be a percentage of one CPU in quotes, such as "%d%%"`, n)
		return ""
	}
	s, ok := b.plain(e, e.value)
	if !ok {
		return ""
	}
	return b.percent(e, s, math.MaxInt32/100)
}

func (b *builder) weight(e *entry) uint64 { return b.integer(e, 1, 10000) }

func (b *builder) numberOrText(e *entry) (string, bool) {
	if n, ok := e.value.(int64); ok {
		return strconv.FormatInt(n, 10), true
	}
	return b.plain(e, e.value)
}

// percent takes up to two decimals, as systemd does, and nothing that is zero.
func (b *builder) percent(e *entry, s string, highest float64) string {
	digits := strings.TrimSuffix(s, "%")
	whole, decimals, hasDecimals := strings.Cut(digits, ".")
	value, err := strconv.ParseFloat(digits, 64)
	switch {
	case digits == s || err != nil || !isDigits(whole) || hasDecimals && (!isDigits(decimals) || len(decimals) > 2):
		b.fail(e, nil, `%q is no percentage; write it as "50%%"`, s)
	case value == 0 || value > highest:
		b.fail(e, nil, "%q is out of range; use more than 0%% and at most %.0f%%", s, highest)
	default:
		return s
	}
	return ""
}

func isDigits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// ParseSize reads a number of bytes with a suffix of systemd, "512M": K, M, G,
// T, P and E are powers of 1024. It is above 0 and below 2^63.
func ParseSize(s string) (uint64, error) {
	n, problem := parseSize(s)
	if problem != "" {
		return 0, &Problem{File: "size " + strconv.Quote(s), Text: problem}
	}
	return n, nil
}

func parseSize(s string) (n uint64, problem string) { return parseAmount(s, 1024, "size") }

// parseAmount reads a number with a suffix that stands for a power of base. what
// it is called is for the error.
func parseAmount(s string, base uint64, what string) (n uint64, problem string) {
	const suffixes = "BKMGTPE"
	digits, unit := s, uint64(1)
	if i := strings.IndexByte(suffixes, lastByte(s)); i >= 0 {
		digits = s[:len(s)-1]
		for range i {
			unit *= base
		}
	}
	whole, decimals, hasDecimals := strings.Cut(digits, ".")
	value, err := strconv.ParseFloat(digits, 64)
	switch {
	case err != nil || !isDigits(whole) || hasDecimals && !isDigits(decimals):
		return 0, "is no " + what + "; write a number and K, M, G or T for powers of " + strconv.FormatUint(base, 10) + `, such as "512M"`
	case value*float64(unit) >= math.MaxInt64:
		return 0, "is too large; a " + what + " is below 8E"
	}
	if hasDecimals {
		n = uint64(value * float64(unit))
	} else if n, err = strconv.ParseUint(whole, 10, 63); err == nil {
		n *= unit
	}
	if n == 0 {
		return 0, "must be more than 0"
	}
	return n, ""
}

func lastByte(s string) byte {
	if s == "" {
		return 0
	}
	return s[len(s)-1]
}

// numbered is what there are several of in a machine, counted from 0.
type numbered struct {
	one, many string
	limit     uint64 // there are fewer on the largest machine
	instead   string // a hint for who gives a number and no list
}

var (
	cpus        = numbered{"CPU", "CPUs", maxCPU, " (cpu_quota limits how much is used of them)"} //nolint:gochecknoglobals // a constant
	memoryNodes = numbered{"memory node", "memory nodes", maxNode, ""}                            //nolint:gochecknoglobals // a constant
)

// numbers is a list as AllowedCPUs= and AllowedMemoryNodes= have it.
func (b *builder) numbers(e *entry, of numbered) string {
	if n, ok := e.value.(int64); ok {
		b.fail(e, nil, `must be a string that lists %s, such as "%d" or "0-1,4"%s`, of.many, n, of.instead)
		return ""
	}
	s, ok := b.plain(e, e.value)
	if !ok {
		return ""
	}
	list := strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
	if len(list) == 0 {
		b.fail(e, nil, `names no %s; list them as "0-1,4"`, of.one)
		return ""
	}
	for _, item := range list {
		if problem := of.badRange(item); problem != "" {
			b.fail(e, nil, `%q: %s; list %s as "0-1,4"`, item, problem, of.many)
			return ""
		}
	}
	return s
}

func (of numbered) badRange(item string) string {
	from, to, isRange := strings.Cut(item, "-")
	low, lowErr := strconv.ParseUint(from, 10, 31)
	high := low
	var highErr error
	if isRange {
		high, highErr = strconv.ParseUint(to, 10, 31)
	}
	switch {
	case lowErr != nil || highErr != nil || !isDigits(from) || isRange && !isDigits(to):
		return "no number or range"
	case low > high:
		return "the range is backwards"
	case high >= of.limit:
		return "no machine has so many " + of.many
	}
	return ""
}

// resourceDirective pairs a key of [resources] with what it becomes.
type resourceDirective struct{ key, directive string }

func resourceDirectives() []resourceDirective {
	return []resourceDirective{
		{"memory_max", "MemoryMax"}, {"memory_high", "MemoryHigh"}, {"memory_low", "MemoryLow"},
		{"memory_min", "MemoryMin"}, {"memory_swap_max", "MemorySwapMax"}, {"memory_nodes", "AllowedMemoryNodes"},
		{"cpu_quota", "CPUQuota"}, {"cpu_weight", "CPUWeight"}, {"cpus", "AllowedCPUs"}, {"tasks_max", "TasksMax"},
		{"io_weight", "IOWeight"}, {"io_read_bandwidth_max", "IOReadBandwidthMax"}, {"io_write_bandwidth_max", "IOWriteBandwidthMax"},
		{"io_read_iops_max", "IOReadIOPSMax"}, {"io_write_iops_max", "IOWriteIOPSMax"},
	}
}

// ResourceKey is the key that becomes a directive, as resources.memory_max becomes
// MemoryMax; "" if none does.
func ResourceKey(directive string) string {
	for _, r := range resourceDirectives() {
		if r.directive == directive {
			return "resources." + r.key
		}
	}
	return ""
}

// checkResources refuses a limit that is set in two ways: which one counts would
// be a matter of luck.
func (b *builder) checkResources(entries []*entry) {
	for _, r := range resourceDirectives() {
		mine, theirs := find(entries, "resources", r.key), find(entries, "service", foldDirective(r.directive))
		if mine != nil && theirs != nil {
			b.fail(theirs, nil, "is set as resources.%s too; keep one of them", r.key)
		}
	}
}
