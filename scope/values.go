package scope

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// infinity is what systemd's 64-bit properties hold for "no limit".
const infinity = uint64(math.MaxUint64)

// parseBool takes the words that systemd takes.
func parseBool(s string) (bool, error) {
	switch strings.ToLower(s) {
	case "1", "yes", "y", "true", "t", "on":
		return true, nil
	case "0", "no", "n", "false", "f", "off":
		return false, nil
	}
	return false, fmt.Errorf("%q is neither yes nor no", s)
}

// timeUnits are the units of systemd.time(7) "Parsing Time Spans".
func timeUnits() map[string]time.Duration {
	const day = 24 * time.Hour
	const year = 31557600 * time.Second // 365.25 days
	return map[string]time.Duration{
		"us": time.Microsecond, "usec": time.Microsecond, "µs": time.Microsecond, "μs": time.Microsecond,
		"ms": time.Millisecond, "msec": time.Millisecond,
		"": time.Second, "s": time.Second, "sec": time.Second, "second": time.Second, "seconds": time.Second,
		"m": time.Minute, "min": time.Minute, "minute": time.Minute, "minutes": time.Minute,
		"h": time.Hour, "hr": time.Hour, "hour": time.Hour, "hours": time.Hour,
		"d": day, "day": day, "days": day, "w": 7 * day, "week": 7 * day, "weeks": 7 * day,
		"M": year / 12, "month": year / 12, "months": year / 12, "y": year, "year": year, "years": year,
	}
}

// parseTimeSpan returns microseconds. A number without a unit is seconds.
func parseTimeSpan(s string) (uint64, error) {
	if s == "infinity" {
		return infinity, nil
	}
	units, total := timeUnits(), 0.0
	rest := strings.TrimSpace(s)
	if rest == "" {
		return 0, fmt.Errorf("a time span may not be empty")
	}
	for rest != "" {
		number, tail := cutNumber(rest)
		letters, tail := cutLetters(strings.TrimLeft(tail, whiteSpace))
		unit, ok := units[letters]
		value, err := strconv.ParseFloat(number, 64)
		if err != nil || !ok {
			return 0, fmt.Errorf("%q is no time span; write for example \"1min 30s\"", s)
		}
		total += value * float64(unit.Microseconds())
		rest = strings.TrimLeft(tail, whiteSpace)
	}
	if total >= math.MaxInt64 {
		return 0, fmt.Errorf("%q is too long a time", s)
	}
	return uint64(total + 0.5), nil
}

func cutNumber(s string) (number, rest string) {
	i := 0
	for i < len(s) && (s[i] >= '0' && s[i] <= '9' || s[i] == '.') {
		i++
	}
	return s[:i], s[i:]
}

func cutLetters(s string) (letters, rest string) {
	i := strings.IndexFunc(s, func(r rune) bool { return r >= '0' && r <= '9' || strings.ContainsRune(whiteSpace, r) })
	if i < 0 {
		return s, ""
	}
	return s[:i], s[i:]
}

// parseSize returns bytes: a number with a suffix of base (1024 for memory,
// 1000 for bandwidths; systemd.resource-control(5)).
func parseSize(s string, base float64) (uint64, error) {
	if s == "infinity" {
		return infinity, nil
	}
	number, suffix := cutNumber(strings.TrimSpace(s))
	exponent := strings.Index("BKMGTPE", strings.ToUpper(strings.TrimSpace(suffix)))
	value, err := strconv.ParseFloat(number, 64)
	if err != nil || exponent < 0 || len(strings.TrimSpace(suffix)) > 1 {
		return 0, fmt.Errorf("%q is no size; write for example 512M", s)
	}
	if !strings.Contains(number, ".") && exponent == 0 {
		return strconv.ParseUint(number, 10, 64) // exact above 2^53
	}
	value *= math.Pow(base, float64(exponent))
	if value >= math.MaxUint64 {
		return 0, fmt.Errorf("%q is too large", s)
	}
	return uint64(value), nil
}

// parsePermyriad returns hundredths of a percent of "12.5%".
func parsePermyriad(s string) (uint64, error) {
	number, ok := strings.CutSuffix(s, "%")
	value, err := strconv.ParseFloat(number, 64)
	if !ok || err != nil || value < 0 || value > 1e9 {
		return 0, fmt.Errorf("%q is no percentage", s)
	}
	return uint64(value*100 + 0.5), nil
}

// parseSignal takes "SIGTERM", "TERM", "15" and "RTMIN+3".
func parseSignal(s string) (int32, error) {
	name := strings.TrimPrefix(strings.ToUpper(s), "SIG")
	if n, err := strconv.Atoi(name); err == nil && n > 0 && n <= sigRTMax {
		return int32(n), nil
	}
	if n := unix.SignalNum("SIG" + name); n != 0 {
		return int32(n), nil
	}
	if n, ok := realTimeSignal(name); ok {
		return n, nil
	}
	return 0, fmt.Errorf("%q is no signal", s)
}

// The real-time signals as the C library numbers them, see signal(7).
const (
	sigRTMin = 34
	sigRTMax = 64
)

func realTimeSignal(name string) (int32, bool) {
	start, rest := sigRTMin, strings.TrimPrefix(name, "RTMIN")
	if rest == name {
		if start, rest = sigRTMax, strings.TrimPrefix(name, "RTMAX"); rest == name {
			return 0, false
		}
	}
	offset := 0
	if rest != "" {
		var err error
		if offset, err = strconv.Atoi(rest); err != nil {
			return 0, false
		}
	}
	n := start + offset
	return int32(n), n >= sigRTMin && n <= sigRTMax
}

// parseCPUs returns the bit mask of a list such as "0-3,7 9".
func parseCPUs(s string) ([]byte, error) {
	mask := []byte{}
	for _, field := range strings.FieldsFunc(s, func(r rune) bool { return r == ',' || strings.ContainsRune(whiteSpace, r) }) {
		first, last, isRange := strings.Cut(field, "-")
		if !isRange {
			last = first
		}
		from, err1 := strconv.ParseUint(first, 10, 16)
		to, err2 := strconv.ParseUint(last, 10, 16)
		if err1 != nil || err2 != nil || to < from || to >= maxCPUs {
			return nil, fmt.Errorf("%q is no list of CPUs; write for example 0-3,7", s)
		}
		for cpu := from; cpu <= to; cpu++ {
			for len(mask) <= int(cpu/8) {
				mask = append(mask, 0)
			}
			mask[cpu/8] |= 1 << (cpu % 8)
		}
	}
	return mask, nil
}

// maxCPUs is the most that Linux can be built for (CONFIG_NR_CPUS).
const maxCPUs = 8192
